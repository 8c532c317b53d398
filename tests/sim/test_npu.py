"""The npu in time: formulas, invariants, tokens and bandwidth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intaglio.errors import VerificationError
from intaglio.sim.npu import simulate
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, Buffer, Instruction, Opcode, Unit
from intaglio.templates.npu.program import Program
from tests.sim import handmade
from tests.sim.programs import LINE, SMALL, double_buffered, make

FETCHED = 3 + 10 + 16 + 2 + timing.QUEUE
"""Issue of the first instruction on SMALL: address, latency, 16 beats, deal, queue."""


def sync(unit: Unit, pop: tuple[Unit, ...] = (), push: tuple[Unit, ...] = ()) -> Instruction:
    return Instruction(Opcode(unit), pop=pop, push=push)


def spans(*instructions: Instruction, design: NpuDesign = SMALL) -> list[tuple[int, int]]:
    """Cycles of issue and retirement."""
    line = simulate(make(instructions, design)).timeline
    return list(zip(line.issued.tolist(), line.retired.tolist(), strict=True))


def compute(y: int, x: int, tiles: int, **more: object) -> Instruction:
    fields = {"blocks": tiles, "fy": 1, "fx": 1, "y": y, "x": x}
    return Instruction(Opcode.COMPUTE, fields, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("y", "x", "tiles"), [(1, 1, 1), (1, 1, 7), (2, 5, 1), (3, 4, 6)])
def test_compute_takes_its_closed_form(y: int, x: int, tiles: int) -> None:
    [(issued, retired)] = spans(compute(y, x, tiles))
    assert issued == FETCHED
    assert retired - issued == timing.compute_cycles(SMALL, tiles, y * x, 8)


def test_the_fill_of_the_next_instruction_hides_under_the_last_tile() -> None:
    waiting = sync(Unit.COMPUTE, pop=(Unit.STORE,))
    work = compute(4, 4, 3)
    *_, first, second, third, _ = spans(
        waiting, work, work, work, sync(Unit.STORE, push=(Unit.COMPUTE,))
    )
    assert second[1] - first[1] == third[1] - second[1] == 3 * 16


@pytest.mark.parametrize(
    ("opcode", "fields", "reads", "taps"),
    [
        (Opcode.DRAIN, {"y": 2, "x": 6}, 12, 0),
        (Opcode.WINDOW_SUM, {"y": 1, "x": 6, "window_y": 1, "window_x": 1, "residual": 1}, 12, 0),
        (Opcode.WINDOW_MAC, {"y": 1, "x": 1, "window_y": 3, "window_x": 3, "table": 1}, 9, 9),
    ],
)
def test_drains_and_windows_take_their_closed_forms_without_conflicts(
    opcode: Opcode, fields: dict[str, int], reads: int, taps: int
) -> None:
    [(issued, retired)] = spans(Instruction(opcode, fields))
    if opcode is Opcode.DRAIN:
        assert retired - issued == timing.vector_cycles(SMALL, reads)
    else:
        assert retired - issued == timing.window_cycles(SMALL, reads, taps, "table" in fields)


@pytest.mark.parametrize("words", [1, 40, 200])
def test_load_takes_its_closed_form(words: int) -> None:
    fields = {**LINE, "words": words, "buffer": Buffer.WEIGHT}
    [(issued, retired)] = spans(Instruction(Opcode.LOAD, fields))
    assert retired - issued == timing.load_cycles(SMALL, words, words)


@pytest.mark.parametrize("words", [1, 40, 200])
def test_store_takes_its_closed_form(words: int) -> None:
    [(issued, retired)] = spans(Instruction(Opcode.STORE, {**LINE, "words": words}))
    assert retired - issued == timing.store_cycles(SMALL, words)


def test_a_load_of_fill_alone_needs_no_memory() -> None:
    fields = {"planes": 2, "words": 5, "pad_top": 3}
    trace = simulate(make([Instruction(Opcode.LOAD, fields)]))
    line = trace.timeline
    assert line.retired[0] - line.issued[0] == 3 + 30 + 1
    assert trace.bytes_read == INSTRUCTION_BYTES


def test_loads_run_ahead_so_that_latency_is_paid_once() -> None:
    load = Instruction(Opcode.LOAD, {**LINE, "words": 30})
    times = spans(*[load] * 8)
    retired = np.array([end for _, end in times[2:]])
    assert (np.diff(retired) <= 30 + 16).all()
    assert retired[-1] - retired[0] <= 5 * 30 + 4 * 16


def test_a_narrow_memory_port_takes_several_beats_a_word() -> None:
    wide = NpuDesign(rows=8, cols=8, lanes=8, vector_lanes=8, memory_bytes_per_cycle=8)
    narrow = replace(wide, memory_bytes_per_cycle=4)
    load = Instruction(Opcode.LOAD, {**LINE, "words": 50})
    [(a, b)], [(c, d)] = spans(load, design=wide), spans(load, design=narrow)
    assert (b - a, d - c) == (
        timing.load_cycles(wide, 50, 50),
        timing.load_cycles(narrow, 50, 50),
    )


def test_instructions_retire_in_order_and_after_their_tokens() -> None:
    trace = simulate(handmade.program())
    line = trace.timeline
    for unit in Unit:
        assert (np.diff(line.retired[line.unit == unit]) > 0).all()
    load_weights, load_input, convolve, drain, store, *_ = range(7)
    assert line.issued[convolve] == line.retired[load_input] + 1
    assert line.issued[drain] == max(line.retired[convolve], line.retired[load_weights]) + 1
    assert line.issued[store] == line.retired[drain] + 1


def check_invariants(program: Program) -> None:
    trace = simulate(program)
    assert sum(layer.cycles for layer in trace.layers) == trace.cycles
    assert trace.cycles == trace.timeline.retired.max() + 2
    for unit in trace.units:
        assert unit.busy + unit.token_wait + unit.queue_wait == trace.cycles
        stalls = unit.memory_stall + unit.port_stall + unit.fill_stall
        assert 0 <= stalls <= unit.busy
        assert unit.busy == sum(layer.busy[unit.unit] for layer in trace.layers)
    assert (trace.timeline.issued < trace.timeline.retired).all()


def test_the_parts_of_a_trace_sum_to_the_whole() -> None:
    check_invariants(handmade.program())
    check_invariants(double_buffered(SMALL, 6))


def test_bytes_are_those_of_the_instructions() -> None:
    program = handmade.program()
    trace = simulate(program)
    constants = program.image.size
    x, conv, pool = (program.tensors[name].bytes for name in ("x", "conv", "pool"))
    assert trace.layers[0].bytes_read == constants + x + 5 * INSTRUCTION_BYTES
    assert trace.layers[1].bytes_read == 2 * INSTRUCTION_BYTES
    assert [layer.bytes_written for layer in trace.layers] == [conv, pool]


def test_utilisation_is_macs_by_cycles_and_multipliers() -> None:
    trace = simulate(handmade.program())
    conv = trace.layers[0]
    assert conv.utilisation == conv.macs / (conv.cycles * 16)
    assert trace.utilisation == conv.macs / (trace.cycles * 16)


@pytest.mark.parametrize("latency", [1, 50, 400])
def test_more_bandwidth_is_never_slower(latency: int) -> None:
    base = NpuDesign(rows=16, cols=16, lanes=16, vector_lanes=16, memory_latency_cycles=latency)
    cycles = [
        simulate(double_buffered(replace(base, memory_bytes_per_cycle=width), 20)).cycles
        for width in (4, 8, 16)
    ]
    assert cycles == sorted(cycles, reverse=True)


def test_more_latency_is_never_faster() -> None:
    cycles = [
        simulate(double_buffered(replace(SMALL, memory_latency_cycles=latency), 20)).cycles
        for latency in (1, 10, 100, 1000)
    ]
    assert cycles == sorted(cycles)


def test_overlap_is_faster_than_one_instruction_at_a_time() -> None:
    steps = 20
    trace = simulate(double_buffered(SMALL, steps))
    line = trace.timeline
    alone = int((line.retired - line.issued)[:5].sum())
    assert trace.cycles < steps * alone
    assert trace.cycles > steps * timing.compute_cycles(SMALL, 3, 15, 8) / 2


def test_a_residual_drain_holds_up_a_load_at_the_port() -> None:
    drain = {"y": 2, "x": 8, "residual": 1, "residual_address": 1}
    pad = Instruction(Opcode.LOAD, {**LINE, "words": 100})
    trace = simulate(make([pad, Instruction(Opcode.DRAIN, drain)]))
    assert trace.units[Unit.LOAD].port_stall > 0


def test_a_deadlock_says_who_waits_for_whom() -> None:
    with pytest.raises(VerificationError) as caught:
        simulate(make([sync(Unit.LOAD, pop=(Unit.STORE,)), sync(Unit.STORE, pop=(Unit.LOAD,))]))
    assert str(caught.value) == (
        "deadlock: instruction 0 (load) waits for a token of store; instruction 1 (store) waits "
        "for a token of load"
    )


def test_a_full_counter_holds_up_the_retirement() -> None:
    pushes = [sync(Unit.LOAD, push=(Unit.STORE,))] * 256
    with pytest.raises(VerificationError) as caught:
        simulate(make(pushes))
    assert str(caught.value) == (
        "deadlock: instruction 255 (load) waits for room for its token to store"
    )
    late = sync(Unit.STORE, pop=(Unit.LOAD,))
    assert simulate(make([*pushes, late])).cycles > 256


def test_a_queue_that_is_full_holds_up_the_others() -> None:
    waiting = [sync(Unit.STORE, pop=(Unit.LOAD,))] * 18
    pushes = [sync(Unit.LOAD, push=(Unit.STORE,))] * 18
    with pytest.raises(VerificationError, match="instruction 0 .store. waits for a token of load"):
        simulate(make([*waiting, *pushes]))
    simulate(make([*waiting[:17], *pushes]))


def test_an_empty_program_takes_no_time() -> None:
    program = replace(make([]), layers=())
    assert simulate(program).cycles == 0
