"""Quantisers of ONNX and QONNX, in terms of PyTorch's fake_quantize with zero point 0.

Integers lo to hi with zero point z are integers lo - z to hi - z without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode
from intaglio.compiler.passes.given import MOST_BITS, type_of

Rounding = Callable[[Tensor], Tensor]
Kernel = Callable[[Tensor], Tensor]
TIES = ("ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN")
"""Rounding modes that differ in ties alone; of activations every tie goes up."""
ROUNDINGS: Mapping[str, Rounding] = {
    "CEIL": torch.ceil,
    "DOWN": torch.trunc,
    "FLOOR": torch.floor,
    "HALF_DOWN": lambda x: torch.sign(x) * torch.ceil(x.abs() - 0.5),
    "HALF_EVEN": torch.round,
    "HALF_UP": lambda x: torch.sign(x) * torch.floor(x.abs() + 0.5),
    "ROUND": torch.round,
    "ROUND_TO_ZERO": torch.trunc,
    "UP": lambda x: torch.sign(x) * torch.ceil(x.abs()),
}
"""What the rounding modes of QONNX do to constants."""
SYMMETRIC = "quantise symmetrically, with zero point 0"


def _quantise(node: OnnxNode) -> Function:
    """QONNX's Quant of x, scale, zero point and number of bits."""
    bits, zero = _one(node, 3, "number of bits"), _one(node, 2, "zero point")
    signed, narrow = bool(node.integer("signed", 0)), bool(node.integer("narrow", 0))
    node.require(
        bits == int(bits) and int(signed) < bits <= 32,
        f"it quantises to {bits:g} bits",
        "give it a whole number of bits, two or more where there is a sign",
    )
    codes = 1 << int(bits)
    lo, hi = (narrow - codes // 2, codes // 2 - 1) if signed else (0, codes - 1 - narrow)
    return _on_grid(node, lo, hi, zero)


def _sign(node: OnnxNode) -> Function:
    """QONNX's BipolarQuant of x and scale: +1 and -1, 0 among the positive ones."""
    place = _placing(node, -1, 1)
    if not node.known[0]:
        scale = float(node.constant(1))
        return lambda x, *_: torch.where(x >= 0, scale, -scale)
    return lambda x, scale: place(torch.where(x >= 0, scale, -scale))


def _quantise_linear(node: OnnxNode) -> Function:
    """QuantizeLinear, and the DequantizeLinear nodes that alone read it."""
    lo, hi = limits(node, node.type(2) or str(node.attributes.get("output_dtype", "uint8")))
    return _on_grid(node, lo, hi, _zero_point(node))


def _dequantise_linear(node: OnnxNode) -> Function:
    """DequantizeLinear of integers of the file; behind QuantizeLinear nothing is left to do."""
    if node.real:
        return lambda x, *_: x
    if not node.known[0]:
        node.refuse(
            f"it reads integers of type {node.type(0)} that no QuantizeLinear makes",
            "let the model begin with real numbers",
        )
    zero, scale = _zero_point(node), _spread(node)

    def real(x: Tensor) -> Tensor:
        return (x.to(torch.float32) - zero) * scale

    if node.type(0) == "int32":
        return lambda x, *_: real(x)
    lo, hi = limits(node, node.type(0))
    place = _placing(node, *_without_zero(node, lo, hi, zero))
    return lambda x, *_: place(real(x))


def limits(node: OnnxNode, kind: str) -> tuple[int, int]:
    """The least and the largest integer of a type of ONNX, such as `int8` or `uint4`."""
    bits = kind.removeprefix("u").removeprefix("int")
    if not (bits.isdigit() and "int" in kind):
        node.refuse(f"it quantises to {kind}", "quantise to integers of at most 8 bits")
    codes = 1 << int(bits)
    return (0, codes - 1) if kind[0] == "u" else (-codes // 2, codes // 2 - 1)


def _on_grid(node: OnnxNode, lo: int, hi: int, zero: int) -> Function:
    """The integers `lo` to `hi` of a value; constants are rounded as the node says."""
    mode = node.text("rounding_mode", "ROUND").upper()
    rounding = ROUNDINGS.get(mode)
    if rounding is None or not (node.known[0] or mode in TIES):
        node.refuse(f"its rounding mode {mode} is not that of the integers", "round to the nearest")
    lo, hi = _without_zero(node, lo, hi, zero)
    place = _placing(node, lo, hi)
    if not node.known[0]:
        return lambda x, *_: place(x)
    scale = _spread(node)
    return lambda x, *_: place(rounding(x / scale).clamp(lo, hi) * scale)


def _without_zero(node: OnnxNode, lo: int, hi: int, zero: int) -> tuple[int, int]:
    """The range of integers of zero point 0; refuses what needs more bits for it."""
    bits = type_of(lo - zero, hi - zero).bits if lo <= zero <= hi else 0
    if not 0 < bits <= MOST_BITS:
        need = f"need {bits} bits without one" if bits else "leave it out"
        node.refuse(
            f"its integers {lo} to {hi} with zero point {zero} {need}, at most {MOST_BITS} bits "
            "with zero point 0 are mapped",
            SYMMETRIC if zero else f"quantise to at most {MOST_BITS} bits",
        )
    return lo - zero, hi - zero


def _placing(node: OnnxNode, lo: int, hi: int) -> Kernel:
    """PyTorch's quantiser with the scales of a node."""
    scales = node.constant(1)
    wrong = scales[~(scales.isfinite() & (scales > 0))]
    node.require(not wrong.numel(), f"its scale is {_first(wrong):g}", "give it a positive scale")
    if scales.numel() == 1:
        scale = float(scales)
        return lambda x: torch.fake_quantize_per_tensor_affine(x, scale, 0, lo, hi)
    node.require(
        node.known[0],
        f"it gives its activations {scales.numel()} scales",
        "quantise activations with one scale",
    )
    axis = _axis(node, scales)
    flat = scales.flatten().float()
    zeros = torch.zeros(len(flat), dtype=torch.int32)
    return lambda x: torch.fake_quantize_per_channel_affine(x, flat, zeros, axis, lo, hi)


def _axis(node: OnnxNode, scales: Tensor) -> int:
    """The axis along which scales differ: ONNX has an attribute, QONNX the shape of the scales."""
    node.accept("block_size", 0, "give each channel one scale")
    if node.kind.endswith("Linear"):
        return node.axis(1)
    long = [
        axis for axis, extent in enumerate(scales.shape, node.rank - scales.dim()) if extent > 1
    ]
    node.require(
        len(long) == 1,
        f"its scales have shape {tuple(scales.shape)}",
        "let them differ along one axis alone",
    )
    return long[0]


def _spread(node: OnnxNode) -> Tensor:
    """The scales of a node, in a shape that multiplies its input."""
    scales = node.constant(1)
    if scales.numel() == 1 or not node.kind.endswith("Linear"):
        return scales
    axis = _axis(node, scales)
    return scales.reshape([-1 if index == axis else 1 for index in range(node.rank)])


def _zero_point(node: OnnxNode) -> int:
    return _one(node, 2, "zero point") if node.has(2) else 0


def _one(node: OnnxNode, index: int, what: str) -> int:
    """A constant whose elements are all one whole number."""
    values = node.constant(index).unique()
    whole = len(values) == 1 and float(values) == int(values)
    node.require(whole, f"its {what} is {values.tolist()}", f"give it one whole {what}")
    return int(values)


def _first(values: Tensor) -> float:
    return float(values[0]) if values.numel() else 0.0


QUANTISERS: Mapping[str, Builder] = {
    "BipolarQuant": _sign,
    "DequantizeLinear": _dequantise_linear,
    "Quant": _quantise,
    "QuantizeLinear": _quantise_linear,
}
"""Quantisers by name; those of QONNX are of domains of their own."""
