"""An ONNX graph to an exported program, node by node.

Every node runs once on an example, so all shapes are known, and what depends on shapes and
constants alone is computed here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, helper
from torch import Tensor
from torch.export import ExportedProgram

from intaglio.compiler.graph import quiet
from intaglio.compiler.onnx_import.archive import (
    DOMAINS,
    operator_set,
    read_model,
    tensor_of,
    type_of,
)
from intaglio.compiler.onnx_import.network import OnnxNetwork
from intaglio.compiler.onnx_import.node import Function, OnnxNode
from intaglio.compiler.onnx_import.operators import KNOWN, OPERATORS, QUANTISERS
from intaglio.compiler.onnx_import.pairs import Pairs
from intaglio.errors import CaptureError, IntaglioError, UnsupportedError

logger = logging.getLogger(__name__)
WAY_OUT = "replace it by supported operators, or run this part outside the model"
QONNX = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""Domains of the quantisers of QONNX, newest first."""
PAIRS = "export the network with QuantizeLinear and DequantizeLinear around operators on reals"
INTEGERS: Mapping[str, tuple[str, str]] = {
    "ConvInteger": ("makes sums of integers, which no node gives a scale", PAIRS),
    "DynamicQuantizeLinear": (
        "chooses another scale for every input",
        "quantise with constant scales, as static quantisation does",
    ),
    "MatMulInteger": ("makes sums of integers, which no node gives a scale", PAIRS),
    "MultiThreshold": (
        "makes integers by thresholds",
        "export the network with Quant nodes, ahead of FINN's own transformations",
    ),
    "Trunc": (
        "cuts off the lowest bits of a sum without rounding",
        "average with AveragePool and put a Quant node behind it",
    ),
}
"""Operators on integers that are not read: what they do, and what to do instead."""


def load_onnx(path: Path, seed: int = 0) -> tuple[ExportedProgram, tuple[Tensor, ...]]:
    """The program of an ONNX file, and example inputs drawn from `seed`: reals normal, integers 0.

    An extent without a number in front of a shape is the batch and becomes 1, which is logged.
    Inputs keep their names, but `_` stands for what no Python name holds.  Raises UsageError
    without such a file, CaptureError when it is corrupt or has dynamic shapes, and
    UnsupportedError naming the first node that cannot be imported.
    """
    imported = import_network(path, seed)
    with torch.no_grad(), quiet():
        program = torch.export.export(imported.network, imported.inputs, strict=False)
    _label(program, imported.labels)
    return program, imported.inputs


@dataclass(frozen=True, slots=True)
class Imported:
    """A network with its example inputs, and what errors say of each of its submodules."""

    network: OnnxNetwork
    inputs: tuple[Tensor, ...]
    labels: Mapping[str, Label]


def import_network(path: Path, seed: int = 0) -> Imported:
    """The module of an ONNX file, before torch.export; raises what `load_onnx` raises."""
    model = read_model(path)
    inputs = _examples(path, model.graph, seed)
    importer = _Importer(path, model)
    with torch.no_grad(), quiet():
        importer.run(inputs)
    return Imported(importer.network.eval(), tuple(inputs.values()), importer.labels)


@dataclass(frozen=True, slots=True)
class Label:
    """What errors say of a node: its name, its place in the graph from 1, and its call."""

    name: str
    file: str
    position: int
    call: str

    def __str__(self) -> str:
        return f"{self.file}:{self.position}: {self.call}"


class _Importer:
    """The values known so far while a graph is walked, and the network made of it."""

    def __init__(self, path: Path, model: ModelProto) -> None:
        self.file = _printable(path.name)
        self.graph = model.graph
        self.opset = operator_set(model)
        self.values: dict[str, Tensor] = {}
        self.types: dict[str, str] = {}
        self.known: set[str] = set()
        self.made: set[str] = set()
        self.pairs = Pairs()
        self.labels: dict[str, Label] = {}
        self.network = OnnxNetwork([value.name for value in _inputs(model.graph)])

    def run(self, inputs: Mapping[str, Tensor]) -> None:
        """Import every node; `inputs` are examples by name."""
        self._check_operators()
        self.values.update(inputs)
        for stored in self.graph.initializer:
            self.values[stored.name] = tensor_of(stored)
            self.types[stored.name] = type_of(stored)
            self.known.add(stored.name)
        for position, proto in enumerate(self.graph.node, start=1):
            self._import(proto, self._label(position, proto))
        self.network.outputs = tuple(value.name for value in self.graph.output)
        self.pairs.finish(self.network.outputs)
        self._hold(self.network.outputs)

    def _check_operators(self) -> None:
        """Refuse the first node that no table entry computes, and name the kinds of the others."""
        unknown = {
            proto.op_type: (position, proto)
            for position, proto in reversed(list(enumerate(self.graph.node, start=1)))
            if not _is_read(proto)
        }
        if not unknown:
            return
        position, proto = min(unknown.values(), key=lambda found: found[0])
        others = sorted(set(unknown) - {proto.op_type})
        also = f" (neither are {', '.join(map(_printable, others))})" if others else ""
        label = self._label(position, proto)
        place = f"{label.name} ({label})"
        if proto.op_type in INTEGERS:
            reason, way_out = INTEGERS[proto.op_type]
            raise UnsupportedError(f"{place}: operator {proto.op_type} {reason}{also}; {way_out}")
        domain = f" of domain '{_printable(proto.domain)}'" if proto.domain else ""
        raise UnsupportedError(
            f"{place}: operator {_printable(proto.op_type)}{domain} is not among those that are "
            f"imported{also}; {WAY_OUT}"
        )

    def _node(self, proto: NodeProto, label: Label) -> OnnxNode:
        reads = list(proto.input)
        while reads and not reads[-1]:
            reads.pop()
        return OnnxNode(
            proto.op_type,
            label.name,
            str(label),
            self.opset,
            {attribute.name: _attribute(attribute) for attribute in proto.attribute},
            tuple(self.values[name] if name else None for name in reads),
            tuple(not name or name in self.known for name in reads),
            tuple(self._type(name) for name in reads),
            len([name for name in proto.output if name]),
        )

    def _import(self, proto: NodeProto, label: Label) -> None:
        """Run one node on its example; what is known stays a value, the rest becomes a step."""
        node = self._node(proto, label)
        self.pairs.visit(node, proto.input, proto.output)
        function = _build(node)
        made = _tried(node, function)
        made = (made,) if isinstance(made, Tensor) else made
        self.values.update(zip(proto.output, made, strict=False))
        told = node.kind in KNOWN
        if told or all(node.known):
            self.known.update(proto.output)
            quantised = node.kind in QUANTISERS or self.made.intersection(proto.input)
            if told or not quantised:
                return
        self.made.update(proto.output)
        reads = list(proto.input)[: len(node.operands)]
        self._hold(reads)
        key = self.network.add_step(node.name, function, reads, proto.output)
        self.labels[key] = label

    def _type(self, name: str) -> str:
        """The type of a value, as the file stores it or as it is computed."""
        value = self.values.get(name)
        return self.types.get(name, "" if value is None else str(value.dtype).split(".")[1])

    def _hold(self, names: Sequence[str]) -> None:
        """Make constants of the network of the known values among `names`."""
        for name in names:
            if name in self.known - self.made:
                self.network.add_constant(name, self.values[name])

    def _label(self, position: int, proto: NodeProto) -> Label:
        """How errors name a node; `position` counts from 1."""
        call = _printable(f"{proto.op_type}({', '.join(proto.input)})")
        return Label(_name(position, proto), self.file, position, call)


def _is_read(proto: NodeProto) -> bool:
    """Whether the table of operators has a node."""
    of_qonnx = proto.op_type in QUANTISERS and not proto.op_type.endswith("Linear")
    return proto.op_type in OPERATORS and proto.domain in (QONNX if of_qonnx else DOMAINS)


def _build(node: OnnxNode) -> Function:
    """The function of a node.  Raises UnsupportedError, also for attributes that make no sense."""
    try:
        return OPERATORS[node.kind](node)
    except IntaglioError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        node.refuse(f"its attributes do not fit its inputs ({error})", "export the model again")


def _tried(node: OnnxNode, function: Function) -> Tensor | tuple[Tensor, ...]:
    """What a node computes on its example."""
    try:
        return function(*node.operands)
    except (LookupError, MemoryError, TypeError, ValueError, RuntimeError) as error:
        shapes = ", ".join("none" if x is None else str(tuple(x.shape)) for x in node.operands)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        node.refuse(f"it fails on inputs of shape {shapes} ({reason})", "export the model again")


def _label(program: ExportedProgram, labels: Mapping[str, Label]) -> None:
    """Let every call stand for its ONNX node where torch notes module and line of Python."""
    for call in program.graph.nodes:
        stack = list((call.meta.get("nn_module_stack") or {}).values())
        keys = [path.split(".")[0].split("@")[0] for path, _ in stack]
        found = [key for key in keys if key in labels]
        if not found:
            continue
        label = labels[found[0]]
        kind = label.call.partition("(")[0]
        call.meta["nn_module_stack"] = {found[0]: (label.name, f"onnx.{kind}")}
        frame = f'File "{label.file}", line {label.position}, in graph'
        call.meta["stack_trace"] = f"{frame}\n    {label.call}\n"


def _attribute(attribute: AttributeProto) -> object:
    """The value of an attribute as plain numbers, text, tuples and tensors."""
    if attribute.name == "to":
        return _type(attribute.i)
    if attribute.type == AttributeProto.TENSOR:
        return tensor_of(attribute.t)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if not isinstance(value, int | float | str):
        return tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in value)
    return value


def _type(number: int) -> object:
    """The type of PyTorch for a type of ONNX; its name where there is none."""
    if number not in helper.get_all_tensor_dtypes():
        return "no tensor"
    name = helper.tensor_dtype_to_np_dtype(number).name
    names = {"bool": torch.bool, "uint8": torch.uint8, "str": "str", "object": "str"}
    return names.get(name) or getattr(torch, name, name)


def _examples(path: Path, graph: GraphProto, seed: int) -> dict[str, Tensor]:
    """A tensor for every input of a graph."""
    random = torch.Generator().manual_seed(seed)
    made = {}
    for value in _inputs(graph):
        size = _extents(path, value)
        dtype = _type(value.type.tensor_type.elem_type)
        if not isinstance(dtype, torch.dtype):
            raise CaptureError(
                f"{path}: input '{_printable(value.name)}' holds {dtype}; give it float32, or "
                "int64 for indices such as token ids"
            )
        real = torch.randn(size, generator=random).to(dtype)
        made[value.name] = real if dtype.is_floating_point else torch.zeros(size, dtype=dtype)
    return made


def _inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The inputs that the file holds no value for."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def _extents(path: Path, value: ValueInfoProto) -> tuple[int, ...]:
    """The shape of an input; a batch without a number becomes 1."""
    shape = value.type.tensor_type.shape
    names = [d.dim_param or "?" if d.dim_value <= 0 else str(d.dim_value) for d in shape.dim]
    printed = f"({', '.join(map(_printable, names))})"
    what = f"{path}: input '{_printable(value.name)}'"
    if any(d.dim_value <= 0 for d in shape.dim[1:]):
        raise CaptureError(
            f"{what} has the dynamic shape {printed}; export the model with fixed shapes (the "
            "batch in front may stay open)"
        )
    extents = [d.dim_value for d in shape.dim]
    if extents and extents[0] <= 0:
        logger.warning("%s has shape %s; its batch is taken as 1", what, printed)
    if extents and extents[0] > 1:
        raise CaptureError(f"{what} has shape {printed}; export the model with batch 1")
    return tuple([1, *extents[1:]] if extents else [])


def _name(position: int, proto: NodeProto) -> str:
    """The name of a node, in the letters that names of PyTorch's layers have; a number without."""
    plain = re.sub(r"[^\w.]+", "_", proto.name.replace("/", "."), flags=re.ASCII).strip(".")
    return plain[:100] or f"{proto.op_type.lower()}_{position}"


def _printable(text: str) -> str:
    """A text of the file, fit for one line of a message."""
    plain = "".join(c if c.isprintable() and c != '"' else "?" for c in text)
    return plain if len(plain) <= 100 else f"{plain[:100]}..."
