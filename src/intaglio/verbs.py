"""What each verb does: call the Python interface and shape the answer for a person or a program."""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.table import Table

from intaglio import api, choosing
from intaglio.compiler.calibration import Method, read_arrays
from intaglio.doctor import Part, diagnose
from intaglio.errors import UsageError
from intaglio.options import as_options
from intaglio.progress import bars
from intaglio.request import Choices, Request

if TYPE_CHECKING:
    from intaglio.compiler.execution import Engine
    from intaglio.templates.deployment import Deployment


KIB = 8 * 1024
"""Bits of one KiB."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer: `data` for JSON, `text` for a person, and the exit code."""

    data: dict[str, object]
    text: RenderableType
    exit_code: int = 0


def show(outcome: Outcome, as_json: bool) -> int:
    """Print one answer on standard output and return its exit code."""
    if as_json or isinstance(outcome.text, str):
        printed = json.dumps(outcome.data) if as_json else str(outcome.text)
        typer.echo(as_options(printed))
    else:
        Console(highlight=False).print(outcome.text)
    return outcome.exit_code


def check(request: Request, *, quiet: bool) -> Outcome:
    """Every node of a model as mapped, folded, host or refused; exit 1 when any is refused."""
    design, precision = request.read_design(), request.precision()
    loaded = request.load()
    with bars(wanted=not quiet) as progress:
        progress("check", 0, 1)
        found = api.check(
            loaded.module,
            loaded.example_inputs,
            template=request.template,
            design=design,
            precision=precision,
            name=loaded.name,
            allow_host=request.allow_host,
        )
    return Outcome(found.to_dict(), found.to_text().rstrip(), 0 if found.ok else 1)


def compile(
    request: Request,
    output: Path,
    *,
    calibration: Path | None,
    method: Method,
    images: int,
    force: bool,
    quiet: bool,
) -> Outcome:
    """Write an artifact and say what is in it."""
    design, precision = request.read_design(), request.precision()
    data = read_arrays(calibration) if calibration else None
    loaded = request.load()
    with bars(wanted=not quiet) as progress:
        artifact = api.compile(
            loaded.module,
            loaded.example_inputs,
            template=request.template,
            design=design,
            calibration=data,
            method=method,
            output=output,
            name=loaded.name,
            precision=precision,
            allow_host=request.allow_host,
            images=images,
            force=force,
            progress=progress,
        )
    source = str(calibration) if calibration else "one seeded normal image"
    return _compiled(artifact.deployment, output, source)


def _compiled(deployment: Deployment, output: Path, source: str) -> Outcome:
    """What an artifact holds, calibrated on `source`."""
    hosted = deployment.partition.hosted
    layers = sum(len(program.layers) for program in deployment.programs)
    instructions = sum(program.count for program in deployment.programs)
    name, memory_bytes = deployment.workload.name, deployment.memory_bytes
    answer = {
        "artifact": str(output),
        "name": name,
        "design": deployment.design.to_dict(),
        "calibration": source,
        "segments": len(deployment.programs),
        "layers": layers,
        "instructions": instructions,
        "memory_bytes": memory_bytes,
        "images": deployment.images,
        "host_operators": [op.name for op in hosted],
    }
    beside = f", {len(hosted)} operators on the host" if hosted else ""
    beside += f", {deployment.images} images a run" if deployment.images > 1 else ""
    text = (
        f"{name}: {layers} layers in {instructions} instructions, {memory_bytes} bytes of "
        f"memory{beside}, calibrated on {source}; written to {output}"
    )
    return Outcome(answer, text)


def estimate(request: Request, *, images: int, quiet: bool) -> Outcome:
    """Cycles, stalls and bytes of one run of a model, simulated without an artifact."""
    design, precision = request.read_design(), request.precision()
    loaded = request.load()
    with bars(wanted=not quiet) as progress:
        seen = api.estimate(
            loaded.module,
            loaded.example_inputs,
            template=request.template,
            design=design,
            name=loaded.name,
            precision=precision,
            allow_host=request.allow_host,
            images=images,
            progress=progress,
        )
    return Outcome(seen.to_dict(), str(seen))


def simulate(folder: Path, *, trace: Path | None, quiet: bool) -> Outcome:
    """Cycles, stalls and bytes of one run; writes the timeline when `trace` is given."""
    with bars(wanted=not quiet) as progress:
        seen = api.simulate(folder, progress=progress)
    if trace is not None:
        seen.write_timeline(trace)
    return Outcome(seen.to_dict(), str(seen))


def verify(
    folder: Path, *, images: int | None, data: Path | None, seed: int, host: bool, quiet: bool
) -> Outcome:
    """Compare every word of the RTL with the reference; exit 1 when any differs."""
    arrays = _real_numbers(read_arrays(data)) if data else None
    with bars(wanted=not quiet) as progress:
        found = api.verify(
            folder, images=images, data=arrays, seed=seed, host=host, progress=progress
        )
    answer, text = found.to_dict(), str(found)
    if arrays:
        answer["images_given"] = given = min(map(len, arrays.values()))
        whole = given - given % found.images_at_once
        if whole > found.images:
            more = "all" if whole == given else str(whole)
            text += (
                f"\n\nran {found.images} of the {given} images in {data}; --images {whole} runs "
            )
            text += more
    if host and not found.hosted:
        answer["note"] = f"no operator of {found.name} is on the host, so --host compared nothing"
        text += f"\n\n{answer['note']}"
    return Outcome(answer, text, 0 if found.passed else 1)


def accuracy(
    folder: Path,
    *,
    data: Path,
    labels: str | None,
    reference: str | None,
    engine: str | None,
    quiet: bool,
) -> Outcome:
    """The integer network's top-1 against labels, or its agreement with float outputs."""
    arrays = read_arrays(data)
    truth, floats = (_named(arrays, key, data) for key in (labels, reference))
    inputs = {name: a for name, a in arrays.items() if name not in (labels, reference)}
    with bars(wanted=not quiet) as progress:
        found = api.accuracy(
            folder,
            _real_numbers(inputs),
            labels=truth,
            reference=floats,
            engine=cast("Engine | None", engine),
            progress=progress,
        )
    return Outcome(found.to_dict(), str(found))


def _named(
    arrays: Mapping[str, NDArray[np.generic]], key: str | None, path: Path
) -> NDArray[np.generic] | None:
    """The array under `key`, when one is asked for.  Raises UsageError when it is not there."""
    if key is None:
        return None
    if key not in arrays:
        near = difflib.get_close_matches(key, arrays, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"it holds {', '.join(arrays)}"
        raise UsageError(f"{path}: has no array '{key}'; {hint}")
    return arrays[key]


def _real_numbers(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
    """`arrays` as float32.  Raises UsageError when one holds something else."""
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise UsageError(
                f"data '{name}' holds {array.dtype}, real numbers are needed; convert it to float32"
            )
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def search(specification: Path, output: Path, *, resume: bool, quiet: bool) -> Outcome:
    """Search network and hardware together; exit 1 when a word of the chosen RTL differs."""
    with bars(wanted=not quiet) as progress:
        found = choosing.explore(specification, output, resume=resume, progress=progress)
    return Outcome(found.to_dict(), str(found), 0 if found.passed else 1)


def compress(
    request: Request,
    output: Path,
    *,
    data: Path,
    kib: float | None,
    cycles: int | None,
    choices: Choices,
    calibration: Path | None,
    method: Method,
    force: bool,
    quiet: bool,
) -> Outcome:
    """Choose the bits of every layer under a budget, and write them to a file."""
    design, arrays = request.read_design(), _real_numbers(read_arrays(data))
    calibrated = read_arrays(calibration) if calibration else None
    if kib is None and cycles is None:
        raise UsageError("no budget is given; add --kib, --cycles or both")
    loaded = request.load()
    with bars(wanted=not quiet) as progress:
        found = choosing.compress(
            loaded.module,
            loaded.example_inputs,
            arrays,
            output,
            size_bits=None if kib is None else int(kib * KIB),
            cycles=cycles,
            weights=choices.weights,
            activations=choices.activations,
            divergence=choices.divergence,
            template=request.template,
            design=design,
            calibration=calibrated,
            method=method,
            name=loaded.name,
            allow_host=request.allow_host,
            force=force,
            progress=progress,
        )
    return Outcome(found.to_dict(), str(found))


def report(folder: Path, *, quiet: bool) -> Outcome:
    """An artifact layer by layer, with what verify stored."""
    with bars(wanted=not quiet) as progress:
        summary = api.summarise(folder, progress=progress)
    return Outcome(summary.to_dict(), str(summary))


def doctor() -> Outcome:
    """What is installed and what is missing; exit 1 when a core part is missing."""
    diagnosis = diagnose()
    table = Table("part", "group", "needed for", "found", box=None)
    for part in diagnosis.parts:
        table.add_row(part.name, part.group, part.needed_for, _found(part))
    return Outcome(diagnosis.to_dict(), table, 0 if diagnosis.healthy else 1)


def _found(part: Part) -> str:
    """The version of a part, or how to get it."""
    return part.version if part.version is not None else f"missing: {part.fix}"


def demo(network: str, *, images: int, quiet: bool) -> Outcome:
    """Train a network on real digits and take it to proven RTL; exit 1 when any word differs."""
    from intaglio.examples import mnist

    if network not in mnist.RECIPES:
        known = " and ".join(mnist.RECIPES)
        raise UsageError(f"unknown network '{network}'; the demo has {known}")
    with bars(wanted=not quiet) as progress, tempfile.TemporaryDirectory() as folder:
        result = mnist.run(network, Path(folder) / network, images=images, progress=progress)
    return Outcome(result.to_dict(), str(result), 0 if result.mismatches == 0 else 1)
