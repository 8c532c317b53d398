"""Networks whose files hold quantisers, and what their own evaluation says of the integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from intaglio.compiler.onnx_import import load_onnx
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.reference import quantise_inputs, run
from intaglio.compiler.workload import Workload
from tests.compiler.onnx_import.graphs import Array, model, node, saved

QONNX = "qonnx.custom_op.general"
TYPES = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


class Quant(OpRun):  # type: ignore[misc]
    """QONNX's quantiser as its document defines it, with ties up as hardware rounds."""

    op_domain = QONNX

    def _run(self, x: Array, scale: Array, zero: Array, bits: Array, **how: Any) -> tuple[Array]:
        signed, narrow, codes = how["signed"], how["narrow"], 2 ** float(bits)
        lo, hi = (narrow - codes / 2, codes / 2 - 1) if signed else (0, codes - 1 - narrow)
        steps = np.clip(np.floor(x.astype(np.float64) / scale + zero + 0.5), lo, hi)
        return (((steps - zero) * scale).astype(np.float32),)


class BipolarQuant(OpRun):  # type: ignore[misc]
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
    """How many steps the integers of a network differ from the file's own, all values together.

    `values` maps tensors of the workload to values of the file, `scales` gives what their steps
    are worth there.
    """
    (name,) = workload.inputs
    made = run(workload, quantise_inputs(workload, {name: x}))
    evaluator = ReferenceEvaluator(proto, new_ops=[Quant, BipolarQuant])
    expected = evaluator.run(list(values.values()), {proto.graph.input[0].name: x})
    rows = []
    for tensor, value, real in zip(values, values.values(), expected, strict=True):
        assert workload.tensor(tensor).scale == scales[value]
        steps = np.asarray(real, np.float64) / scales[value]
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
        rows.append((made[tensor] - np.round(steps).astype(np.int64)).ravel())
    return np.concatenate(rows)
