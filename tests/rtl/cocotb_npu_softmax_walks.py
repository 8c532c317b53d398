"""npu_softmax_walks: the order of all walks, their rows and addresses, and what each waits for."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Instruction, Opcode
from intaglio.templates.npu.timing import Walk, softmax_walks
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value

PLACES = {
    "source_address": 5, "source_row_stride": 3, "mask_address": 40, "mask_row_stride": 1,
}  # fmt: skip


async def _start(dut: Any, rows: int) -> None:
    item = Instruction(Opcode.SOFTMAX, {**PLACES, "rows": rows, "blocks": 1})
    dut.instr_i.value, dut.start_i.value = encoded(item), 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value, dut.instr_i.value = 0, random.getrandbits(512)


async def _check(dut: Any, rows: int) -> None:
    """Maxima and reciprocals become known some cycles after they are asked for."""
    await _start(dut, rows)
    due: dict[Walk, list[int]] = {Walk.MAXIMUM: [], Walk.SUM: []}
    known = {Walk.MAXIMUM: 0, Walk.SUM: 0}
    order = list(softmax_walks(rows))
    for cycle in range(100 * rows + 100):
        for walk, name in ((Walk.MAXIMUM, "maximum_i"), (Walk.SUM, "reciprocal_i")):
            now = bool(due[walk]) and due[walk][0] <= cycle
            getattr(dut, name).value = int(now)
            if now:
                due[walk].pop(0)
        dut.ready_i.value = random.getrandbits(1)
        await RisingEdge(dut.clk_i)
        if value(dut.go_o):
            assert value(dut.ready_i)
            walk, row = order.pop(0)
            assert (value(dut.walk_o), value(dut.row_o)) == (walk, row % 4)
            assert value(dut.source_o) == (5 + 3 * row) % value(dut.ActWords)
            assert value(dut.mask_source_o) == (40 + row) % value(dut.ActWords)
            if walk is Walk.SUM:
                assert known[Walk.MAXIMUM] == row + 1
                assert known[Walk.SUM] == row
            elif walk is Walk.SCALE:
                assert known[Walk.SUM] > row
            if walk in due:
                due[walk].append(cycle + random.randint(1, 30))
        known[Walk.MAXIMUM] += value(dut.maximum_i)
        known[Walk.SUM] += value(dut.reciprocal_i)
        if not order:
            break
    assert not order


@bench(60_000)
async def walks_come_in_their_order(dut: Any) -> None:
    await begin(dut)
    for rows in (1, 2, 3, 4, 5, 11, 1, 2):
        await _check(dut, rows)


@bench(10_000)
async def a_reset_on_the_way(dut: Any) -> None:
    await begin(dut)
    for rows in (1, 3, 6):
        await _start(dut, rows)
        dut.ready_i.value = 1
        await clock(dut, rows)
        await reset(dut, 1)
        await clock(dut)
        assert value(dut.go_o) == 0
        await _check(dut, rows)
