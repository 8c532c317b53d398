"""`estimate`: the cycles of a model with and without weights, and of one of 7 billion."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import intaglio
from intaglio.cli import main
from intaglio.errors import UnsupportedError
from intaglio.examples.decoders import Model, gpt2_prompt, llama_small
from intaglio.sim import npu
from intaglio.sim.trace import Trace
from intaglio.templates.npu.program import Program
from tests.nets import tiny


def without_values(model: Model) -> Model:
    module, inputs = model
    return copy.deepcopy(module).to("meta"), tuple(value.to("meta") for value in inputs)


def test_it_tells_what_simulating_the_artifact_tells(tmp_path: Path) -> None:
    module, inputs = tiny()
    artifact = intaglio.compile(module, inputs, output=tmp_path / "out")
    seen = intaglio.estimate(module, inputs)
    assert seen.to_dict() == intaglio.simulate(artifact).to_dict()


@pytest.mark.parametrize("made", [llama_small, gpt2_prompt])
def test_cycles_do_not_need_weights(
    made: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: list[str] = []
    simulate = npu.simulate

    def counted(program: Program) -> Trace:
        simulated.append(program.workload_name)
        return simulate(program)

    monkeypatch.setattr(npu, "simulate", counted)
    model = made()
    known = intaglio.estimate(*model, allow_host=True)
    assert known.macs > 2_000_000
    simulated.clear()
    unknown = intaglio.estimate(*without_values(model), allow_host=True)
    assert unknown.to_dict() == known.to_dict()
    names = [row.name for row in unknown.layers]
    assert {"blocks.0.project", "head"} <= set(names) or {"blocks.0.up", "head"} <= set(names)
    assert 0 < len(simulated) < 8
    assert len(names) > 8


def test_nothing_is_compiled_without_weights(tmp_path: Path) -> None:
    module, inputs = without_values(llama_small())
    with pytest.raises(UnsupportedError) as caught:
        intaglio.compile(module, inputs, allow_host=True, output=tmp_path / "out")
    assert str(caught.value) == (
        "Decoder is on the meta device, so there are no weights to compile; load its weights, or "
        "count its cycles with `intaglio estimate`"
    )
    assert not (tmp_path / "out").exists()


def test_the_verb_tells_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "tests/nets.py:tiny", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    seen = intaglio.estimate(*tiny(), name="tiny").to_dict()
    assert answer == json.loads(json.dumps(seen))


def test_sums_of_16_bits_leave_every_product_on_the_array(
    capsys: pytest.CaptureFixture[str],
) -> None:
    macs = {}
    for bits in ("8,8", "8,8,8"):
        line = ["estimate", "examples/decoders.py:llama_small", "--allow-host", "--json"]
        assert main([*line, "--bits", bits]) == 0
        macs[bits] = json.loads(capsys.readouterr().out)["macs"]
    assert macs["8,8,8"] == macs["8,8"] > 4 * (256 * 256 + 688 * 256)


DECODE = """
import json, resource
from intaglio import estimate
from intaglio.compiler.precision import Precision
from intaglio.examples.decoders import llama_step
trace = estimate(*llama_step(), allow_host=True, precision=Precision(wide_bits=8))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
hosted = sum(row.macs for row in trace.hosted)
print(json.dumps([trace.macs, hosted, trace.bytes_read, trace.cycles, peak]))
"""


@pytest.mark.slow
def test_seven_billion_weights_take_less_than_four_gigabytes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DECODE], check=True, capture_output=True, text=True
    )
    macs, hosted, read, cycles, peak = json.loads(done.stdout)
    layer = 4 * 4096 * 4096 + 3 * 4096 * 11008
    assert macs == 32 * layer + 4096 * 32000
    assert hosted == 32 * 2 * 4096 * 1025
    assert read > macs
    assert cycles > read / intaglio.NpuDesign().memory_bytes_per_cycle
    assert peak < 4 << 30
