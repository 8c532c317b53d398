"""The registers are those of the manual, and the C header says the same."""

from __future__ import annotations

import re

from intaglio.hw.npu_registers import (
    ERROR_SHIFT,
    IDENTITY,
    UNIT_STRIDE,
    Control,
    ErrorCode,
    Register,
    Status,
    render_header,
    version_word,
)
from intaglio.hw.sources import manual

TEXT = manual("npu").read_text(encoding="utf-8")


def test_offsets_are_those_of_the_manual() -> None:
    rows = dict(re.findall(r"^\| (0x\w{3}).*? \| (\w[\w /]*?) \|", TEXT, re.MULTILINE))
    wide = {"READ_BEATS / WRITE_BEATS": "READ_BEATS", "unit counters": "UNITS"}
    found = {wide.get(name, name): int(offset, 16) for offset, name in rows.items()}
    assert found | {"WRITE_BEATS": 0x110} == {register.name: register for register in Register}
    assert f"| 0x000 | ID | {IDENTITY:#x} |".lower() in TEXT.lower()
    assert f"| 0x120 + {UNIT_STRIDE:#x}*u |" in TEXT


def test_bits_are_those_of_the_manual() -> None:
    assert (Status.BUSY, Status.DONE, Status.ERROR) == (1 << 0, 1 << 1, 1 << 2)
    assert f"bit 0 busy, bit 1 done, bit 2 error, bits 15:{ERROR_SHIFT} error code" in TEXT
    assert (Control.START, Control.SOFT_RESET) == (1 << 0, 1 << 1)
    assert "write bit 0: start; bit 1: soft reset" in TEXT
    names = ("illegal instruction", "memory read response", "memory write response", "watchdog")
    listed = ", ".join(f"{code} {name}" for code, name in zip(ErrorCode, names, strict=True))
    assert f"Error codes: {listed}." in TEXT


def test_the_version_of_a_design() -> None:
    assert "bits 7:0 ISA version, 15:8 rows, 23:16 cols, 31:24 lanes" in TEXT
    assert version_word(isa=1, rows=16, cols=32, lanes=16) == 0x10201001


def test_the_header_holds_every_constant() -> None:
    header = render_header()
    for register in Register:
        assert f"#define NPU_REGISTER_{register.name} {int(register):#05x}u\n" in header
    for code in ErrorCode:
        assert f"#define NPU_ERROR_{code.name} {int(code):#05x}u\n" in header
    assert f"#define NPU_IDENTITY {IDENTITY:#x}u\n" in header
