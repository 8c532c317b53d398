"""Groups: attention, and norms among products, worked off side by side."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from intaglio.compiler.workload import ElementType, Workload
from intaglio.sim.hazards import check_tokens
from intaglio.sim.npu import simulate
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.group import GroupMapping
from intaglio.templates.npu.isa import Opcode, decode
from intaglio.templates.npu.mapping import ArrayMapping
from intaglio.templates.npu.schedule import mappings, schedule
from tests.compiler.builders import Builder, attention
from tests.templates.npu.networks import check

I16 = ElementType(16)
DESIGN = NpuDesign(
    rows=8,
    cols=8,
    lanes=8,
    vector_lanes=8,
    row_lanes=4,
    activation_buffer_kib=32,
    weight_buffer_kib=16,
    accumulator_buffer_kib=4,
    memory_bytes_per_cycle=8,
)


def encoder(rows: int = 64, heads: int = 6, width: int = 96) -> Workload:
    """A layer of a transformer; sums and what is added to them are wide."""
    b = Builder()
    x = b.tensor("x", (1, rows, width))
    joined = attention(b, "attention", x, heads)
    first = b.norm(
        "first", b.eltwise("add", "add", b.matmul("out", joined, width), x, I16), "layer"
    )
    down = b.matmul("down", b.matmul("up", first, 4 * width), width, I16)
    return b.build((x,), (b.norm("second", down, "layer"), b.norm("wide", down, "layer", I16)))


ATTENTION = (
    "attention.query + attention.key + attention.value + attention.scores + attention.softmax + "
    "attention.mixed"
)


def test_an_attention_is_one_layer_and_so_are_norms_and_the_products_about_them() -> None:
    program = schedule(encoder(), DESIGN)
    names = [layer.name for layer in program.layers]
    assert names == [ATTENTION, "out + add", "first + up + down + second + wide"]
    found = mappings(encoder(), DESIGN)
    assert [isinstance(found[name], GroupMapping) for name in names] == [True, False, True]
    macs = 64 * (4 * 96 * 96 + 2 * 64 * 96 + 8 * 96 * 96)
    assert sum(layer.macs for layer in program.layers) == macs


@pytest.mark.parametrize("weight_buffer_kib", [16, 8])
def test_a_group_computes_the_same_in_every_order(weight_buffer_kib: int) -> None:
    """With little room for weights their reduction is split, and records wait for two blocks."""
    design = replace(DESIGN, weight_buffer_kib=weight_buffer_kib)
    workload = encoder(16, 2, 32) if weight_buffer_kib > 8 else encoder()
    program = schedule(workload, design)
    check(workload, program, orders=(None, 0))
    check_tokens(program)
    found = [m for m in mappings(workload, design).values() if isinstance(m, GroupMapping)]
    slots = [p.weight_slots for m in found for p in m.parts if isinstance(p, ArrayMapping)]
    assert (max(slots) > 2) == (weight_buffer_kib == 8)


def test_norms_of_the_same_rows_share_input_and_sums() -> None:
    program = schedule(encoder(), DESIGN)
    norms = [i for i in decode(program.instructions) if i.opcode is Opcode.NORM]
    pairs = [pair for pair in pairwise(norms) if pair[1]["again"]]
    assert len(pairs) == len(norms) // 3
    names = "source_address", "rows", "blocks", "count", "epsilon_low", "fraction"
    assert all(a[name] == b[name] for a, b in pairs for name in names)
    assert not any(a["again"] for a, _ in pairs)
    assert {(a["output_wide"], b["output_wide"]) for a, b in pairs} == {(0, 1)}


def test_a_half_of_the_accumulators_holds_the_sums_of_a_few_blocks() -> None:
    found = [m for m in mappings(encoder(), DESIGN).values() if isinstance(m, GroupMapping)]
    batches = {p.batch for m in found for p in m.parts if isinstance(p, ArrayMapping)}
    program = schedule(encoder(), DESIGN)
    half = DESIGN.accumulator_words
    products = [i for i in decode(program.instructions) if i.opcode is Opcode.COMPUTE]
    assert max(batches) > 1
    assert any(i["acc_address"] % half > 0 for i in products)


def test_a_group_is_faster_than_its_operators_one_after_the_other() -> None:
    apart = simulate(schedule(encoder(), DESIGN, fuse=False)).cycles
    assert simulate(schedule(encoder(), DESIGN)).cycles < 0.9 * apart


def test_what_the_buffers_cannot_hold_side_by_side_stays_apart() -> None:
    small = replace(DESIGN, activation_buffer_kib=4)
    program = schedule(encoder(), small)
    assert ATTENTION not in [layer.name for layer in program.layers]
    check(encoder(), program, orders=(None,))
