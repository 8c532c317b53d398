"""The inputs of a verification: drawn over the whole integer range, or real data quantised."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.workload import ElementType, Workload
from intaglio.errors import UsageError


def stimulus(
    workload: Workload,
    images: int,
    data: Mapping[str, NDArray[np.floating]] | None,
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Integers by input name, `images` of them along axis 0.

    `data` holds real inputs by name; without it integers are drawn from `seed`.  Raises UsageError
    when there is no image, or when `data` do not fit the network.
    """
    if images < 1:
        raise UsageError(f"images is {images}, at least 1 is needed; ask for 1 or more")
    if seed < 0:
        raise UsageError(f"seed is {seed}, at least 0 is needed; give 0 or another")
    if data is None:
        generator = np.random.default_rng(seed)
        tensors = [workload.tensor(name) for name in workload.inputs]
        return {
            tensor.name: _drawn(generator, tensor.element, (images, *tensor.shape[1:]))
            for tensor in tensors
        }
    for name in data:
        if name not in workload.inputs:
            near = difflib.get_close_matches(name, workload.inputs, 1)
            known = f"the inputs are {', '.join(workload.inputs)}"
            hint = f"did you mean '{near[0]}'?" if near else known
            raise UsageError(f"data key '{name}' is no input of the network; {hint}")
    for name in workload.inputs:
        _check_data(workload, name, data, images)
    return reference.quantise_inputs(workload, {name: data[name][:images] for name in data})


def _drawn(
    generator: np.random.Generator, element: ElementType, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Integers from the whole range of `element`."""
    steps = (element.hi - element.lo) // element.step
    return element.lo + element.step * generator.integers(0, steps, shape, endpoint=True)


def _check_data(
    workload: Workload, name: str, data: Mapping[str, NDArray[np.floating]], images: int
) -> None:
    shape = workload.tensor(name).shape[1:]
    if name not in data:
        raise UsageError(
            f"data for the input '{name}' of shape {shape} an image are missing; add them to the "
            "data under its name"
        )
    given = data[name]
    if given.shape[1:] != shape:
        raise UsageError(
            f"data '{name}' have shape {given.shape[1:]} an image, the network takes {shape}; "
            "reshape them, with the images along axis 0"
        )
    if len(given) < images:
        raise UsageError(
            f"data '{name}' hold {len(given)} images, {images} are asked for; ask for at most "
            f"{len(given)}, or add images"
        )
    if not np.isfinite(given[:images]).all():
        raise UsageError(
            f"data '{name}' hold a value that is not a finite number; remove the images that do"
        )
