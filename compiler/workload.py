"""The exact integer workload: a DAG of operators over tensors, and nothing in floating point.

A `Workload` is what `lower` makes from a quantised graph and what every template, simulator and
reference starts from.  Shapes are PyTorch's, batch first: feature maps are (N, C, Y, X), matrices
(N, features).  Loop letters are the field's: N K C OY OX FY FX for convolutions, M N K for
products.  Numbers (weights, multipliers, tables) live in `Workload.constants` under the name of
their tensor; a workload made without weights has none there and cannot be emitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import networkx as nx
import numpy as np

from intaglio.errors import IntaglioError

Encoding = Literal["signed", "unsigned", "bipolar", "ternary"]
Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""Top, bottom, left, right, in pixels."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """What one element can hold: `bits` wide in `encoding`; the zero point is always 0."""

    bits: int
    encoding: Encoding = "signed"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 48:
            raise IntaglioError(f"element type of {self.bits} bits is outside 1 to 48 bits")

    @property
    def lo(self) -> int:
        """The smallest value."""
        match self.encoding:
            case "signed":
                return -(1 << (self.bits - 1))
            case "unsigned":
                return 0
            case "bipolar" | "ternary":
                return -1

    @property
    def hi(self) -> int:
        """The largest value."""
        match self.encoding:
            case "signed":
                return (1 << (self.bits - 1)) - 1
            case "unsigned":
                return (1 << self.bits) - 1
            case "bipolar" | "ternary":
                return 1

    def __str__(self) -> str:
        short = {"signed": "i", "unsigned": "u", "bipolar": "b", "ternary": "t"}
        return f"{short[self.encoding]}{self.bits}"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array of integers; real value = `scale` * integer.

    `scale` is per tensor for activations; for weights `channel_scales` holds one per output
    channel (and `scale` is their maximum).  Multipliers, shifts, biases and tables have scale 1.
    """

    name: str
    shape: Shape
    element: ElementType
    scale: float = 1.0
    channel_scales: tuple[float, ...] = ()

    @property
    def elements(self) -> int:
        """How many integers it holds."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Requantise:
    """`y = clamp((acc * m + r * mr + b) >> s, lo, hi)`, rounded once; then `table`, when given.

    `multiplier`, `shift`, `bias` and `residual_multiplier` name constants of shape (K,), one entry
    per output channel: m unsigned 16 bits, 1 <= s <= 36, b signed 48 bits (the bias and the
    rounding half), mr signed 17 bits.  `residual` names the activation tensor r (shape of y).
    `table` names a constant of 256 entries indexed by the clamped value modulo 256.
    """

    multiplier: str
    shift: str
    bias: str
    lo: int
    hi: int
    residual: str | None = None
    residual_multiplier: str | None = None
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where an operator comes from: graph nodes it was fused from, and the user's line."""

    nodes: tuple[str, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True)
class Conv2d:
    """acc[n,k,oy,ox] = sum over c,fy,fx of x * w; w is (K, C/groups, FY, FX)."""

    name: str
    input: str
    weight: str
    output: str
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class MatMul:
    """acc[m,n] = sum over k of x[m,k] * w[n,k]; the weight is constant, PyTorch's (out, in)."""

    name: str
    input: str
    weight: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Pool:
    """Max (padded with the type's minimum) or sum over a window, then the epilogue.

    A max pool has no epilogue; an average is a sum whose epilogue multiplies by the reciprocal.
    """

    name: str
    kind: Literal["max", "average"]
    input: str
    output: str
    kernel: Pair
    stride: Pair
    padding: Padding
    epilogue: Requantise | None
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Eltwise:
    """y = clamp((a * m + b * mr + half) >> s): the epilogue with acc = `input`, r = residual."""

    name: str
    kind: Literal["add", "sub"]
    input: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Rescale:
    """One tensor to another scale, type or through a table: the epilogue with acc = `input`."""

    name: str
    input: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Concat:
    """Join along channels (axis 1); each operand has its own requantisation."""

    name: str
    inputs: tuple[str, ...]
    output: str
    epilogues: tuple[Requantise, ...]
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same row-major order under another shape."""

    name: str
    input: str
    output: str
    source: Source = field(default_factory=Source)


Op = Conv2d | MatMul | Pool | Eltwise | Rescale | Concat | Reshape


def epilogues(op: Op) -> tuple[Requantise, ...]:
    """Every requantisation that `op` performs, in operand order."""
    match op:
        case Reshape():
            return ()
        case Concat():
            return op.epilogues
        case Pool():
            return (op.epilogue,) if op.epilogue is not None else ()
        case Conv2d() | MatMul() | Eltwise() | Rescale():
            return (op.epilogue,)


def inputs(op: Op) -> tuple[str, ...]:
    """The activation tensors that `op` reads: operands, then the residual."""
    first = op.inputs if isinstance(op, Concat) else (op.input,)
    residuals = tuple(e.residual for e in epilogues(op) if e.residual is not None)
    return first + residuals


def constants(op: Op) -> tuple[str, ...]:
    """The constants that `op` reads: its weight and its requantisation arrays."""
    weight = (op.weight,) if isinstance(op, Conv2d | MatMul) else ()
    arrays = tuple(
        name
        for e in epilogues(op)
        for name in (e.multiplier, e.shift, e.bias, e.residual_multiplier, e.table)
        if name is not None
    )
    return weight + arrays


@dataclass(frozen=True, slots=True)
class Workload:
    """Operators in execution order over named tensors, with their constants.

    Raises IntaglioError at construction when an operator reads a tensor that nothing made, when
    two operators make one tensor, or when a constant does not match its tensor.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))
        self._check_order()
        self._check_constants()

    def _check_order(self) -> None:
        made = set(self.inputs)
        for op in self.ops:
            for name in (*inputs(op), *constants(op), op.output):
                if name not in self.tensors:
                    raise IntaglioError(f"{op.name}: tensor '{name}' is not declared")
            missing = [name for name in inputs(op) if name not in made]
            if missing:
                raise IntaglioError(f"{op.name}: reads '{missing[0]}' before anything makes it")
            if op.output in made:
                raise IntaglioError(f"{op.name}: '{op.output}' is already made")
            made.add(op.output)
        lost = [name for name in self.outputs if name not in made]
        if lost:
            raise IntaglioError(f"workload '{self.name}': nothing makes output '{lost[0]}'")

    def _check_constants(self) -> None:
        for name, array in self.constants.items():
            tensor = self.tensors.get(name)
            if tensor is None:
                raise IntaglioError(f"constant '{name}' has no tensor")
            if array.shape != tensor.shape:
                raise IntaglioError(
                    f"constant '{name}' has shape {array.shape}, its tensor says {tensor.shape}"
                )
            if array.size and (array.min() < tensor.element.lo or array.max() > tensor.element.hi):
                raise IntaglioError(f"constant '{name}' exceeds its type {tensor.element}")

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    @property
    def emittable(self) -> bool:
        """Whether every constant that an operator reads is present."""
        return all(name in self.constants for op in self.ops for name in constants(op))

    def tensor(self, name: str) -> Tensor:
        """The tensor called `name`."""
        return self.tensors[name]

    def activations(self) -> tuple[Tensor, ...]:
        """Inputs, then every tensor an operator makes, in execution order."""
        names = (*self.inputs, *(op.output for op in self.ops))
        return tuple(self.tensors[name] for name in names)

    def graph(self) -> nx.DiGraph:
        """The DAG: a node per operator (its `op`), an edge per tensor (its `tensor`)."""
        graph = nx.DiGraph(name=self.name)
        producer = {op.output: op.name for op in self.ops}
        for op in self.ops:
            graph.add_node(op.name, op=op)
            for name in inputs(op):
                if name in producer:
                    graph.add_edge(producer[name], op.name, tensor=name)
        return graph

    def macs(self, op: Op) -> int:
        """Multiply-accumulates of `op` (0 for everything but convolutions and products)."""
        if not isinstance(op, Conv2d | MatMul):
            return 0
        per_output = int(np.prod(self.tensors[op.weight].shape[1:], dtype=np.int64))
        return self.tensors[op.output].elements * per_output
