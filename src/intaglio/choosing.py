"""The Python interface, where it chooses: network and hardware together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from intaglio import api
from intaglio.errors import UsageError, write_whole
from intaglio.progress import Callback, silent
from intaglio.provenance import provenance

if TYPE_CHECKING:
    from intaglio.report.exploration import Searched

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
