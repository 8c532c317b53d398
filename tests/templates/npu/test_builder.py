"""The order of the text: loads ahead of their step, and never before what they need."""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Buffer, Instruction, Unit, decode
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder


def text(*convolutions: tuple[int, tuple[int, int]]) -> tuple[Instruction, ...]:
    """The program of convolutions (output channels, kernel) one after the other."""
    b = Builder()
    x = y = b.tensor("x", (1, 64, 56, 56))
    for index, (outputs, kernel) in enumerate(convolutions):
        pad = kernel[0] // 2, kernel[0] // 2, kernel[1] // 2, kernel[1] // 2
        y = b.conv(f"conv{index}", y, outputs, kernel, padding=pad)
    return decode(schedule(b.build((x,), (y,)), NpuDesign()).instructions)


def first(items: Sequence[Instruction], unit: Unit, layer: int) -> int:
    """Position of the first instruction of `unit` in `layer`."""
    return next(i for i, item in enumerate(items) if item.unit == unit and item.layer == layer)


def test_the_next_tile_is_loaded_before_the_work_of_this_one() -> None:
    items = text((64, (3, 3)))
    loads = [
        index
        for index, item in enumerate(items)
        if item.unit == Unit.LOAD and item["buffer"] == Buffer.ACTIVATION
    ]
    blocks = [
        index
        for index, item in enumerate(items)
        if item.unit == Unit.COMPUTE and not item["accumulate"]
    ]
    starts = blocks[::4]
    assert len(loads) == len(starts) > 3
    for load, start in zip(loads[1:], starts[1:], strict=True):
        assert any(item.unit == Unit.COMPUTE for item in items[load:start])


def test_weights_of_the_next_layer_are_loaded_before_this_one_ends() -> None:
    items = text((16, (3, 3)), (16, (1, 1)))
    end = max(index for index, item in enumerate(items) if item.layer == 0)
    weights = next(
        index
        for index, item in enumerate(items)
        if item.layer == 1 and item.unit == Unit.LOAD and item["buffer"] == Buffer.WEIGHT
    )
    assert weights < end


def test_activations_of_the_next_layer_are_loaded_after_the_stores_they_need() -> None:
    items = text((16, (3, 3)), (16, (1, 1)))
    stored = 0
    for item in items:
        if item.layer == 0 and item.unit == Unit.STORE:
            stored += item["rows"]
        if item.layer == 1 and item.unit == Unit.LOAD and item["buffer"] == Buffer.ACTIVATION:
            base = min(s["memory_address"] for s in items if s.unit == Unit.STORE)
            last = (item["memory_address"] - base) // (56 * 16) + item["rows"]
            assert last <= stored
    assert stored == 56
    overlapped = first(items, Unit.LOAD, 1) < max(
        index for index, item in enumerate(items) if item.layer == 0
    )
    assert overlapped


def test_accumulator_halves_take_turns_across_layers() -> None:
    items = text((16, (3, 3)), (16, (1, 1)))
    halves = [item["acc_address"] for item in items if item.unit == Unit.COMPUTE]
    assert halves == [0, 512] * (len(halves) // 2) + [0] * (len(halves) % 2)
