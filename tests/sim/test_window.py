"""The window unit in time: alone, as a port stepped by addresses, and beside the vector unit."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from intaglio.sim.npu import simulate
from intaglio.sim.trace import Trace
from intaglio.templates.npu import timing
from intaglio.templates.npu.isa import RECORD_WORDS, Instruction, Opcode, Unit
from tests.sim.programs import SMALL, make

FIELDS = {
    "y": (1, 3), "x": (1, 6), "window_y": (1, 3), "window_x": (1, 6), "residual": (0, 1),
    "source_address": (0, 9), "source_y_stride": (0, 9), "source_x_stride": (0, 3),
    "window_y_stride": (0, 9), "window_x_stride": (1, 2), "output_address": (0, 9),
    "output_row_stride": (0, 9), "residual_address": (0, 9), "residual_row_stride": (0, 9),
}  # fmt: skip


def reads_of(item: Instruction, y: int, x: int) -> list[int]:
    """The words that output (y, x) reads, in order: its window's columns, or rows, its residual."""
    high, wide, stride = item["window_y"], item["window_x"], item["source_x_stride"]
    places = list(product(range(high), range(wide)))
    if wide <= SMALL.window_columns:
        slides = item["window_x_stride"] == 1 and 1 <= stride < wide and x
        places = [
            (wy, wx) for wx in range(wide - stride if slides else 0, wide) for wy in range(high)
        ]
    start = item["source_address"] + y * item["source_y_stride"] + x * stride
    words = [
        start + wy * item["window_y_stride"] + wx * item["window_x_stride"] for wy, wx in places
    ]
    aside = item["residual_address"] + y * item["residual_row_stride"] + x
    return words + [aside] * item["residual"]


def cycles_of(item: Instruction) -> int:
    """The unit by itself: a write 14 cycles after its last read goes before a read of its bank."""
    cycle, writes = RECORD_WORDS, dict[int, int]()
    for y, x in product(range(item["y"]), range(item["x"])):
        for word in reads_of(item, y, x):
            cycle += 1
            while cycle in writes and (writes[cycle] - word) % 2 == 0:
                cycle += 1
        writes[cycle + 14] = item["output_address"] + y * item["output_row_stride"] + x
    return max(writes) + 1


def trace_of(*items: Instruction) -> Trace:
    return simulate(make(items))


def window(**fields: int) -> Instruction:
    return Instruction(Opcode.WINDOW_SUM, fields)


@given(st.fixed_dictionaries({name: st.integers(*most) for name, most in FIELDS.items()}))
def test_a_window_by_itself_is_the_port_stepped_by_addresses(fields: dict[str, int]) -> None:
    item = window(**fields)
    trace = trace_of(item)
    line = trace.timeline
    assert line.retired[0] - line.issued[0] == cycles_of(item)
    count = sum(len(reads_of(item, y, x)) for y, x in product(range(item["y"]), range(item["x"])))
    stalls = trace.units[Unit.WINDOW].port_stall
    assert cycles_of(item) == timing.window_cycles(SMALL, count) + stalls


ONES = dict.fromkeys(("y", "window_y", "window_x", "source_x_stride", "window_x_stride"), 1)


def test_a_drain_goes_before_a_window_and_is_not_held_up() -> None:
    """Both write every bank in turn, and the window reads as well: it gets what is left."""
    drain = Instruction(Opcode.DRAIN, {"y": 1, "x": 200})
    item = window(**ONES, x=60)
    alone = [trace_of(one).timeline for one in (drain, item)]
    both = trace_of(drain, item)
    spans = both.timeline.retired - both.timeline.issued
    assert spans[0] == alone[0].retired[0] - alone[0].issued[0]
    assert spans[1] > alone[1].retired[0] - alone[1].issued[0]
    assert both.units[Unit.VECTOR].port_stall == 0
    assert both.units[Unit.WINDOW].port_stall > 0


def test_words_that_find_no_room_hold_up_the_reads() -> None:
    """A drain that writes one bank alone leaves no write of that bank to the window.

    So its words wait until the drain has retired.  Nothing keeps its reads, of the other bank, but
    the 17th from its place behind the one before it: there is room for 16 words.
    """
    drain = Instruction(Opcode.DRAIN, {"y": 400, "x": 1, "output_row_stride": 2})
    fields = ONES | {"x": 1, "source_address": 1, "output_row_stride": 2}
    few, many = (trace_of(drain, window(**fields | {"y": outputs})) for outputs in (16, 40))
    before = few.units[Unit.WINDOW].port_stall
    line = many.timeline
    unhindered = line.issued[1] + 1 + RECORD_WORDS + before + 16
    waits = line.retired[0] + 1 - unhindered
    assert waits > 300
    assert many.units[Unit.WINDOW].port_stall - before == waits
    assert few.timeline.retired[1] - few.timeline.retired[0] == 16
    assert line.retired[1] - line.retired[0] == 40
