"""Arrays on TVM's side, in the narrowest machine type of their tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from intaglio.compiler.kernels.definition import storage
from intaglio.compiler.numerics import Ints
from intaglio.compiler.workload import Tensor


def empty(tensor: Tensor, images: int) -> tvm.runtime.Tensor:
    """Room for `images` images of `tensor`, (images, d0, d1, ...)."""
    return tvm.runtime.empty((images, *tensor.shape), storage(tensor.element))


def loaded(tensor: Tensor, array: Ints, images: range) -> tvm.runtime.Tensor:
    """Those images of (N * d0, d1, ...)."""
    rows = tensor.shape[0]
    part = array[images.start * rows : images.stop * rows]
    narrow = part.reshape(len(images), *tensor.shape).astype(storage(tensor.element))
    return tvm.runtime.tensor(narrow)


def unloaded(array: tvm.runtime.Tensor) -> Ints:
    """(images, d0, d1, ...) as numpy's (images * d0, d1, ...), int64 or float32."""
    made = array.numpy()
    numbers: Ints = made if made.dtype == np.float32 else made.astype(np.int64)
    return numbers.reshape(-1, *numbers.shape[2:])


def argument(value: str | NDArray[Any]) -> str | tvm.runtime.Tensor:
    """A constant on TVM's side; the name of an activation stays."""
    return value if isinstance(value, str) else tvm.runtime.tensor(value)
