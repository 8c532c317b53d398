"""The exact integer workload: a DAG of operators over tensors.

Nothing is in floating point but the islands (`Host`) of networks that may use the host.

A `Workload` is what `lower` makes from a quantised graph and what every template, simulator and
reference starts from.  Shapes are PyTorch's, batch first: feature maps are (N, C, Y, X), matrices
(N, features), sequences (N, tokens, features).  Loop letters are the field's: N K C OY OX FY FX for
convolutions, M N K for products.  Numbers (weights, multipliers, tables) live in
`Workload.constants` under the name of their tensor; a workload made without weights has none there
and cannot be emitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import networkx as nx
import numpy as np

from intaglio.compiler.operators import (
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
    Padding,
    Pair,
    Pool,
    Reduce,
    Requantise,
    Rescale,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Source,
    Transpose,
    constants,
    epilogues,
    inputs,
    outputs,
)
from intaglio.compiler.tensor import (
    BIPOLAR,
    ElementType,
    Encoding,
    Shape,
    Tensor,
    channel_axis,
)
from intaglio.errors import IntaglioError

__all__ = [
    "BIPOLAR",
    "BatchMatMul",
    "Concat",
    "Constant",
    "Conv2d",
    "ElementType",
    "Eltwise",
    "Encoding",
    "Expand",
    "Gather",
    "Host",
    "MatMul",
    "Multiply",
    "Norm",
    "Op",
    "Pad",
    "Padding",
    "Pair",
    "Pool",
    "Reduce",
    "Requantise",
    "Rescale",
    "Reshape",
    "Resize",
    "Shape",
    "Slice",
    "Softmax",
    "Source",
    "Tensor",
    "Transpose",
    "Workload",
    "channel_axis",
    "constants",
    "epilogues",
    "inputs",
    "outputs",
]


@dataclass(frozen=True, slots=True)
class Workload:
    """Operators in execution order over named tensors, with their constants.

    `outputs` follow the order in which the model returns them; one it returns twice is there twice.
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
            for name in (*inputs(op), *constants(op), *outputs(op)):
                if name not in self.tensors:
                    raise IntaglioError(f"{op.name}: tensor '{name}' is not declared")
            missing = [name for name in inputs(op) if name not in made]
            if missing:
                raise IntaglioError(f"{op.name}: reads '{missing[0]}' before anything makes it")
            again = [name for name in outputs(op) if name in made]
            if again:
                raise IntaglioError(f"{op.name}: '{again[0]}' is already made")
            made.update(outputs(op))
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
            if tensor.element.is_float:
                continue
            if not tensor.element.holds(array):
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
        names = (*self.inputs, *(name for op in self.ops for name in outputs(op)))
        return tuple(self.tensors[name] for name in names)

    def graph(self) -> nx.DiGraph:
        """The DAG: a node per operator (its `op`), an edge per tensor (its `tensor`)."""
        graph = nx.DiGraph(name=self.name)
        producer = {name: op.name for op in self.ops for name in outputs(op)}
        for op in self.ops:
            graph.add_node(op.name, op=op)
            for name in inputs(op):
                if name in producer:
                    graph.add_edge(producer[name], op.name, tensor=name)
        return graph

    def macs(self, op: Op) -> int:
        """Multiply-accumulates of `op` (0 for everything but convolutions and products)."""
        match op:
            case Host():
                return op.macs
            case Conv2d() | MatMul():
                per_output = int(np.prod(self.tensors[op.weight].shape[1:], dtype=np.int64))
            case BatchMatMul():
                per_output = self.tensors[op.input].shape[-1]
            case _:
                return 0
        return self.tensors[op.output].elements * per_output
