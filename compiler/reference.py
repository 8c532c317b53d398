"""What a workload must compute: every activation tensor, in exact integers, with numpy.

Islands of floats on the host are PyTorch's own computation (`compiler/islands.py`).

Products run in floating-point BLAS, which is exact as long as every partial sum stays below the
mantissa: float32 up to 2^24, float64 up to 2^53.  Each operator's bound is proven from its
weights before the type is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import islands
from intaglio.compiler.numerics import (
    Ints,
    accumulator_bound,
    dequantise,
    quantise,
    requantise,
)
from intaglio.compiler.reference_rows import normalised, probabilities
from intaglio.compiler.reference_tensors import (
    batch_products,
    concatenate,
    elementwise_products,
    move,
    reduction,
    resize,
)
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Constant,
    Conv2d,
    Eltwise,
    Expand,
    Gather,
    Host,
    MatMul,
    Multiply,
    Norm,
    Op,
    Pad,
    Pair,
    Pool,
    Reduce,
    Requantise,
    Rescale,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Transpose,
    Workload,
    channel_axis,
)
from intaglio.errors import IntaglioError, UsageError

Values = dict[str, Ints]


def run(workload: Workload, inputs: Mapping[str, NDArray[np.integer]]) -> Values:
    """Every activation of `workload`, inputs included, as int64 under its tensor's name.

    A tensor of floats, which an island makes, is float32.

    An input has its tensor's shape (d0, d1, ...), or (images * d0, d1, ...).  Raises UsageError
    when an input is missing, unknown, of the wrong shape, out of range or of another number of
    images than the first, and IntaglioError when the workload has no constants.
    """
    check_constants(workload)
    values = checked_inputs(workload, inputs)
    for op in workload.ops:
        values.update(results(workload, op, values))
    return values


def results(workload: Workload, op: Op, values: Mapping[str, Ints]) -> Values:
    """Every output of one operator by name, given the tensors it reads in `values`."""
    if isinstance(op, Host):
        return islands.run(workload, op, values)
    return {op.output: compute(workload, op, values)}


def compute(workload: Workload, op: Op, values: Mapping[str, Ints]) -> Ints:
    """The output of one operator, the first of an island, given what it reads in `values`."""
    match op:
        case Host():
            return results(workload, op, values)[op.output]
        case Conv2d():
            return _finish(workload, op.epilogue, _convolve(workload, op, values[op.input]), values)
        case MatMul():
            return _finish(workload, op.epilogue, _multiply(workload, op, values[op.input]), values)
        case Pool():
            return _pool(workload, op, values)
        case Eltwise() | Rescale():
            return _finish(workload, op.epilogue, values[op.input], values)
        case Concat():
            parts = zip(op.inputs, op.epilogues, strict=True)
            finished = [_finish(workload, e, values[name], values) for name, e in parts]
            return concatenate(workload, op, finished)
        case BatchMatMul():
            return _finish(workload, op.epilogue, batch_products(workload, op, values), values)
        case Multiply():
            return _finish(
                workload, op.epilogue, elementwise_products(workload, op, values), values
            )
        case Reduce():
            acc = reduction(workload, op, values)
            return acc if op.epilogue is None else _finish(workload, op.epilogue, acc, values)
        case Softmax():
            return probabilities(workload, op, values)
        case Norm():
            return normalised(workload, op, values)
        case Constant():
            return _repeated(workload, op, values)
        case Resize():
            return resize(workload, op, values)
        case Reshape() | Transpose() | Slice() | Pad() | Expand() | Gather():
            return move(workload, op, values)
        case _:
            assert_never(op)


def _repeated(workload: Workload, op: Constant, values: Mapping[str, Ints]) -> Ints:
    """The constant, once for each image."""
    first = workload.inputs[0]
    images = len(values[first]) // workload.tensor(first).shape[0]
    value = workload.constants[op.value].astype(np.int64)
    return np.tile(value, (images, *(1,) * (value.ndim - 1)))


def quantise_inputs(
    workload: Workload, floats: Mapping[str, NDArray[np.floating]]
) -> dict[str, Ints]:
    """The integers that enter the network for real inputs, by each input's scale."""
    return {
        name: quantise(floats[name], workload.tensor(name).scale, workload.tensor(name).element)
        for name in workload.inputs
    }


def dequantise_outputs(
    workload: Workload, values: Mapping[str, Ints]
) -> dict[str, NDArray[np.float64]]:
    """The real outputs that integer outputs stand for, by each output's scale."""
    return {
        name: dequantise(values[name], workload.tensor(name).scale) for name in workload.outputs
    }


def check_constants(workload: Workload) -> None:
    """Raise IntaglioError when the workload was made without numbers."""
    if not workload.emittable:
        raise IntaglioError(
            f"workload '{workload.name}' has shapes only and cannot be computed; lower it from a "
            "model with weights"
        )


def checked_inputs(workload: Workload, inputs: Mapping[str, NDArray[np.integer]]) -> Values:
    """The inputs as int64, once they are what the workload takes; UsageError as in `run`."""
    unknown = [name for name in inputs if name not in workload.inputs]
    if unknown:
        raise UsageError(
            f"'{unknown[0]}' is not an input of '{workload.name}'; its inputs are "
            f"{', '.join(workload.inputs)}"
        )
    checked = {}
    for name in workload.inputs:
        if name not in inputs:
            raise UsageError(f"input '{name}' of '{workload.name}' is missing; give its integers")
        checked[name] = _checked_input(workload.tensor(name), inputs[name])
    _check_images(workload, checked)
    return checked


def _check_images(workload: Workload, checked: Values) -> None:
    """Every input holds as many images as the first."""
    images = {name: len(array) // workload.tensor(name).shape[0] for name, array in checked.items()}
    first = workload.inputs[0]
    for name, count in images.items():
        if count != images[first]:
            raise UsageError(
                f"input '{name}' of '{workload.name}' holds {count} images, '{first}' holds "
                f"{images[first]}; give every input as many"
            )


def _checked_input(tensor: Tensor, array: NDArray[np.integer]) -> Ints:
    if array.shape[1:] != tensor.shape[1:] or not array.ndim or len(array) % tensor.shape[0]:
        raise UsageError(
            f"input '{tensor.name}' has shape {array.shape}, the network takes {tensor.shape} "
            "(any number of images along axis 0); reshape it"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise UsageError(
            f"input '{tensor.name}' holds {array.dtype}, integers are needed; quantise it first"
        )
    if not tensor.element.holds(array):
        raise UsageError(
            f"input '{tensor.name}' leaves the range {tensor.element.lo}..{tensor.element.hi} of "
            f"its type {tensor.element}; quantise it with the tensor's scale"
        )
    return array.astype(np.int64)


def _finish(
    workload: Workload, epilogue: Requantise, acc: Ints, values: Mapping[str, Ints]
) -> Ints:
    """The epilogue applied to accumulators."""

    def constant(name: str | None) -> Ints | None:
        return None if name is None else workload.constants[name]

    return requantise(
        acc,
        workload.constants[epilogue.multiplier],
        workload.constants[epilogue.shift],
        workload.constants[epilogue.bias],
        epilogue.lo,
        epilogue.hi,
        None if epilogue.residual is None else values[epilogue.residual],
        constant(epilogue.residual_multiplier),
        constant(epilogue.table),
        axis=channel_axis(acc.ndim),
    )


def _exact_type(weight: NDArray[np.generic], tensor: Tensor) -> type[np.float32 | np.float64]:
    """The narrowest float type in which every partial sum of x * w is exact."""
    element = tensor.element
    bound = int(accumulator_bound(np.abs(weight.astype(np.int64)), element.lo, element.hi).max())
    return np.float32 if bound < 1 << 24 else np.float64


def _multiply(workload: Workload, op: MatMul, x: Ints) -> Ints:
    weight = workload.constants[op.weight]
    exact = _exact_type(weight, workload.tensor(op.input))
    product: Ints = (x.astype(exact) @ weight.T.astype(exact)).astype(np.int64)
    return product


def _convolve(workload: Workload, op: Conv2d, x: Ints) -> Ints:
    """The sum over kernel positions of (K, C) x (C, pixels) products, one image at a time."""
    weight = workload.constants[op.weight]
    exact = _exact_type(weight, workload.tensor(op.input))
    outputs, _, kernel_y, kernel_x = weight.shape
    taps = weight.astype(exact).transpose(2, 3, 0, 1)
    taps = taps.reshape(kernel_y, kernel_x, op.groups, outputs // op.groups, -1)
    out_y, out_x = workload.tensor(op.output).shape[2:]
    padded = np.pad(x.astype(exact), _pad_widths(op.padding))
    acc = np.empty((x.shape[0], outputs, out_y, out_x), np.int64)
    for image, made in zip(padded, acc, strict=True):
        total = np.zeros((op.groups, outputs // op.groups, out_y * out_x), exact)
        for fy, fx in np.ndindex(kernel_y, kernel_x):
            window = _window(image, (fy, fx), op.stride, op.dilation, (out_y, out_x))
            total += taps[fy, fx] @ window.reshape(op.groups, -1, out_y * out_x)
        made[...] = total.reshape(made.shape)
    return acc


def _pool(workload: Workload, op: Pool, values: Mapping[str, Ints]) -> Ints:
    x = values[op.input]
    out_y, out_x = workload.tensor(op.output).shape[2:]
    fill = workload.tensor(op.input).element.lo if op.kind == "max" else 0
    padded = np.pad(x, _pad_widths(op.padding), constant_values=fill)
    combine = np.maximum if op.kind == "max" else np.add
    positions = np.ndindex(*op.kernel)
    acc = _window(padded, next(positions), op.stride, (1, 1), (out_y, out_x)).copy()
    for position in positions:
        combine(acc, _window(padded, position, op.stride, (1, 1), (out_y, out_x)), out=acc)
    return acc if op.epilogue is None else _finish(workload, op.epilogue, acc, values)


def _pad_widths(padding: tuple[int, int, int, int]) -> tuple[Pair, ...]:
    top, bottom, left, right = padding
    return ((0, 0), (0, 0), (top, bottom), (left, right))


def _window(
    image: NDArray[Any], position: Pair, stride: Pair, dilation: Pair, outputs: Pair
) -> NDArray[Any]:
    """The input pixels that kernel position (fy, fx) meets, one for each output pixel."""
    y, x = (p * d for p, d in zip(position, dilation, strict=True))
    rows = slice(y, y + (outputs[0] - 1) * stride[0] + 1, stride[0])
    columns = slice(x, x + (outputs[1] - 1) * stride[1] + 1, stride[1])
    return image[..., rows, columns]
