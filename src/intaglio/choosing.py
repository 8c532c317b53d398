"""The Python interface, where it chooses: network and hardware together, or bits of layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intaglio import api
from intaglio.errors import UsageError, write_whole
from intaglio.progress import Callback, silent
from intaglio.provenance import provenance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from intaglio.api import Arrays, Floats
    from intaglio.compiler.calibration import Method
    from intaglio.compiler.precision import Precision
    from intaglio.compiler.workload import Workload
    from intaglio.report.compression import Compressed
    from intaglio.report.exploration import Searched
    from intaglio.search.sensitivity import Divergence
    from intaglio.templates.npu.design import NpuDesign

STUDY, SEARCHED, CHOSEN, PRECISION = "study.sqlite", "search.json", "chosen", "precision.toml"
"""What `explore` leaves: the study, the result, the artifact of its choice and its bits."""


def explore(
    specification: Path | str,
    output: Path | str,
    *,
    resume: bool = False,
    cache: Path | None = None,
    progress: Callback = silent,
) -> Searched:
    """Run the search of a TOML file, then compile and verify the candidate it chooses.

    `output` becomes a folder with the study, the result, the chosen artifact and its precision.
    With `resume` a study that is there goes on, to the result it would have had without a break.
    Raises UsageError when `output` exists otherwise or holds another study, DesignError when no
    candidate keeps the limits, and the errors of `compile` and `verify`.
    """
    from intaglio.compiler.precision_file import write_precision
    from intaglio.report.exploration import Searched
    from intaglio.search import exploration
    from intaglio.search.codesign import CoDesign, network_part
    from intaglio.search.spec import read_specification
    from intaglio.search.store import Store
    from intaglio.templates import artifact
    from intaglio.templates.deployment import whole
    from intaglio.templates.npu.schedule import schedule

    spec, folder = read_specification(Path(specification)), Path(output)
    _check_study(folder, resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder / STUDY, spec.problem.fingerprint) as store:
        found = exploration.explore(spec, store, progress)
        evaluate = CoDesign(spec.task, spec.fixed, store)
        workload = evaluate.workload(found.chosen.point)
    program = schedule(workload, evaluate.design(found.chosen.point), progress)
    _, precision = network_part(found.chosen.point)
    write_precision(folder / PRECISION, precision, f"chosen by intaglio search: {spec.task.name}")
    made = {"task": spec.task.name, "candidate": found.chosen.point.to_dict()}
    info = {**provenance("npu", spec.budget.seed, None, None, precision), **made}
    deployment = whole(workload, program)
    chosen = artifact.write(folder / CHOSEN, deployment, info=info, force=True)
    data, images = spec.task.held_back().inputs, spec.verify_images
    proof = (
        api.verify(chosen, images=images, data=data, cache=cache, progress=progress)
        if images
        else None
    )
    result = Searched(found, folder / CHOSEN, proof)
    write_whole(folder / SEARCHED, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def _check_study(folder: Path, *, resume: bool) -> None:
    if not folder.exists():
        return
    if not resume:
        raise UsageError(
            f"output '{folder}' exists; name another one or add resume=True to go on with its study"
        )
    if not (folder / STUDY).is_file():
        raise UsageError(f"output '{folder}' exists and holds no study; name another one")


def compress(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    data: Floats,
    output: Path | str,
    *,
    size_bits: int | None = None,
    cycles: int | None = None,
    weights: Sequence[int] = (2, 3, 4, 8),
    activations: Sequence[int] = (8,),
    divergence: Divergence = "kl",
    template: str = "npu",
    design: NpuDesign | None = None,
    calibration: Arrays | None = None,
    method: Method | None = None,
    name: str | None = None,
    seed: int = 0,
    allow_host: bool = False,
    force: bool = False,
    progress: Callback = silent,
) -> Compressed:
    """Choose the bits of every layer with weights, and write them to the TOML file `output`.

    The outputs on `data`, real inputs by name with images along axis 0, shall differ least from
    those of the float network, while the network keeps `size_bits` of packed weights and
    activations, `cycles` of one image simulated on `design`, or both.  Scales follow from
    `calibration` by `method`, from `data` where none is given; give `compile` the same.  Raises
    UsageError when `output` exists and `force` is not set and when no choice fits the budget, and
    the errors of each stage.
    """
    from intaglio.compiler import reference
    from intaglio.compiler.pipeline import to_workload
    from intaglio.compiler.precision import Precision
    from intaglio.compiler.precision_file import write_precision
    from intaglio.report.compression import Compressed
    from intaglio.search.knapsack import Budget
    from intaglio.search.sensitivity import Cycles, survey
    from intaglio.templates.template import find_template

    path, budget, family = Path(output), Budget(size_bits, cycles), find_template(template)
    if path.exists() and not force:
        raise UsageError(
            f"output '{path}' exists; name another one or add force=True to replace it"
        )

    def build(precision: Precision) -> Workload:
        return to_workload(
            model,
            example_inputs,
            calibration=data if calibration is None else calibration,
            method=method,
            precision=precision,
            name=name,
            seed=seed,
        )

    base = build(Precision())
    images = len(next(iter(reference.quantise_inputs(base, data).values())))
    surveyed = survey(
        build,
        data,
        wanted=_float_outputs(model, example_inputs, [data[name] for name in base.inputs]),
        weights=weights,
        activations=activations,
        divergence=divergence,
        cycles=Cycles(family, design or family.design(None), allow_host),
        progress=progress,
    )
    found = surveyed.within(budget)
    comment = f"bits of {base.name}, chosen by intaglio compress on {images} images"
    write_precision(path, found.precision, comment)
    return Compressed(base.name, found, budget, divergence, images, path)


def _float_outputs(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    columns: Sequence[NDArray[np.floating]],
) -> NDArray[np.floating]:
    """What the float network returns first, (images, ...), one image at a time."""
    import torch
    from torch.export import ExportedProgram

    module = model.module() if isinstance(model, ExportedProgram) else model
    rows = []
    with torch.no_grad():
        for images in zip(*columns, strict=True):
            pairs = zip(images, example_inputs, strict=True)
            made = module(*(torch.as_tensor(image[None], dtype=x.dtype) for image, x in pairs))
            rows.append(made[0] if isinstance(made, tuple) else made)
    return torch.cat(rows).double().numpy()
