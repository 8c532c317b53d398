"""A trace as text, JSON and timeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import UsageError
from intaglio.sim.limits import busy_cycles
from intaglio.sim.npu import simulate
from tests.conftest import Golden
from tests.sim import handmade


def test_the_text_of_a_trace(golden: Golden) -> None:
    golden("handmade_trace.txt", str(simulate(handmade.program())) + "\n")


def test_the_json_of_a_trace(golden: Golden) -> None:
    golden("handmade_trace.json", json.dumps(simulate(handmade.program()).to_dict(), indent=1))


def test_the_timeline_holds_every_instruction_once_and_no_overlap(tmp_path: Path) -> None:
    program = handmade.program()
    trace = simulate(program)
    path = tmp_path / "trace.json"
    trace.write_timeline(path)
    events = json.loads(path.read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    assert names == {0: "load", 1: "compute", 2: "vector", 3: "store", 4: "window"}
    spans = [e for e in events if e["ph"] == "X"]
    assert [e["args"]["instruction"] for e in spans] == list(range(program.count))
    assert [e["name"] for e in spans] == ["conv"] * 5 + ["pool"] * 2
    for unit in names:
        own = [e for e in spans if e["tid"] == unit]
        for before, after in zip(own, own[1:], strict=False):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-9
    last = spans[-1]
    end = (last["ts"] + last["dur"]) * trace.clock_mhz
    assert round(end) == trace.timeline.retired[-1]


def test_a_trace_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    trace = simulate(handmade.program())
    path = tmp_path / "trace.json"
    trace.write_timeline(path)
    before = path.read_bytes()
    trace.write_timeline(path)
    assert path.read_bytes() == before
    notes = tmp_path / "notes.json"
    notes.write_text('{"mine": 1}')
    for other in (notes, tmp_path):
        with pytest.raises(UsageError) as caught:
            trace.write_timeline(other)
        assert str(caught.value) == (
            f"trace '{other}' exists and is no earlier trace, so it is not replaced; name another "
            "file"
        )
    assert notes.read_text() == '{"mine": 1}'
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes.json", "trace.json"]


def test_a_trace_is_not_written_into_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text("{}")
    (tmp_path / "rtl").mkdir()
    path = tmp_path / "rtl" / "trace.json"
    with pytest.raises(UsageError) as caught:
        simulate(handmade.program()).write_timeline(path)
    assert str(caught.value) == (
        f"trace '{path}' lies inside the artifact '{tmp_path.resolve()}', which is never changed; "
        "name a file outside it"
    )
    assert not path.exists()


intervals = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=6)


@given(intervals, st.lists(st.integers(0, 30), min_size=2, max_size=5))
def test_busy_cycles_count_the_union(spans: list[tuple[int, int]], edges: list[int]) -> None:
    issued = np.sort(np.array([start for start, _ in spans], dtype=np.int64))
    retired = np.maximum.accumulate(issued + np.array([n for _, n in spans], dtype=np.int64))
    cuts = np.sort(np.array(edges, dtype=np.int64))
    covered = np.zeros(100, dtype=np.int64)
    for start, end in zip(issued, retired, strict=True):
        covered[start:end] = 1
    expected = [int(covered[a:b].sum()) for a, b in zip(cuts, cuts[1:], strict=False)]
    assert busy_cycles(issued, retired, cuts).tolist() == expected
