"""What runs on the accelerator and what on the host, and that every segment has its program."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intaglio.compiler.partition import HostSegment
from intaglio.compiler.workload import Source, Transpose, Workload
from intaglio.errors import DesignError, IntaglioError, UnsupportedError
from intaglio.templates.deployment import Deployment, deploy
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.template import NpuTemplate
from tests.compiler.builders import Builder, every_operator
from tests.properties.agreement import check
from tests.properties.workloads import REPEATABLE, designs, networks
from tests.templates.npu.networks import SMALL, Picky, cut

MOVES = (
    "permutes 'conv.out', which is stored as 3x4x4, the npu moves no data; permute rows of "
    "features, reshaped to (1, rows, heads, features), or heads"
)


def transposed() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    y = b.conv("conv", x, 3, (1, 1))
    turned = b.tensor("turn.out", (1, 4, 3, 4))
    b.ops.append(Transpose("turn", y, turned, (0, 2, 1, 3), Source(line="net.py:7: y.mT")))
    return b.build((x,), (b.pool("pool", "turn.out", "max", (2, 2), (2, 2)),))


def sides(made: Deployment) -> list[tuple[str, list[str]]]:
    return [
        ("host" if isinstance(part, HostSegment) else "npu", [op.name for op in part.ops])
        for part in made.partition.segments
    ]


def test_a_workload_that_fits_is_one_segment_either_way() -> None:
    workload = every_operator()
    for allow_host in (False, True):
        made = deploy(workload, NpuTemplate(), SMALL, allow_host=allow_host)
        (segment,) = made.scheduled()
        assert segment.workload is workload
        assert (segment.index, made.cut, made.design) == (0, False, SMALL)


def test_without_leave_the_host_gets_nothing() -> None:
    with pytest.raises(UnsupportedError) as caught:
        deploy(transposed(), NpuTemplate(), SMALL)
    assert str(caught.value) == (
        f"turn (net.py:7: y.mT): {MOVES}, or add allow_host=True to run it on the host"
    )


def test_further_refusals_are_counted() -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    for name, y in (("first", x), ("second", "first.out")):
        b.ops.append(Transpose(name, y, b.tensor(f"{name}.out", (1, 3, 4, 4)), (0, 1, 3, 2)))
    with pytest.raises(UnsupportedError) as caught:
        deploy(b.build((x,), ("second.out",)), NpuTemplate(), SMALL)
    assert str(caught.value) == (
        "first: the npu has no instruction for Transpose; add allow_host=True to run it on the "
        "host (1 more: run `intaglio check`)"
    )


def test_what_does_not_fit_names_the_host_as_a_way_out() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 6, 70))
    workload = b.build((x,), (b.conv("wide", x, 4, (6, 70)),))
    with pytest.raises(DesignError) as caught:
        deploy(workload, NpuTemplate(), SMALL)
    assert str(caught.value) == (
        "wide: one tile needs 1684 bytes of the activation buffer, which holds 1024; raise "
        "activation_buffer_kib to 2, or add allow_host=True to run it on the host"
    )


def test_what_the_host_cannot_mend_is_refused_as_ever() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 2, 2))
    workload = b.build((x,), (b.reshape("flat", x, (1, 16)),))
    for allow_host in (False, True):
        with pytest.raises(UnsupportedError) as caught:
            deploy(workload, NpuTemplate(), SMALL, allow_host=allow_host)
        assert str(caught.value) == (
            "workload 'built' only reshapes; there is nothing to run on an npu"
        )


def test_what_is_not_supported_stays_on_the_host() -> None:
    made = deploy(transposed(), NpuTemplate(), SMALL, allow_host=True)
    assert sides(made) == [("npu", ["conv"]), ("host", ["turn"]), ("npu", ["pool"])]
    assert [part.index for part in made.scheduled()] == [0, 2]
    assert [program.inputs for program in made.programs] == [("x",), ("turn.out",)]
    assert made.cut
    assert made.memory_bytes == sum(program.memory_bytes for program in made.programs)
    assert made.partition.reason(made.partition.hosted[0]) == f"turn: {MOVES}"


def test_a_reshape_that_moves_data_is_the_host_s() -> None:
    b = Builder()
    x = b.tensor("x", (1, 8, 4, 4))
    fold = b.reshape("fold", b.conv("first", x, 8, (1, 1)), (1, 32, 2, 2))
    workload = b.build((x,), (b.conv("second", fold, 4, (1, 1)),))
    made = deploy(workload, NpuTemplate(), SMALL, allow_host=True)
    assert sides(made) == [("npu", ["first"]), ("host", ["fold"]), ("npu", ["second"])]
    assert made.partition.reasons["fold"].startswith("second: reads 'fold.out', which a reshape ")


def test_nothing_left_for_the_accelerator_is_refused() -> None:
    workload = every_operator()
    family = Picky(refused=frozenset(op.name for op in workload.ops))
    with pytest.raises(UnsupportedError) as caught:
        deploy(workload, family, SMALL, allow_host=True)
    assert str(caught.value) == (
        "nothing of 'built' runs on the accelerator: stem: is refused; do without"
    )


def test_progress_counts_the_operators_of_all_segments() -> None:
    steps: list[tuple[str, int, int]] = []
    family = Picky(refused=frozenset(["add", "max"]))
    deploy(
        every_operator(),
        family,
        SMALL,
        allow_host=True,
        progress=lambda *step: steps.append(step),
    )
    assert steps == [("schedule", done, 10) for done in range(1, 11)]


def test_a_program_of_another_segment_is_refused() -> None:
    made = cut(every_operator(), SMALL, "add", "max")
    with pytest.raises(IntaglioError) as caught:
        replace(made, programs=made.programs[::-1])
    assert str(caught.value) == "the program of segment 0 belongs to another"


@settings(REPEATABLE, max_examples=60)
@given(networks(most_operators=8), designs(), st.data())
def test_every_segment_has_a_program_that_computes_it(
    workload: Workload, design: NpuDesign, data: st.DataObject
) -> None:
    refused = frozenset(op.name for op in workload.ops if data.draw(st.booleans()))
    try:
        made = deploy(workload, Picky(refused=refused), design, allow_host=True)
    except UnsupportedError:
        assume(False)
    assert refused <= {op.name for op in made.partition.hosted}
    for segment in made.scheduled():
        check(segment.workload, segment.program, seed=1)
