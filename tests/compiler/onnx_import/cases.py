"""One node for every operator, and for each thing that it can be told to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from tests.compiler.onnx_import.graphs import Array, node

RANDOM = np.random.default_rng(7)
IMAGE = (1, 4, 7, 6)


def real(*size: int) -> Array:
    return RANDOM.standard_normal(size).astype(np.float32)


def positive(*size: int) -> Array:
    return (np.abs(real(*size)) + 0.2).astype(np.float32)


def number(value: float) -> Array:
    return np.array(value, dtype=np.float32)


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


@dataclass(frozen=True)
class Case:
    """One node between the input x (and z) and its outputs, with constants, in operator sets."""

    node: NodeProto
    constants: Mapping[str, Array] = field(default_factory=dict)
    size: tuple[int, ...] = IMAGE
    inputs: Mapping[str, Array] = field(default_factory=dict)
    opsets: tuple[int, ...] = (17,)

    @property
    def label(self) -> str:
        shown = [a.name for a in self.node.attribute]
        return "-".join([self.node.op_type, *shown, *self.constants])


def unary() -> list[Case]:
    plain = (
        "Abs Ceil Cos Erf Exp Floor HardSwish Identity Neg Relu Round Sigmoid Sign Sin Softplus "
        "Softsign Tanh LeakyRelu HardSigmoid Elu Selu Celu ThresholdedRelu GlobalAveragePool "
        "GlobalMaxPool Flatten Transpose"
    )
    cases = [Case(node(kind, "x")) for kind in plain.split()]
    cases += [
        Case(node(kind, "x"), inputs={"x": positive(*IMAGE)})
        for kind in ("Log", "Sqrt", "Reciprocal")
    ]
    return [
        *cases,
        Case(node("Mish", "x"), opsets=(18,)),
        Case(node("Gelu", "x"), opsets=(20, 21)),
        Case(node("Gelu", "x", approximate="tanh"), opsets=(20,)),
        Case(node("Swish", "x"), opsets=(24,)),
        Case(node("Swish", "x", alpha=1.7), opsets=(24,)),
        Case(node("LeakyRelu", "x", alpha=0.3)),
        Case(node("HardSigmoid", "x", alpha=1 / 6)),
        Case(node("Elu", "x", alpha=0.5)),
        Case(node("Celu", "x", alpha=2.0)),
        Case(node("PRelu", "x s"), {"s": positive(4, 1, 1)}),
        Case(node("PRelu", "x s"), {"s": positive(1)}),
        Case(node("PRelu", "x s"), {"s": positive(1, 4, 1, 6)}),
        Case(node("PRelu", "x s"), {"s": positive(5)}, (1, 5)),
        Case(node("Clip", "x", min=-0.3, max=0.5), opsets=(9,)),
        Case(node("Clip", "x a b"), {"a": number(-0.3), "b": number(0.5)}, opsets=(11,)),
        Case(node("Clip", "x _ b"), {"b": number(0.5)}),
        Case(node("Clip", "x a"), {"a": number(0.0)}),
        Case(node("Clip", "x")),
        Case(node("Cast", "x", to=TensorProto.INT32)),
        Case(node("Cast", "x", to=TensorProto.BOOL)),
        Case(node("CastLike", "x s"), {"s": ints(1)}, opsets=(19,)),
        Case(node("Dropout", "x"), opsets=(11, 13)),
        Case(node("Dropout", "x r"), {"r": number(0.5)}),
    ]


def binary() -> list[Case]:
    two = {"x": real(*IMAGE), "z": positive(1, 4, 1, 6)}
    cases = [Case(node(kind, "x z"), inputs=two) for kind in
             ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Equal", "Greater",
              "GreaterOrEqual", "Less", "LessOrEqual")]  # fmt: skip
    for kind in ("Add", "Sub", "Mul", "Div"):
        cases += [
            Case(node(kind, "x s"), {"s": number(1.7)}),
            Case(node(kind, "s x"), {"s": number(1.7)}, inputs={"x": positive(*IMAGE)}),
            Case(node(kind, "x s"), {"s": positive(4, 1, 1)}),
            Case(node(kind, "x s"), {"s": positive(1, 1, 1, 1, 1)}),
        ]
    flags = {"x": RANDOM.integers(0, 2, IMAGE) > 0, "z": RANDOM.integers(0, 2, IMAGE) > 0}
    whole = {"x": RANDOM.integers(-9, 10, IMAGE)}
    divisors = {"s": RANDOM.integers(1, 5, IMAGE)}
    return [
        *cases,
        *(Case(node(kind, "x z"), inputs=flags) for kind in ("And", "Or", "Xor")),
        Case(node("Not", "x"), inputs={"x": flags["x"]}),
        Case(node("Div", "x s"), divisors, inputs=whole),
        Case(node("Mod", "x s"), divisors, inputs=whole),
        Case(node("Mod", "x z", fmod=1), inputs=two),
        Case(node("Pow", "x s"), {"s": number(2.0)}),
        Case(node("Pow", "x s"), {"s": ints(3)}),
        Case(node("Pow", "x z"), inputs={"x": positive(*IMAGE), "z": real(*IMAGE)}),
        Case(node("Where", "w x z"), {"w": np.array([[True]])}, inputs=two),
        Case(node("Where", "w x z"), {"w": np.zeros((4, 1, 1), bool)}, inputs=two),
        Case(node("IsNaN", "x")),
        Case(node("Where", "x z w"), {"w": real(1)}, inputs={"x": flags["x"], "z": real(*IMAGE)}),
    ]


def reductions() -> list[Case]:
    cases = []
    for kind in ("L2", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        name = f"Reduce{kind}"
        cases += [
            Case(node(name, "x", axes=[-1, 1]), opsets=(11,)),
            Case(node(name, "x", axes=[2, 3], keepdims=0), opsets=(11,)),
            Case(node(name, "x a", keepdims=0), {"a": ints(2, 3)}, opsets=(18, 21)),
            Case(node(name, "x"), opsets=(11, 18)),
            Case(node(name, "x", noop_with_empty_axes=1), opsets=(18,)),
        ]
    return [
        *cases,
        Case(node("ReduceSum", "x a"), {"a": ints(-1)}, opsets=(13,)),
        Case(node("ArgMax", "x", axis=1)),
        Case(node("ArgMin", "x", axis=-1, keepdims=0)),
    ]


def layers() -> list[Case]:
    w, b = real(6, 4, 3, 3), real(6)
    cases = [
        Case(node("Conv", "x w b", **options), {"w": w, "b": b}, (1, 4, 9, 8), opsets=(11, 22))
        for options in (
            {},
            {"pads": [1, 1, 1, 1], "strides": [2, 2]},
            {"pads": [0, 1, 2, 1], "dilations": [1, 2]},
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
            {"auto_pad": "VALID"},
        )
    ]
    t = real(4, 3, 3, 2)
    cases += [
        Case(node("ConvTranspose", "x w", **options), {"w": t}, (1, 4, 5, 6))
        for options in (
            {},
            {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 1]},
            {"strides": [2, 3], "pads": [1, 0, 0, 1]},
            {"strides": [2, 2], "dilations": [1, 2]},
            {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        )
    ]
    s, shift, mean, var = real(4), real(4), real(4), positive(4)
    return [
        *cases,
        Case(node("Conv", "x w", group=4, kernel_shape=[3, 3]), {"w": real(8, 1, 3, 3)}),
        Case(node("Conv", "x w b"), {"w": real(5, 4, 3), "b": real(5)}, (1, 4, 9)),
        Case(node("Conv", "x w"), {"w": real(2, 3, 2, 2, 2)}, (1, 3, 4, 4, 4)),
        Case(node("ConvTranspose", "x w b"), {"w": real(4, 3, 3, 3), "b": real(3)}),
        Case(node("Gemm", "x w b", transB=1), {"w": real(3, 5), "b": real(3)}, (1, 5)),
        Case(node("Gemm", "x w b"), {"w": real(5, 3), "b": real(1, 3)}, (1, 5)),
        Case(node("Gemm", "x w", alpha=0.5, transA=1), {"w": real(1, 3)}, (1, 5)),
        Case(node("Gemm", "x w b", alpha=0.5, beta=2.0), {"w": real(5, 3), "b": real(1)}, (1, 5)),
        Case(node("MatMul", "x w"), {"w": real(6, 3)}),
        Case(node("MatMul", "x z"), inputs={"x": real(1, 2, 3, 4), "z": real(1, 2, 4, 5)}),
        Case(
            node("BatchNormalization", "x s b m v", epsilon=1e-3),
            {"s": s, "b": shift, "m": mean, "v": var},
            opsets=(15,),
        ),
        Case(node("InstanceNormalization", "x s b"), {"s": s, "b": shift}),
        Case(node("LayerNormalization", "x s b", epsilon=1e-4), {"s": real(6), "b": real(6)}),
        Case(node("LayerNormalization", "x s", axis=2), {"s": real(7, 6)}),
        Case(
            node("GroupNormalization", "x s b", num_groups=2),
            {"s": real(4), "b": shift},
            opsets=(21,),
        ),
        Case(node("RMSNormalization", "x s"), {"s": real(6)}, opsets=(23,)),
        Case(node("Softmax", "x"), opsets=(13,)),
        Case(node("Softmax", "x", axis=1), opsets=(13,)),
        Case(node("LogSoftmax", "x", axis=-1)),
    ]


def pools() -> list[Case]:
    windows: tuple[dict[str, Any], ...] = (
        {"kernel_shape": [2, 3]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    )
    both = [Case(node(kind, "x", **w)) for kind in ("MaxPool", "AveragePool") for w in windows]
    counted = [Case(node("AveragePool", "x", count_include_pad=1, **w)) for w in windows[1:3]]
    return [
        *both,
        *counted,
        Case(node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])),
        Case(node("MaxPool", "x", kernel_shape=[3]), size=(1, 4, 9)),
        Case(node("AveragePool", "x", kernel_shape=[3], pads=[1, 1]), size=(1, 4, 9)),
    ]


def moves() -> list[Case]:
    pads = {"p": ints(0, 0, 1, 2, 0, 0, 2, 1)}
    return [
        Case(node("Reshape", "x s"), {"s": ints(0, -1, 6)}),
        Case(node("Flatten", "x", axis=2)),
        Case(node("Flatten", "x", axis=-1)),
        Case(node("Transpose", "x", perm=[0, 2, 3, 1])),
        Case(node("Concat", "x s", axis=1), {"s": real(1, 2, 7, 6)}),
        Case(node("Concat", "x x", axis=-1)),
        Case(node("Split", "x", "y z", axis=1, split=[1, 3]), opsets=(11,)),
        Case(node("Split", "x s", "y z", axis=1), {"s": ints(1, 3)}, opsets=(13,)),
        Case(node("Split", "x", "y z", axis=3), opsets=(11, 13)),
        Case(node("Split", "x", "y z", axis=2, num_outputs=2), opsets=(18,)),
        Case(node("Slice", "x", starts=[1, 0], ends=[3, -1], axes=[1, 3]), opsets=(9,)),
        Case(
            node("Slice", "x s e a t"),
            {"s": ints(-1, 5), "e": ints(-100, 1), "a": ints(1, -1), "t": ints(-1, -2)},
            opsets=(11,),
        ),
        Case(
            node("Slice", "x s e a t"),
            {"s": ints(1), "e": ints(2**63 - 1), "a": ints(2), "t": ints(3)},
        ),
        Case(node("Slice", "x s e"), {"s": ints(0, 1), "e": ints(1, 3)}),
        Case(node("Gather", "x i", axis=1), {"i": ints(2, -1, 0)}),
        Case(node("Gather", "x i", axis=2), {"i": np.array(-2)}),
        Case(node("Gather", "x i", axis=1), {"i": ints(2, -1, 0, 1).reshape(2, 2)}),
        Case(node("GatherElements", "x i", axis=2), {"i": RANDOM.integers(-7, 7, IMAGE)}),
        Case(node("Gather", "t x"), {"t": real(5, 3)}, inputs={"x": ints(4, 0, 2)[None]}),
        Case(node("Gather", "t x"), {"t": real(5, 3, 2)}, inputs={"x": ints(4, 0, 2)[None]}),
        Case(node("Squeeze", "x", axes=[1]), size=(1, 1, 5), opsets=(11,)),
        Case(node("Squeeze", "x a"), {"a": ints(-2)}, (1, 1, 5), opsets=(13,)),
        Case(node("Squeeze", "x"), size=(1, 3, 1, 5)),
        Case(node("Unsqueeze", "x", axes=[0, 2]), size=(1, 5), opsets=(11,)),
        Case(node("Unsqueeze", "x a"), {"a": ints(-1, 1)}, (1, 5), opsets=(13,)),
        Case(node("Expand", "x s"), {"s": ints(3, 1, 5)}, (1, 2, 1)),
        Case(node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 2, 1], value=0.5), opsets=(9,)),
        Case(node("Pad", "x p"), pads, opsets=(11, 13)),
        Case(node("Pad", "x p c"), {**pads, "c": number(-1.5)}),
        Case(node("Pad", "x p _ a"), {"p": ints(1, 2), "a": ints(1)}, opsets=(18,)),
        Case(node("Pad", "x p", mode="reflect"), pads),
        Case(node("Pad", "x p", mode="edge"), pads),
        Case(node("Pad", "x p", mode="wrap"), pads, opsets=(19,)),
        Case(node("Tile", "x r"), {"r": ints(1, 2, 1, 3)}),
        Case(node("DepthToSpace", "x", blocksize=2)),
        Case(node("DepthToSpace", "x", blocksize=2, mode="CRD")),
        Case(node("SpaceToDepth", "x", blocksize=2), size=(1, 3, 4, 6)),
        Case(node("Trilu", "x"), size=(1, 5, 5)),
        Case(node("Trilu", "x k", upper=0), {"k": np.array(1)}, (1, 5, 5)),
        Case(node("Einsum", "x x", equation="bij,bkj->bik"), size=(1, 5, 4)),
    ]


def resizes() -> list[Case]:
    twice, sizes = np.array([1, 1, 2, 2], np.float32), ints(1, 4, 10, 9)
    cases = [
        Case(node("Resize", "x _ s", **options), {"s": scales})
        for scales in (twice, np.array([1, 1, 0.5, 1.5], np.float32))
        for options in (
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            {},
            {"nearest_mode": "ceil"},
            {"nearest_mode": "round_prefer_ceil"},
            {"coordinate_transformation_mode": "pytorch_half_pixel"},
        )
    ]
    smooth = [
        Case(node("Resize", f"x _ {given}", mode=mode, **options), {"s": value})
        for given, value in (("s", twice), ("_ s", sizes))
        for mode in ("linear", "cubic")
        for options in (
            {},
            {"coordinate_transformation_mode": "align_corners"},
            {"coordinate_transformation_mode": "pytorch_half_pixel"},
        )
    ]
    return [
        *cases,
        *smooth,
        Case(node("Resize", "x _ s", coordinate_transformation_mode="align_corners"), {"s": twice}),
        Case(node("Resize", "x _ _ s", axes=[2, 3]), {"s": ints(14, 12)}, opsets=(18,)),
    ]


def recurrences() -> list[Case]:
    cases = []
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        extra: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
        outputs = "y h c" if kind == "LSTM" else "y h"
        for direction, d in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            if direction != "forward" and kind != "LSTM":
                continue  # ONNX's evaluator computes them forward alone
            weights = {
                "w": real(d, 3 * gates, 4),
                "r": real(d, 3 * gates, 3),
                "b": real(d, 6 * gates),
            }
            made = node(kind, "x w r b", outputs, hidden_size=3, direction=direction, **extra)
            cases.append(Case(made, weights, (1, 1, 4)))
            if direction == "forward":
                first = {"f": real(1, 1, 3), **({"g": real(1, 1, 3)} if kind == "LSTM" else {})}
                made = node(kind, f"x w r b _ {' '.join(first)}", outputs, hidden_size=3, **extra)
                cases.append(Case(made, {**weights, **first}, (1, 1, 4)))
    return cases


CASES = [
    *unary(),
    *binary(),
    *reductions(),
    *layers(),
    *pools(),
    *moves(),
    *resizes(),
    *recurrences(),
]
