"""The SystemVerilog package says what the Python definition says."""

from __future__ import annotations

import pytest

from intaglio.hw.sources import rtl_sources
from intaglio.templates.npu.isa import FIELDS, HEADER, Opcode, render_package
from intaglio.templates.npu.tables_package import render_power_package, render_root_package

PACKAGES = {
    "npu_isa_pkg": render_package,
    "npu_power_pkg": render_power_package,
    "npu_root_pkg": render_root_package,
}


def _package(name: str = "npu_isa_pkg") -> str:
    (path,) = (p for p in rtl_sources("npu") if p.stem == name)
    return path.read_text()


@pytest.mark.parametrize("name", PACKAGES)
def test_the_file_is_the_rendered_package(name: str) -> None:
    assert _package(name) == PACKAGES[name]()


def test_every_opcode_and_field_is_in_it() -> None:
    text = _package()
    for opcode in Opcode:
        assert f" OP_{opcode.name} = 8'd{int(opcode)};" in text
    for name, spec in HEADER.items():
        assert f" {name.upper()}_LSB = {32 * spec.word + spec.lsb};" in text
        assert f" {name.upper()}_BITS = {spec.width};" in text
    for prefix, opcode in (
        ("DMA", Opcode.LOAD),
        ("COMPUTE", Opcode.COMPUTE),
        ("VECTOR", Opcode.DRAIN),
    ):
        for name, spec in FIELDS[opcode].items():
            prefix = "DRAIN" if name.startswith(("residual_wide", "residual_high")) else prefix
            assert f" {prefix}_{name.upper()}_LSB = {32 * spec.word + spec.lsb};" in text


def test_fields_of_an_instruction_do_not_overlap() -> None:
    for opcode, own in FIELDS.items():
        used: set[int] = set()
        for spec in (*HEADER.values(), *own.values()):
            bits = {32 * spec.word + spec.lsb + bit for bit in range(spec.width)}
            assert spec.lsb + spec.width <= 32, opcode
            assert not used & bits, opcode
            used |= bits
