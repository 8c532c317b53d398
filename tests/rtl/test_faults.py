"""Every fault that tests put into the RTL is one of the RTL as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hw import test_formal
from tests.rtl import test_breaks
from tests.rtl.faults import faulty_sources, with_fault
from tests.sim import test_localise, test_verify

FAULTS = {
    *((f"{name}.sv", fault.text) for name, fault in test_breaks.BREAKS.items()),
    *((f"{fault.block}.sv", fault.text) for fault in test_formal.FAULTS),
    *((fault.file, fault.old) for fault in test_localise.FAULTS.values()),
    *((name, old) for name, old, _ in test_verify.MUTATIONS.values()),
}


@pytest.mark.parametrize(("name", "old"), sorted(FAULTS))
def test_the_text_of_a_fault_stands_once_in_its_file(name: str, old: str, tmp_path: Path) -> None:
    (faulty,) = (p for p in faulty_sources(tmp_path, name, old, "FAULT") if p.parent == tmp_path)
    assert "FAULT" in faulty.read_text(encoding="utf-8")


def test_text_that_is_not_there_is_named_with_its_file() -> None:
    with pytest.raises(AssertionError) as caught:
        with_fault("fifo.sv", "a = b;\na = b;\n", "a = b;", "a = c;")
    assert str(caught.value).splitlines()[0] == (
        "fifo.sv holds 'a = b;' 2 times, not once: word the fault anew"
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        faulty_sources(tmp_path, "npu_gone.sv", "a", "b")
    assert str(caught.value).splitlines()[0] == (
        "no file of the npu is called npu_gone.sv: word the fault anew"
    )
