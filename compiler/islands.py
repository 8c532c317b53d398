"""Islands on the host, computed by PyTorch: what their values are.

TVM's kernels (`compiler/kernels/floats.py`) compute the same to the tolerance that is stated there.
Values are `numerics.dequantise`d where they enter an island and `numerics.quantise`d where they
leave it for integers; what only the host reads, or the network returns, stays as PyTorch gives it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.calls import GETITEM, Argument, TypeName, Value
from intaglio.compiler.numerics import dequantise, quantise
from intaglio.compiler.tensor import Tensor
from intaglio.compiler.workload import Host, Workload
from intaglio.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]
Values = Mapping[str, Array]


def run(workload: Workload, op: Host, values: Values) -> dict[str, Array]:
    """The outputs of an island, image by image: int64 or float32, images along axis 0.

    Raises VerificationError when a value that becomes integers is not a finite number, or an
    integer exceeds its type.
    """
    constants = [workload.constants[name] for name in op.numbers]
    parts = []
    for image in range(images(workload, op, values)):
        given = entering(workload, op, values, image)
        made = evaluate(op, [*given, *constants])
        parts.append(leaving(workload, op, made))
    return {name: np.concatenate([part[name] for part in parts]) for name in op.outputs}


def images(workload: Workload, op: Host, values: Values) -> int:
    """How many images `values` hold."""
    first = op.inputs[0]
    return len(values[first]) // workload.tensor(first).shape[0]


def entering(workload: Workload, op: Host, values: Values, image: int) -> list[Array]:
    """The inputs of an island for one image, each of its type."""
    given = []
    for name, kind in zip(op.inputs, op.types, strict=False):
        tensor = workload.tensor(name)
        rows = tensor.shape[0]
        given.append(_real(values[name][image * rows : (image + 1) * rows], tensor, kind))
    return given


def _real(integers: Array, tensor: Tensor, kind: str) -> Array:
    if kind == "float32" and not tensor.element.is_float:
        return dequantise(integers, tensor.scale).astype(np.float32)
    return integers.astype(kind)


def leaving(workload: Workload, op: Host, made: list[Array]) -> dict[str, Array]:
    """What an island made of one image, by tensor; raises VerificationError as `run` does."""
    pairs = zip(op.outputs, made, strict=True)
    return {name: _stored(op, workload.tensor(name), array) for name, array in pairs}


def _stored(op: Host, tensor: Tensor, array: Array) -> Array:
    element = tensor.element
    if element.is_float:
        return array.astype(np.float32)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise VerificationError(
                f"{op.name}: '{tensor.name}' holds a value that is not a finite number, which has "
                "no integer; keep its operands in the function's domain"
            )
        return quantise(array, tensor.scale, element)
    integers = array.astype(np.int64)
    if integers.size and not element.lo <= integers.min() <= integers.max() <= element.hi:
        raise VerificationError(
            f"{op.name}: '{tensor.name}' holds {integers.min()} to {integers.max()}, its type "
            f"{element} holds {element.lo} to {element.hi}; make smaller integers"
        )
    return integers


def evaluate(op: Host, given: list[Array]) -> list[Array]:
    """The results of an island by PyTorch, from its inputs and constants of one image."""
    import torch

    with torch.no_grad():
        made = compute(op, [torch.from_numpy(np.ascontiguousarray(array)) for array in given])
    return [value.numpy() for value in made]


def compute(op: Host, values: list[Any]) -> list[Any]:
    """The results of an island from PyTorch's tensors: every call, one after another."""
    values = list(values)
    for call in op.calls:
        arguments = [_argument(argument, values) for argument in call.arguments]
        options = {name: _argument(argument, values) for name, argument in call.options}
        values.append(function(call.operator)(*arguments, **options))
    return [values[result.index] for result in op.results]


def function(name: str) -> Callable[..., Any]:
    """What PyTorch calls `name`, an operator of `calls.OPERATORS`."""
    import torch

    if name == GETITEM:
        return operator.getitem
    packet, overload = name.split(".")
    found: Callable[..., Any] = getattr(getattr(torch.ops.aten, packet), overload)
    return found


def _argument(argument: Argument, values: list[Any]) -> object:
    import torch

    match argument:
        case Value(index):
            return values[index]
        case TypeName(name):
            return getattr(torch, name)
        case tuple():
            return [_argument(entry, values) for entry in argument]
        case _:
            return argument
