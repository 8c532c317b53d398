"""Networks whose files hold quantisers, and what their own evaluation says of the integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from intaglio.compiler.onnx_import import load_onnx
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.reference import compute, quantise_inputs
from intaglio.compiler.workload import Workload
from tests.compiler.onnx_import.graphs import Array, model, node, saved

QONNX = "qonnx.custom_op.general"
TYPES = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


class Quant(OpRun):
    """QONNX's quantiser as its document defines it, with ties up as hardware rounds."""

    op_domain = QONNX

    def _run(self, x: Array, scale: Array, zero: Array, bits: Array, **how: Any) -> tuple[Array]:
        signed, narrow, codes = how["signed"], how["narrow"], 2 ** float(bits)
        lo, hi = (narrow - codes / 2, codes / 2 - 1) if signed else (0, codes - 1 - narrow)
        steps = np.clip(np.floor(x.astype(np.float64) / scale + zero + 0.5), lo, hi)
        return (((steps - zero) * scale).astype(np.float32),)


class BipolarQuant(OpRun):
    """QONNX's quantiser to +1 and -1."""

    op_domain = QONNX

    def _run(self, x: Array, scale: Array) -> tuple[Array]:
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)


class Writer:
    """Writes nodes and constants of a quantised graph one after another."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.scales: dict[str, float] = {}

    def constant(self, name: str, value: Any) -> str:
        """A stored tensor."""
        self.constants[name] = np.asarray(value, np.float32)
        return name

    def weight(self, name: str, size: Sequence[int], bits: int, scale: Any) -> str:
        """A weight behind a narrow signed quantiser (+1 and -1 for 1 bit); its value."""
        spread = float(np.mean(scale)) * 2 ** (bits - 1)
        self.constant(name, self.random.uniform(-spread, spread, size))
        self.constant(f"{name}_s", scale)
        if bits == 1:
            self.nodes.append(node("BipolarQuant", f"{name} {name}_s", f"{name}_q", domain=QONNX))
            return f"{name}_q"
        return self.quantise(name, bits, signed=1, narrow=1)

    def quantise(self, name: str, bits: int, scale: Any = None, **how: Any) -> str:
        """A value behind a quantiser; the scale of a constant is there already."""
        if scale is not None:
            self.scales[f"{name}_q"] = float(np.float32(scale))
            self.constant(f"{name}_s", scale)
        self.constant("zero", 0)
        self.constant(f"bits{bits}", bits)
        reads = f"{name} {name}_s zero bits{bits}"
        made = node("Quant", reads, f"{name}_q", f"{name}_q", domain=QONNX, **{**TYPES, **how})
        self.nodes.append(made)
        return f"{name}_q"

    def sign(self, name: str, scale: float) -> str:
        """A value behind a quantiser to +1 and -1."""
        self.scales[f"{name}_q"] = scale
        self.constant(f"{name}_s", scale)
        self.nodes.append(node("BipolarQuant", f"{name} {name}_s", f"{name}_q", domain=QONNX))
        return f"{name}_q"

    def layer(self, kind: str, reads: str, name: str, **how: Any) -> str:
        """Any other node, called as what it makes."""
        self.nodes.append(node(kind, reads, name, name, **how))
        return name

    def norm(self, x: str, name: str, channels: int) -> str:
        """A batch normalisation whose gains have both signs."""
        draw = self.random.uniform
        for letter, value in (
            ("g", draw(0.5, 2.0, channels) * self.random.choice([-1, 1], channels)),
            ("b", draw(-1, 1, channels)),
            ("m", draw(-1, 1, channels)),
            ("v", draw(0.5, 2.0, channels)),
        ):
            self.constant(f"{name}_{letter}", value)
        reads = f"{x} {name}_g {name}_b {name}_m {name}_v"
        return self.layer("BatchNormalization", reads, name)

    def model(self, inputs: Mapping[str, Sequence[int]], output: str) -> ModelProto:
        """The graph written so far."""
        return model(self.nodes, inputs, self.constants, [output])


def integers(proto: ModelProto, path: Path) -> Workload:
    """The integer network of a file."""
    return to_workload(*load_onnx(saved(proto, path)), name="net")


def differences(
    proto: ModelProto,
    workload: Workload,
    scales: Mapping[str, float],
    values: Mapping[str, str],
    x: Array,
) -> Array:
    """How many steps the integers of each operator differ from the file's own, all together.

    Every operator gets the file's own integers.  `values` maps tensors of the workload to values of
    the file, `scales` gives what their steps are worth there.
    """
    (name,) = workload.inputs
    evaluator = ReferenceEvaluator(proto, new_ops=[Quant, BipolarQuant, QuantizeLinear])
    found = evaluator.run(list(values.values()), {proto.graph.input[0].name: x})
    file = dict(zip(values, found, strict=True))
    known = quantise_inputs(workload, {name: x})
    rows = []
    for op in workload.ops:
        known[op.output] = made = compute(workload, op, known)
        if op.output in values:
            scale = scales[values[op.output]]
            assert workload.tensor(op.output).scale == scale
            steps = np.asarray(file[op.output], np.float64) / scale
            np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
            known[op.output] = np.round(steps).astype(np.int64)
            rows.append((made - known[op.output]).ravel())
    assert len(rows) == len(values)
    return np.concatenate(rows)


class QuantizeLinear(OpRun):
    """ONNX's quantiser to int8 or uint8, with ties up as hardware rounds."""

    def _run(self, x: Array, scale: Array, zero: Array, **_: Any) -> tuple[Array]:
        steps = np.floor(x.astype(np.float64) / scale + zero + 0.5)
        kind = np.iinfo(zero.dtype)
        return (np.clip(steps, kind.min, kind.max).astype(zero.dtype),)


class Pairs:
    """Puts QuantizeLinear and DequantizeLinear into a network of real numbers.

    Weights become int8 with a scale for each output channel, biases int32, and every value between
    operators uint8 after a rectifier and int8 elsewhere; with `powers`, all scales are powers of 2.
    """

    def __init__(self, proto: ModelProto, x: Array, powers: bool) -> None:
        self.powers = powers
        self.scales: dict[str, float] = {}
        self.stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        self.made: list[NodeProto] = []
        graph, name = proto.graph, proto.graph.input[0].name
        self.readers = {value: n.op_type for n in graph.node for value in n.input}
        wanted = [name, *(n.output[0] for n in graph.node)]
        found = ReferenceEvaluator(proto).run(wanted, {name: x})
        self.values = dict(zip(wanted, found, strict=True))
        self.names = {name: self.pair(name, "int8")}
        for given in graph.node:
            self.visit(given)
        self.output = self.names[graph.output[0].name]

    def scale(self, largest: Any, hi: int) -> Array:
        """Scales at which nothing is clamped, as float32."""
        scale = np.asarray(largest, np.float64) / hi
        chosen: Array = np.exp2(np.ceil(np.log2(scale))) if self.powers else scale
        return np.asarray(chosen, np.float32)

    def pair(self, value: str, kind: str) -> str:
        """Quantise a value and take it back to reals; the name of what that makes."""
        info = np.iinfo(kind)
        self.stored[f"{value}_s"] = self.scale(np.abs(self.values[value]).max(), info.max)
        self.stored[f"{value}_z"] = np.zeros((), kind)
        constants = f"{value}_s {value}_z"
        self.made.append(node("QuantizeLinear", f"{value} {constants}", f"{value}_i"))
        self.made.append(node("DequantizeLinear", f"{value}_i {constants}", f"{value}_q"))
        self.scales[f"{value}_q"] = float(self.stored[f"{value}_s"])
        return f"{value}_q"

    def visit(self, given: NodeProto) -> None:
        """Copy a node with quantised operands, and quantise what it makes."""
        reads = [self.names.get(value, value) for value in given.input]
        if given.op_type in ("Conv", "Gemm"):
            reads[1:] = self.weights(reads[0], *given.input[1:])
        made = NodeProto()
        made.CopyFrom(given)
        made.input[:] = reads
        self.made.append(made)
        value = given.output[0]
        fused = given.op_type in ("Conv", "Add") and self.readers.get(value) == "Relu"
        kind = "uint8" if given.op_type in ("Relu", "GlobalAveragePool") else "int8"
        if given.op_type == "Flatten":
            self.scales[value] = self.scales[reads[0]]
        kept = fused or given.op_type == "Flatten"
        self.names[value] = value if kept else self.pair(value, kind)

    def weights(self, x: str, weight: str, bias: str) -> list[str]:
        """Integers for a weight and a bias; the names of the reals that they stand for."""
        real, offset = self.stored.pop(weight), self.stored.pop(bias)
        scale = self.scale(np.abs(real).reshape(len(real), -1).max(1), 127)
        steps = np.round(real / scale.reshape(-1, *[1] * (real.ndim - 1)))
        self.stored[f"{weight}_i"] = steps.astype(np.int8)
        self.stored[f"{weight}_s"], self.stored[f"{bias}_s"] = (
            scale,
            scale * np.float32(self.scales[x]),
        )
        self.stored[f"{bias}_i"] = np.round(offset / self.stored[f"{bias}_s"]).astype(np.int32)
        for name in (weight, bias):
            reads = f"{name}_i {name}_s"
            self.made.append(node("DequantizeLinear", reads, f"{name}_q", axis=0))
        return [f"{weight}_q", f"{bias}_q"]
