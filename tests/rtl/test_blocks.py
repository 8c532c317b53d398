"""Every RTL module by itself, in cocotb: stalls, resets, back-pressure, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from intaglio.hw.sources import rtl_sources
from tests.rtl.cocotb_runner import Block, run_block

pytestmark = pytest.mark.rtl

BLOCKS = (
    Block("axi_burst_split", (("BeatBytes", 4),)),
    Block("axi_burst_split", (("BeatBytes", 16),)),
    Block("delay_line", (("Width", 5), ("Cycles", 2))),
    Block("delay_line", (("Width", 3), ("Cycles", 7))),
    Block("fifo", (("Width", 12), ("Depth", 4))),
    Block("fifo", (("Width", 3), ("Depth", 2))),
    Block("fifo", (("Width", 3), ("Depth", 4), ("Pause", 1))),
    Block("ram_1r1w", (("Width", 9), ("Depth", 16))),
    Block("ram_2p", (("Width", 9), ("Depth", 16))),
    Block("register_slice", (("Width", 5),)),
    Block("stream_narrow", (("InBits", 32), ("OutBits", 8))),
    Block("stream_narrow", (("InBits", 8), ("OutBits", 8))),
    Block("stream_widen", (("InBits", 8), ("OutBits", 32))),
    Block("stream_widen", (("InBits", 8), ("OutBits", 32), ("Pause", 1))),
    Block("stream_widen", (("InBits", 8), ("OutBits", 8))),
    Block("npu_tokens"),
    Block("npu_marks"),
    Block("npu_issue", (("QueueDepth", 4),)),
    Block("npu_fetch", (("MemBytes", 4),)),
    Block("npu_fetch", (("MemBytes", 16), ("RowPipes", 4))),
    Block("npu_box_runs", (("Lanes", 4), ("MemBytes", 4))),
    Block("npu_box_runs", (("Lanes", 16), ("MemBytes", 4))),
    Block("npu_box_words"),
    Block("npu_act_buffer", (("Lanes", 4), ("ActWords", 16))),
    Block("npu_weight_buffer", (("Lanes", 4), ("Groups", 4), ("WeightWords", 32))),
    Block("npu_weight_buffer", (("Lanes", 4), ("Groups", 1), ("WeightWords", 16))),
    Block("npu_accumulators", (("Lanes", 4), ("Groups", 1), ("AccWords", 8))),
    Block("npu_dot", (("Lanes", 4), ("ColumnFill", 1))),
    Block("npu_array", (("Lanes", 4), ("Groups", 2), ("ColumnFill", 1))),
    Block("npu_window", (("Columns", 3), ("ActWords", 256), ("AccWords", 32))),
    Block("npu_window", (("Columns", 0), ("ActWords", 256), ("AccWords", 32))),
    Block("npu_taps", (("Columns", 5), ("Width", 9))),
    Block("npu_taps", (("Columns", 1), ("Width", 9))),
    Block("npu_lane", (("Columns", 3), ("Lanes", 4))),
    Block("npu_lane", (("Columns", 0), ("Lanes", 4))),
    Block(
        "npu_compute",
        (
            ("Lanes", 4),
            ("Groups", 2),
            ("ActWords", 32),
            ("WeightWords", 64),
            ("AccWords", 16),
            ("ColumnFill", 1),
        ),
    ),
    Block(
        "npu_vector",
        (
            ("WindowColumns", 0),
            ("Lanes", 4),
            ("Groups", 2),
            ("ActWords", 64),
            ("WeightWords", 256),
            ("AccWords", 16),
        ),
    ),
    Block(
        "npu_vector_queue",
        (
            ("RowPipes", 2),
            ("Lanes", 4),
            ("Groups", 2),
            ("ActWords", 64),
            ("WeightWords", 256),
            ("AccWords", 16),
        ),
    ),
    Block(
        "npu_gather",
        (("WindowColumns", 3), ("Lanes", 4), ("ActWords", 64), ("WeightWords", 256)),
    ),
    Block("npu_row_words", (("Lanes", 8), ("Pipes", 2), ("ActWords", 64))),
    Block("npu_row_words", (("Lanes", 4), ("Pipes", 4), ("ActWords", 64))),
    Block("npu_row_sums", (("Pipes", 1),)),
    Block("npu_row_sums", (("Pipes", 4),)),
    Block("npu_power"),
    Block("npu_reciprocal"),
    Block("npu_root"),
    Block("npu_standard"),
    Block("npu_softmax", (("Lanes", 4), ("Pipes", 2), ("ActWords", 256))),
    Block("npu_softmax", (("Lanes", 8), ("Pipes", 8), ("ActWords", 256))),
    Block("npu_norm", (("Lanes", 4), ("Pipes", 1), ("ActWords", 2048), ("WeightWords", 256))),
    Block("npu_norm", (("Lanes", 8), ("Pipes", 8), ("ActWords", 2048), ("WeightWords", 256))),
    Block("npu_norm_results", (("Lanes", 4), ("Pipes", 1), ("ActWords", 64))),
    Block("npu_norm_results", (("Lanes", 4), ("Pipes", 4), ("ActWords", 64))),
    Block("npu_softmax_walks", (("ActWords", 64),)),
    Block("npu_softmax_scale", (("Pipes", 2),)),
    Block("npu_control", (("Cols", 8), ("Lanes", 4))),
    Block("npu_reader", (("MemBytes", 4), ("ReadAhead", 64))),
    Block("npu_writer", (("MemBytes", 4),)),
    Block(
        "npu_top",
        (
            ("Lanes", 4),
            ("Groups", 1),
            ("ActWords", 128),
            ("WeightWords", 64),
            ("AccWords", 16),
            ("MemBytes", 4),
            ("QueueDepth", 4),
            ("ReadAhead", 64),
        ),
    ),
    Block("npu_load", (("Lanes", 4), ("MemBytes", 4), ("ActWords", 64), ("WeightWords", 64))),
    Block("npu_load", (("Lanes", 8), ("MemBytes", 4), ("ActWords", 64), ("WeightWords", 64))),
    Block("npu_store", (("Lanes", 4), ("MemBytes", 4), ("ActWords", 64))),
    Block("npu_store", (("Lanes", 8), ("MemBytes", 4), ("ActWords", 64))),
)
CONNECTIONS = {"npu_core", "npu_dma", "npu_program", "npu_reads"}
"""Modules that only connect others; the tests of npu_top are theirs."""


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(block: Block, tmp_path: Path) -> None:
    outcome = run_block(block, tmp_path)
    assert not outcome.failed, outcome.log
    assert outcome.passed, outcome.log


def test_every_module_has_its_tests() -> None:
    modules = {path.stem for path in rtl_sources("npu") if not path.stem.endswith("_pkg")}
    assert {block.name for block in BLOCKS} | CONNECTIONS == modules
