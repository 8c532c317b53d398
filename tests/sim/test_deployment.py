"""A cut network in time: its segments one after another, and the host between them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from intaglio.sim import deployment, npu
from intaglio.sim.trace import HostTrace, LayerTrace, Trace
from intaglio.templates.deployment import Deployment, whole
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.conftest import Golden
from tests.templates.npu.networks import SMALL, cut


@pytest.fixture(scope="module")
def made() -> Deployment:
    return cut(every_operator(), SMALL, "add", "max", "head")


@pytest.fixture(scope="module")
def parts(made: Deployment) -> list[Trace]:
    """The segments, each simulated alone."""
    return [npu.simulate(program) for program in made.programs]


@pytest.fixture(scope="module")
def trace(made: Deployment) -> Trace:
    return deployment.simulate(made)


@pytest.mark.parametrize(
    ("is_made", "step"),
    [(True, "simulate"), (False, "compile the simulator, once, and simulate")],
)
def test_progress_says_that_the_simulator_is_compiled(
    made: Deployment, monkeypatch: pytest.MonkeyPatch, is_made: bool, step: str
) -> None:
    monkeypatch.setattr(deployment, "is_made", lambda: is_made)
    steps: list[tuple[str, int, int]] = []
    deployment.simulate(made, lambda *told: steps.append(told))
    assert steps == [(step, done, len(made.programs)) for done in range(len(made.programs))]


def test_an_uncut_network_is_its_one_segment() -> None:
    workload = every_operator()
    program = schedule(workload, SMALL)
    joined, alone = deployment.simulate(whole(workload, program)), npu.simulate(program)
    assert joined.to_dict() == alone.to_dict()
    for column in ("unit", "layer", "issued", "retired"):
        one, other = getattr(joined.timeline, column), getattr(alone.timeline, column)
        assert np.array_equal(one, other)


def test_cycles_and_counters_are_those_of_the_segments(trace: Trace, parts: list[Trace]) -> None:
    assert trace.cycles == sum(part.cycles for part in parts)
    assert trace.cycles == sum(layer.cycles for layer in trace.layers)
    assert [layer.index for layer in trace.layers] == list(range(len(trace.layers)))
    assert trace.bytes_read == sum(part.bytes_read for part in parts)
    for index, unit in enumerate(trace.units):
        same = [part.units[index] for part in parts]
        assert {one.unit for one in same} == {unit.unit}
        assert unit.instructions == sum(one.instructions for one in same)
        assert unit.busy == sum(one.busy for one in same)


def test_rows_are_in_the_order_of_execution(trace: Trace) -> None:
    hosted = {row.name: index for index, row in enumerate(trace.rows) if isinstance(row, HostTrace)}
    layers = {
        row.name: index for index, row in enumerate(trace.rows) if isinstance(row, LayerTrace)
    }
    assert list(hosted) == ["add", "max", "head"]
    assert layers["grouped"] < hosted["add"] < layers["sub"] < hosted["max"] < layers["average"]
    assert layers["average"] < hosted["head"] == len(trace.rows) - 1
    workload = every_operator()
    head = next(op for op in workload.ops if op.name == "head")
    assert trace.rows[-1] == HostTrace("head", "MatMul", workload.macs(head), 5)
    assert trace.macs == sum(workload.macs(op) for op in workload.ops) - workload.macs(head)


def test_the_text_of_a_cut_network(golden: Golden, trace: Trace) -> None:
    golden("cut_trace.txt", f"{trace}\n")


def test_the_json_of_a_host_operator_has_no_cycles(trace: Trace) -> None:
    rows = trace.to_dict()["layers"]
    assert isinstance(rows, list)
    assert [row["on"] for row in rows] == [
        "host" if isinstance(row, HostTrace) else "accelerator" for row in trace.rows
    ]
    assert rows[-1] == {
        "name": "head",
        "op": "MatMul",
        "on": "host",
        "cycles": None,
        "macs": trace.hosted[-1].macs,
        "utilisation": None,
        "elements": 5,
    }


def test_the_timeline_shows_one_segment_after_another(
    trace: Trace, parts: list[Trace], tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    trace.write_timeline(path)
    events = json.loads(path.read_text())["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert tracks == {0: "load", 1: "compute", 2: "vector", 3: "store", 4: "window", 5: "host"}
    spans = [event for event in events if event["ph"] == "X"]
    assert [event["args"]["instruction"] for event in spans] == list(range(len(spans)))
    edges = np.cumsum([0, *(part.cycles for part in parts)]).tolist()
    counts = np.cumsum([0, *(len(part.timeline.unit) for part in parts)]).tolist()
    for part, start, end, first, last in zip(
        parts, edges, edges[1:], counts, counts[1:], strict=False
    ):
        own = spans[first:last]
        assert all(start <= event["args"]["issued"] for event in own)
        assert all(event["args"]["retired"] <= end for event in own)
        assert {event["name"] for event in own} == {layer.name for layer in part.layers}
    marks = [event for event in events if event["ph"] == "i"]
    assert [(event["name"], event["tid"]) for event in marks] == [
        ("add", 5),
        ("max", 5),
        ("head", 5),
    ]
    cycles = [round(event["ts"] * trace.clock_mhz) for event in marks]
    assert cycles == edges[1:]
    assert marks[0]["args"]["time"] == "not simulated"
