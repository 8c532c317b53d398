"""From a torch model to a `Workload`, as one visible list of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from intaglio.compiler.calibration import Method, check_calibration, seeded_batch
from intaglio.compiler.capture import Captured, capture
from intaglio.compiler.lower import lower
from intaglio.compiler.lower.builder import index_extent
from intaglio.compiler.partition import with_more
from intaglio.compiler.passes import PASSES
from intaglio.compiler.passes.fuse import Fuse, Plan
from intaglio.compiler.passes.islands import set_apart
from intaglio.compiler.passes.lift_constants import forget_values
from intaglio.compiler.passes.quantize import Quantize
from intaglio.compiler.passes.quantizer import check_layers
from intaglio.compiler.passes.refusals import Refusal
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import CalibrationError, UnsupportedError

Progress = Callable[[str, int, int], None]
"""Called with (step in words, done, total); a new step begins when the words change."""


def to_workload(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    calibration: Mapping[str, NDArray[np.generic]] | None = None,
    method: Method | None = None,
    precision: Precision | None = None,
    name: str | None = None,
    seed: int = 0,
    allow_host: bool = False,
    progress: Progress | None = None,
) -> Workload:
    """The exact integer workload of `model`.

    `example_inputs` have batch 1.  `calibration` maps each input's name to real data with any
    number of images along axis 0; without it one normal image drawn from `seed` is used.  `method`
    says what follows from these data; the default is the range of every value.  Of a model on
    PyTorch's meta device nothing but shapes is known: scales are nominal, accumulators are bounded
    by their types alone, and the workload holds no constants and cannot be emitted.  With
    `allow_host` what has no integer form becomes islands of floats on the host.  Raises
    CaptureError, CalibrationError or UnsupportedError, each naming what is wrong and the way out.
    """
    tell = progress or (lambda step, done, total: None)
    tell("capture", 0, 1)
    captured = capture(model, tuple(example_inputs))
    if captured.shapes_only and (calibration is not None or method is not None):
        raise CalibrationError(
            f"{type(model).__name__} is on the meta device, so there is nothing to calibrate; "
            "load its weights, or leave out calibration data and method"
        )
    data = calibration_data(captured, calibration, seed)
    images = len(next(iter(data.values()), (None,)))
    tell("capture", 1, 1)
    plan = fuse(captured, allow_host=allow_host)
    refuse(plan.refusals)
    bits = precision or Precision()
    check_layers(bits, plan, captured.shapes)
    check_indices(captured, data)
    quantised = Quantize(plan, bits, method or Method())(
        captured.module,
        batches(captured, data),
        lambda done: tell("calibrate", done, images),
        lambda done, layers: tell("round weights", done, layers),
    )
    tell("lower", 0, 1)
    workload = lower(quantised, plan, name or type(model).__name__)
    assert len(workload.inputs) == len(captured.shapes), f"cut at {workload.inputs}"
    tell("lower", 1, 1)
    return workload


def fuse(captured: Captured, *, allow_host: bool = False) -> Plan:
    """Run every graph pass on a captured graph, in place, and group what is left.

    With `allow_host` islands of what has no integer form are set apart.
    """
    module = captured.module
    # What passes add to tensors of unknown values must be on their device.
    with torch.device("meta") if captured.shapes_only else nullcontext():
        for graph_pass in PASSES:
            module = graph_pass(module)
    if captured.shapes_only:
        forget_values(module)
    plan = Fuse()(module)
    return set_apart(module, plan) if allow_host else plan


def refuse(refusals: Sequence[Refusal]) -> None:
    """Raise UnsupportedError for the first refusal, and say how many there are."""
    if refusals:
        raise UnsupportedError(with_more(str(refusals[0]), len(refusals) - 1))


def calibration_data(
    captured: Captured, calibration: Mapping[str, NDArray[np.generic]] | None, seed: int
) -> Mapping[str, NDArray[np.generic]]:
    """The user's data, checked against the inputs; a seeded normal image when there is none.

    Nothing at all when shapes are all that is known.
    """
    if captured.shapes_only:
        return {}
    if calibration is None:
        integers = {name: value.numpy() for name, value in captured.integers.items()}
        return seeded_batch(captured.shapes, seed, integers)
    return check_calibration(calibration, captured.shapes, captured.integers)


def check_indices(captured: Captured, data: Mapping[str, NDArray[np.generic]]) -> None:
    """Raise CalibrationError for integers that no row of the model's tables stands for."""
    inputs = captured.module.graph.find_nodes(op="placeholder")
    for name, node in zip(captured.shapes, inputs, strict=False):
        rows = index_extent(node)
        if rows is None or name not in data:
            continue
        given = data[name].astype(np.int64)
        wrong = given[(given < 0) | (given >= rows)]
        if wrong.size:
            raise CalibrationError(
                f"calibration input '{name}' holds {wrong[0]}, the model tells its integers apart "
                f"from 0 to {rows - 1}; give integers in that range, or compare the rows of an "
                "embedding in place of the integers"
            )


def batches(
    captured: Captured, data: Mapping[str, NDArray[np.generic]]
) -> Iterator[tuple[Tensor, ...]]:
    """The data one image at a time, as the captured graph takes them.

    Where shapes are all that is known, one image of which nothing else is known either.
    """
    if captured.shapes_only:
        inputs = captured.module.graph.find_nodes(op="placeholder")[: len(captured.shapes)]
        yield tuple(torch.empty_like(node.meta["val"], device="meta") for node in inputs)
        return
    columns: Iterable[NDArray[np.generic]] = [data[name] for name in captured.shapes]
    for images in zip(*columns, strict=True):
        yield tuple(torch.from_numpy(np.ascontiguousarray(image[None])) for image in images)
