"""Segments of a workload: few, in a legal order, and equal to the whole in every word."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.compiler import reference
from intaglio.compiler.partition import (
    AcceleratorSegment,
    HostSegment,
    Partition,
    divide,
    extract,
    partition,
)
from intaglio.compiler.workload import Conv2d, Op, Reshape, Workload, inputs
from intaglio.errors import IntaglioError
from tests.compiler.builders import Builder, draw_inputs, every_operator
from tests.properties.workloads import REPEATABLE, networks


def sides(made: Partition) -> list[tuple[str, list[str]]]:
    """Side and operators of every segment."""
    kinds = {AcceleratorSegment: "npu", HostSegment: "host"}
    return [(kinds[type(part)], [op.name for op in part.ops]) for part in made.segments]


def runs(workload: Workload, hosted: set[str]) -> int:
    """How often the path that enters the accelerator most often does so, reshapes left out."""
    times: dict[str, tuple[int, bool]] = dict.fromkeys(workload.inputs, (0, False))
    for op in workload.ops:
        before = [times[name] for name in inputs(op)]
        if isinstance(op, Reshape) and op.name not in hosted:
            (times[op.output],) = before
        elif op.name in hosted:
            times[op.output] = max(count for count, _ in before), False
        else:
            entered = max(count + (not inside) for count, inside in before)
            times[op.output] = entered, True
    return max((count for count, _ in times.values()), default=0)


def check_values(made: Partition, seed: int) -> None:
    """Every segment computes, from the cut values, what the whole workload computes."""
    workload = made.workload
    given = draw_inputs(workload, seed, images=2)
    whole = reference.run(workload, given)
    values = dict(given)
    for part in made.segments:
        if isinstance(part, AcceleratorSegment):
            cut = {name: values[name] for name in part.workload.inputs}
            found = reference.run(part.workload, cut)
            values |= {name: found[name] for name in part.workload.outputs}
        else:
            for op in part.ops:
                values[op.output] = reference.compute(workload, op, values)
    for name, value in values.items():
        assert np.array_equal(value, whole[name]), name
    assert set(workload.outputs) <= set(values)


@settings(REPEATABLE, max_examples=150)
@given(networks(most_operators=10), st.data())
def test_any_cut_computes_the_same_in_as_few_segments_as_can_be(
    workload: Workload, data: st.DataObject
) -> None:
    hosted = {op.name for op in workload.ops if data.draw(st.booleans())}
    made = partition(workload, hosted)
    assert {op.name for op in made.hosted if not isinstance(op, Reshape)} <= hosted
    assert hosted <= {op.name for op in made.hosted}
    assert len(made.accelerated) == runs(workload, hosted)
    check_values(made, seed=1)


def test_a_workload_without_host_operators_is_its_one_segment() -> None:
    workload = every_operator()
    (segment,) = partition(workload, ()).segments
    assert isinstance(segment, AcceleratorSegment)
    assert segment.workload is workload


def test_operators_run_as_early_as_their_side_allows() -> None:
    made = partition(every_operator(), ["add", "max"])
    assert sides(made) == [
        ("npu", ["stem", "depthwise", "grouped"]),
        ("host", ["add"]),
        ("npu", ["sub", "concat", "tail"]),
        ("host", ["max"]),
        ("npu", ["curve", "average", "flatten", "head"]),
    ]
    first, middle, last = (part.workload for part in made.accelerated)
    assert (first.name, first.inputs, first.outputs) == (
        "built_0",
        ("x",),
        ("stem.out", "depthwise.out", "grouped.out"),
    )
    assert middle.inputs == ("stem.out", "grouped.out", "add.out")
    assert middle.outputs == ("concat.out", "tail.out")
    assert (last.inputs, last.outputs) == (("max.out",), ("head.out",))


def test_a_segment_holds_what_it_uses_and_no_more() -> None:
    workload = every_operator()
    part = extract(workload, workload.ops[:1])
    assert set(part.constants) == {f"stem.{k}" for k in ("weight", "multiplier", "shift", "bias")}
    assert set(part.tensors) == {"x", "stem.out", *part.constants}
    assert part.emittable


def test_a_host_in_front_costs_no_segment() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 6, 6))
    changed = b.rescale("before", x)
    left, right = b.conv("left", changed, 4), b.conv("right", x, 4)
    made = partition(b.build((x,), (b.eltwise("sum", "add", left, right),)), ["before"])
    assert sides(made) == [("host", ["before"]), ("npu", ["left", "right", "sum"])]


def reshaped() -> Workload:
    """conv, a reshape to another map, a pool of it, a flattening, a product; and a side branch."""
    b = Builder()
    x = b.tensor("x", (1, 8, 4, 4))
    y = b.reshape("fold", b.conv("conv", x, 8, (1, 1)), (1, 4, 8, 4))
    pooled = b.pool("pool", y, "max", (2, 2), (2, 2))
    flat = b.reshape("flat", pooled, (1, 4 * 4 * 2))
    side = b.conv("side", x, 2, (1, 1))
    return b.build((x,), (b.matmul("fc", flat, 3), side))


@pytest.mark.parametrize(
    ("hosted", "expected"),
    [
        (
            ["pool"],
            [("npu", ["conv", "fold", "side"]), ("host", ["pool", "flat"]), ("npu", ["fc"])],
        ),
        (
            ["fold"],
            [("npu", ["conv", "side"]), ("host", ["fold"]), ("npu", ["pool", "flat", "fc"])],
        ),
        (
            ["conv", "pool"],
            [("host", ["conv", "fold", "pool", "flat"]), ("npu", ["side", "fc"])],
        ),
        (["conv", "fold", "pool", "side", "fc"], None),
    ],
)
def test_a_reshape_stays_with_what_made_its_input(
    hosted: list[str], expected: list[tuple[str, list[str]]] | None
) -> None:
    workload = reshaped()
    made = partition(workload, hosted)
    assert sides(made) == (expected or [("host", [op.name for op in workload.ops])])
    check_values(made, seed=2)


@pytest.mark.parametrize(("hosted", "side"), [("pool", "host"), ("fc", "npu")])
def test_a_reshape_of_the_network_s_input_goes_with_its_reader(hosted: str, side: str) -> None:
    b = Builder()
    x = b.tensor("x", (1, 8, 4, 4))
    pooled = b.pool("pool", b.reshape("fold", x, (1, 4, 8, 4)), "max", (8, 4), (1, 1))
    flat = b.reshape("flat", pooled, (1, 4))
    made = partition(b.build((x,), (b.matmul("fc", flat, 3),)), [hosted])
    homes = {name: kind for kind, names in sides(made) for name in names}
    assert (homes["fold"], homes["flat"]) == (side, side)
    check_values(made, seed=3)


def refuse(*names: str) -> Callable[[Op, Workload], str | None]:
    return lambda op, workload: f"{op.name}: is too much; do less" if op.name in names else None


def test_what_is_supported_whole_is_not_divided() -> None:
    workload = every_operator()
    made = divide(workload, refuse())
    assert made.segments == (AcceleratorSegment(workload),)
    assert not made.reasons


def test_what_is_refused_is_divided_off_with_the_reason() -> None:
    made = divide(every_operator(), refuse("add", "max"))
    assert sides(made) == sides(partition(every_operator(), ["add", "max"]))
    assert dict(made.reasons) == {
        "add": "add: is too much; do less",
        "max": "max: is too much; do less",
    }
    assert [made.reason(op) for op in made.hosted] == list(made.reasons.values())


def test_a_reshape_that_its_reader_cannot_follow_moves_to_the_host() -> None:
    def supports(op: Op, workload: Workload) -> str | None:
        made_by = {other.output: other for other in workload.ops}
        after = isinstance(made_by.get(inputs(op)[0]), Reshape)
        return f"{op.name}: follows a reshape; move" if after and op.name == "pool" else None

    made = divide(reshaped(), supports)
    assert sides(made) == [
        ("npu", ["conv", "side"]),
        ("host", ["fold"]),
        ("npu", ["pool", "flat", "fc"]),
    ]
    assert dict(made.reasons) == {"fold": "pool: follows a reshape; move"}


def test_operators_are_judged_in_the_segment_that_holds_them() -> None:
    def supports(op: Op, workload: Workload) -> str | None:
        """The side branch only fits where no other convolution is."""
        convolutions = sum(isinstance(other, Conv2d) for other in workload.ops)
        if op.name == "pool" or (op.name == "side" and convolutions > 1):
            return f"{op.name}: does not fit; shrink it"
        return None

    made = divide(reshaped(), supports)
    assert sides(made) == [
        ("host", ["side"]),
        ("npu", ["conv", "fold"]),
        ("host", ["pool", "flat"]),
        ("npu", ["fc"]),
    ]
    (flat,) = (op for op in made.hosted if op.name == "flat")
    assert made.reason(flat) == "flat: moves no data and stays with its input"


def test_segments_in_a_wrong_order_are_refused() -> None:
    workload = reshaped()
    segments = partition(workload, ["pool"]).segments
    with pytest.raises(IntaglioError) as caught:
        Partition(workload, segments[::-1])
    assert str(caught.value) == (
        "the segments of 'built' run 'fc' before anything makes 'flat.out'"
    )


def test_segments_without_an_operator_are_refused() -> None:
    workload = reshaped()
    with pytest.raises(IntaglioError) as caught:
        Partition(workload, partition(workload, ["pool"]).segments[:-1])
    assert str(caught.value) == "the segments of 'built' do not hold each of its operators once"
