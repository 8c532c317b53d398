"""The Python interface: a function a verb, from a model or an artifact to a frozen value.

What a function needs is imported when it runs: `check` and `compile` load torch, `simulate` and
`verify` do not.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intaglio.errors import UnsupportedError, UsageError, write_whole, writing
from intaglio.progress import Callback, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from intaglio.compiler.calibration import Method
    from intaglio.compiler.check import CheckReport
    from intaglio.compiler.execution import Engine
    from intaglio.compiler.precision import Precision
    from intaglio.compiler.training import Trainable
    from intaglio.report.summary import Summary
    from intaglio.sim.accuracy import AccuracyReport
    from intaglio.sim.trace import Trace
    from intaglio.sim.verify_report import VerifyReport
    from intaglio.templates.artifact import Artifact
    from intaglio.templates.npu.design import NpuDesign

    Arrays = Mapping[str, NDArray[np.generic]]
    Floats = Mapping[str, NDArray[np.floating]]

VERIFIED = "verify.json"
"""The file of an artifact's folder in which `verify` leaves what it found."""
_ROOM_BYTES = 1 << 16
"""What must fit beside an artifact before a proof starts; its result takes less."""


def check(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    template: str = "npu",
    design: NpuDesign | None = None,
    precision: Precision | None = None,
    name: str | None = None,
    allow_host: bool = False,
) -> CheckReport:
    """Every node of `model` as mapped, folded or refused on `design` (the template's default).

    With `allow_host`, what the design cannot run is on the host, with its reason and cost.
    `example_inputs` have batch 1.  Raises CaptureError when the model is not a static graph.
    """
    from intaglio.compiler import check as checker
    from intaglio.templates.template import find_template

    family = find_template(template)
    chosen = design or family.design(None)
    return checker.check(
        model,
        tuple(example_inputs),
        precision=precision,
        name=name,
        supports=lambda op, workload: family.supports(op, workload, chosen),
        allow_host=allow_host,
    )


def qat(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    calibration: Arrays | None = None,
    method: Method | None = None,
    precision: Precision | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: Callback = silent,
) -> Trainable:
    """`model` as a torch module that computes, and trains, with the rounding of its integers.

    Train its `parameters()` as any module's, with any number of images, then give it to `compile`
    in place of the model.  Scales follow from `calibration` once; `method` chooses those of least
    squared error unless given.  Raises the errors of `compile`.
    """
    from intaglio.compiler.training import LEAST_ERROR, prepare_training

    return prepare_training(
        model,
        example_inputs,
        calibration=calibration,
        method=method or LEAST_ERROR,
        precision=precision,
        name=name,
        seed=seed,
        progress=progress,
    )


def compile(
    model: nn.Module | ExportedProgram | Trainable,
    example_inputs: Sequence[Tensor] = (),
    *,
    template: str = "npu",
    design: NpuDesign | None = None,
    calibration: Arrays | None = None,
    method: Method | None = None,
    output: Path | str | None = None,
    name: str | None = None,
    precision: Precision | None = None,
    seed: int = 0,
    allow_host: bool = False,
    images: int = 1,
    force: bool = False,
    progress: Callback = silent,
) -> Artifact:
    """Quantise `model`, map it onto `design` (the template's default) and write the artifact.

    With `allow_host`, operators that the design cannot run stay on the host, in the same exact
    integers, and the artifact holds a program for each segment between them.  One run takes
    `images` images, each begun under the end of the one before.
    `calibration` maps input names to arrays with any number of images along axis 0; without it one
    normal image drawn from `seed` is used.  `method` says how scales, weights and biases follow
    from them.  A network from `qat` brings all of that, and its example inputs, along.  `output` is
    the folder to write, or a new temporary one that is the caller's to delete.  Raises UsageError
    when `output` exists and `force` is not set, UnsupportedError when the model has no weights, and
    the errors of each stage; nothing half-written is left behind.
    """
    from intaglio.compiler.calibration import Method
    from intaglio.compiler.capture import is_shapes_only
    from intaglio.compiler.pipeline import to_workload
    from intaglio.compiler.precision import Precision
    from intaglio.compiler.training import Origin, Trainable
    from intaglio.provenance import provenance
    from intaglio.templates import artifact
    from intaglio.templates.deployment import deploy
    from intaglio.templates.template import find_template

    if is_shapes_only(model):
        raise UnsupportedError(
            f"{name or type(model).__name__} is on the meta device, so there are no weights to "
            "compile; load its weights, or count its cycles with `intaglio estimate`"
        )
    if output is not None:
        artifact.check_target(Path(output), force=force)
    family = find_template(template)
    if isinstance(model, Trainable):
        given = {"calibration": calibration, "method": method, "precision": precision}
        _check_settled(model, example_inputs=example_inputs or None, **given)
        workload, origin = model.workload(name), model.origin
    else:
        workload = to_workload(
            model,
            example_inputs,
            calibration=calibration,
            method=method,
            precision=precision,
            name=name,
            seed=seed,
            allow_host=allow_host,
            progress=progress,
        )
        bits = precision or Precision()
        origin = Origin(method or Method(), bits, _images(calibration), seed)
    chosen = design or family.design(None)
    deployment = deploy(
        workload, family, chosen, allow_host=allow_host, images=images, progress=progress
    )
    folder = Path(output) if output is not None else Path(tempfile.mkdtemp()) / workload.name
    info = provenance(
        template, origin.seed, origin.calibration_images, origin.method, origin.precision
    )
    return artifact.write(folder, deployment, info=info, force=force)


def estimate(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    template: str = "npu",
    design: NpuDesign | None = None,
    name: str | None = None,
    precision: Precision | None = None,
    seed: int = 0,
    allow_host: bool = False,
    images: int = 1,
    progress: Callback = silent,
) -> Trace:
    """What `simulate` tells of the artifact that `compile` would write, without writing one.

    No weights are needed: of a `model` on PyTorch's meta device, such as a language model of
    billions of parameters, layers that are alike are mapped and simulated once.  Raises the errors
    of each stage.
    """
    from intaglio.compiler.pipeline import to_workload
    from intaglio.sim import deployment
    from intaglio.templates.deployment import deploy
    from intaglio.templates.template import find_template

    family = find_template(template)
    workload = to_workload(
        model,
        example_inputs,
        precision=precision,
        name=name,
        seed=seed,
        allow_host=allow_host,
        progress=progress,
    )
    chosen = design or family.design(None)
    made = deploy(workload, family, chosen, allow_host=allow_host, images=images, progress=progress)
    return deployment.simulate(made, progress)


def simulate(artifact: Artifact | Path | str, *, progress: Callback = silent) -> Trace:
    """Cycles, stalls and bytes of one run, simulated; the time of the host is not.

    A run takes as many images as the artifact was compiled for, one after the other.

    Raises ArtifactError when the folder is missing, corrupt or of another version.
    """
    from intaglio.sim import deployment

    return deployment.simulate(_opened(artifact).deployment, progress)


def verify(
    artifact: Artifact | Path | str,
    *,
    images: int | None = None,
    data: Floats | None = None,
    seed: int = 0,
    cache: Path | None = None,
    host: bool = False,
    progress: Callback = silent,
) -> VerifyReport:
    """Run the RTL in Verilator on `images` inputs and compare every word with the reference.

    They are those of one run unless given, else of whole runs.

    Operators on the host are the reference's own computation; each segment between them runs on
    the reference's values at its cuts.  With `host` they run as compiled kernels too, compared and
    timed on this machine.
    `data` maps input names to real arrays with images along axis 0; without it integers over
    the whole range are drawn from `seed`.  `cache` is the folder of built models, by default one
    in the user's home.  Leaves the result in the artifact's folder; when a word differs, also a
    waveform of the cycles in which it went wrong.  Raises OutputError, before anything runs, when
    that folder cannot be written, ToolError when a tool is missing and VerificationError when
    tokens leave the order of two accesses open or the hardware stops.
    """
    from intaglio.hw.npu_model import DRIVER
    from intaglio.hw.verilator import Model
    from intaglio.sim import verify as proof
    from intaglio.sim.hazards import check_tokens

    opened = _opened(artifact)
    _check_room(opened.directory)
    for part in opened.deployment.scheduled():
        check_tokens(part.program)
    bench = proof.Bench(opened.deployment, Model(opened.rtl_files, opened.top, DRIVER))
    found = proof.verify(
        bench,
        images=images,
        data=data,
        seed=seed,
        cache=cache,
        diagnosis=opened.directory,
        kernels=host,
        progress=progress,
    )
    write_whole(opened.directory / VERIFIED, json.dumps(found.to_dict(), indent=1) + "\n")
    return found


def accuracy(
    artifact: Artifact | Path | str,
    data: Floats,
    *,
    labels: NDArray[np.generic] | None = None,
    reference: NDArray[np.generic] | None = None,
    engine: Engine | None = None,
    progress: Callback = silent,
) -> AccuracyReport:
    """How the integer network does on `data`: real inputs by name, images along axis 0.

    `labels` holds a class number for each image, `reference` the outputs of the float network,
    (images, classes); at least one of them is needed.  `engine` is `tvm` or `reference`; both
    compute the same integers, and without a name TVM does where it is installed and there is enough
    to compute.  Raises UsageError when something does not fit, and ToolError when the engine is not
    installed.
    """
    from intaglio.sim import accuracy

    workload = _opened(artifact).workload
    return accuracy.measure(
        workload,
        data,
        labels=labels,
        reference_outputs=reference,
        engine=engine,
        progress=progress,
    )


def summarise(artifact: Artifact | Path | str, *, progress: Callback = silent) -> Summary:
    """What an artifact holds: design, layers, simulated cycles, and what `verify` found.

    Raises ArtifactError when the folder or the stored verification is corrupt.
    """
    from intaglio.report import summary
    from intaglio.report.origin import Origin

    opened = _opened(artifact)
    stored = opened.directory / VERIFIED
    verified = summary.load_verified(stored) if stored.exists() else None
    trace = simulate(opened, progress=progress)
    return summary.summarise(opened.deployment, trace, verified, Origin.of(opened))


def _check_room(folder: Path) -> None:
    """Raises OutputError when `verify` could not leave its result in `folder`."""
    with writing(f"'{folder / VERIFIED}'"), tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(_ROOM_BYTES))


def _opened(artifact: Artifact | Path | str) -> Artifact:
    """The artifact itself, opened first when a folder is given."""
    from intaglio.templates.artifact import Artifact

    return artifact if isinstance(artifact, Artifact) else Artifact.open(Path(artifact))


def _check_settled(model: Trainable, **given: object) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"{model.name} was made by `qat`, which settled its {option}; leave {option} out, "
                "or give it to `qat`"
            )


def _images(calibration: Arrays | None) -> int:
    return 0 if calibration is None else max(len(array) for array in calibration.values())
