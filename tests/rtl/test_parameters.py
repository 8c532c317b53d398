"""Illegal parameters: no simulation starts with them, and the module says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from intaglio.hw.lint import Linter, missing
from intaglio.hw.sources import rtl_sources
from tests.rtl.cocotb_runner import Block

pytestmark = pytest.mark.rtl


def _top(**parameters: int) -> Block:
    sizes = {"Lanes": 4, "ActWords": 64, "WeightWords": 64, "AccWords": 16, "MemBytes": 4}
    return Block("npu_top", tuple((sizes | parameters).items()))


ILLEGAL = {
    Block("axi_burst_split", (("BeatBytes", 2),)): (
        "axi_burst_split: BeatBytes must be a power of two from 4 to 128"
    ),
    Block("fifo", (("Depth", 6),)): "fifo: Depth must be a power of two and at least 2",
    Block("stream_narrow", (("InBits", 12), ("OutBits", 8))): (
        "stream_narrow: InBits must be a multiple of OutBits"
    ),
    Block("stream_widen", (("InBits", 8), ("OutBits", 12))): (
        "stream_widen: OutBits must be a multiple of InBits"
    ),
    Block("npu_reader", (("ReadAhead", 0),)): "npu_reader: ReadAhead must be at least 1",
    _top(Lanes=12): "npu_top: Lanes must be a power of two from 4 to 64",
    _top(Groups=32): "npu_top: Groups must be a power of two and Groups * Lanes at most 64",
    _top(ActWords=48): "npu_top: ActWords, WeightWords and AccWords must be powers of two",
    _top(AccWords=1 << 16): "npu_top: a buffer is larger than an instruction can address",
    _top(WindowColumns=9): "npu_top: WindowColumns must be from 1 to 8",
    _top(RowPipes=3): "npu_top: RowPipes must be 0, 1, 2, 4 or 8 and at most Lanes",
    _top(WeightBits=3): "npu_top: WeightBits must be 2, 4 or 8",
    _top(MemBytes=2): "npu_top: MemBytes must be a power of two from 4 to Lanes",
}


@pytest.mark.parametrize("block", ILLEGAL, ids=str)
def test_illegal_parameters_end_the_simulation(block: Block, tmp_path: Path) -> None:
    reason = missing(Linter.ICARUS)
    if reason is not None:
        pytest.skip(reason)
    compiled = tmp_path / "compiled"
    command = ["iverilog", "-g2012", "-s", block.name, "-o", str(compiled)]
    command += [f"-P{block.name}.{name}={value}" for name, value in block.parameters]
    sources = [str(path) for path in rtl_sources("npu")]
    subprocess.run([*command, *sources], check=True, capture_output=True, timeout=120)
    done = subprocess.run(
        ["vvp", "-n", str(compiled)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert ILLEGAL[block] in done.stdout
