"""Calls of PyTorch as data: what an island on the host computes, in numbers and names alone.

A call names its operator by ATen's own name, and only those of `OPERATORS` exist: reading a file of
calls executes nothing, and running one calls nothing else.  Each has a TVM kernel too
(`compiler/kernels/floats.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GETITEM = "getitem"
"""The call that takes one result of a call with several; Python's own, all others are ATen's."""
TYPES = ("float32", "int64", "int32", "bool")
"""PyTorch's names of the types that values of an island have."""


@dataclass(frozen=True, slots=True)
class Value:
    """The `index`-th value of an island: its inputs first, then its constants, then its calls."""

    index: int


@dataclass(frozen=True, slots=True)
class TypeName:
    """One of PyTorch's types as an argument, such as `int64`."""

    type: str


Argument = None | bool | int | float | str | Value | TypeName | tuple["Argument", ...]


@dataclass(frozen=True, slots=True)
class Call:
    """`operator(*arguments, **options)`, such as `cumsum.default(%0, 1)`.

    Raises ValueError at construction for an operator that is not of `OPERATORS`.
    """

    operator: str
    arguments: tuple[Argument, ...]
    options: tuple[tuple[str, Argument], ...] = ()

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"'{self.operator}' is no operator of the host")

    def __str__(self) -> str:
        given = [text(argument) for argument in self.arguments]
        given += [f"{name}={text(argument)}" for name, argument in self.options]
        return f"{self.operator}({', '.join(given)})"


def text(argument: Argument) -> str:
    """An argument as people read it."""
    match argument:
        case Value(index):
            return f"%{index}"
        case TypeName(name):
            return name
        case tuple():
            return f"[{', '.join(map(text, argument))}]"
        case _:
            return str(argument)


def call_from_dict(entry: dict[str, Any]) -> Call:
    """The call that `dataclasses.asdict` described; ValueError, KeyError or TypeError otherwise."""
    return Call(
        entry["operator"],
        tuple(_argument(argument) for argument in entry["arguments"]),
        tuple((str(name), _argument(argument)) for name, argument in entry["options"]),
    )


def _argument(entry: object) -> Argument:
    match entry:
        case {"index": int(index)}:
            return Value(index)
        case {"type": str(name)} if name in TYPES:
            return TypeName(name)
        case list() | tuple():
            return tuple(map(_argument, entry))
        case None | bool() | int() | float() | str():
            return entry
    raise ValueError(f"{entry!r} is no argument of a call")


_DEFAULT = (
    "_cdist_forward _log_softmax _softmax abs acos acosh amax amin argmax argmin asin asinh atan"
    " atan2 atanh bitwise_not bmm cat ceil celu clamp clamp_min clone constant_pad_nd"
    " conv1d conv2d conv3d copy cos cosh cumprod cumsum elu erf exp expand expm1 floor gather gelu"
    " grid_sampler_2d group_norm hardsigmoid hardswish hardtanh index_select isfinite isinf isnan"
    " layer_norm leaky_relu linear log log10 log1p log2 logical_and logical_not logical_or"
    " logical_xor matmul maximum minimum mm permute reciprocal relu reshape round rsqrt selu"
    " sigmoid sign silu sin sinh slice_scatter softplus sqrt tan tanh trunc"
)
_OVERLOADED = (
    "_to_copy.default add.Tensor add.Scalar any.dim bitwise_and.Tensor bitwise_or.Tensor"
    " bitwise_xor.Tensor clamp.Tensor div.Tensor div.Tensor_mode eq.Scalar eq.Tensor fmod.Scalar"
    " fmod.Tensor ge.Scalar ge.Tensor gt.Scalar gt.Tensor index.Tensor le.Scalar le.Tensor"
    " linalg_vector_norm.default lt.Scalar lt.Tensor max.dim mean.dim min.dim mul.Scalar mul.Tensor"
    " ne.Scalar ne.Tensor pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor prod.dim_int"
    " remainder.Scalar remainder.Tensor rsub.Scalar scatter.src scatter.value slice.Tensor"
    " softmax.int sort.stable sub.Tensor sub.Scalar sum.dim_IntList var.correction where.self"
)
OPERATORS = frozenset(
    (GETITEM, *(f"{name}.default" for name in _DEFAULT.split()), *_OVERLOADED.split())
)
"""The operators that the host computes in floating point, by ATen's names."""
