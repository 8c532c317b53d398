"""Every operator of the table against ONNX's own evaluator, on random data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto

from intaglio.compiler.onnx_import.importer import import_network
from intaglio.compiler.onnx_import.operators import INTEGER_LAYERS, OPERATORS, QUANTISERS
from tests.compiler.onnx_import.cases import CASES, IMAGE, Case, ints, positive, real
from tests.compiler.onnx_import.graphs import Array, evaluated, model, node, saved

RUNS = [
    pytest.param(case, opset, id=f"{case.label}-{opset}-{index}")
    for index, case in enumerate(CASES)
    for opset in case.opsets
]


def computed(proto: ModelProto, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
    """What the imported module computes."""
    network = import_network(saved(proto, path)).network
    return [value.detach().numpy() for value in network(*map(torch.from_numpy, inputs.values()))]


def made_of(case: Case, opset: int, inputs: Mapping[str, Array]) -> ModelProto:
    kinds = {n: TensorProto.INT64 for n, v in inputs.items() if v.dtype == np.int64}
    kinds |= {n: TensorProto.BOOL for n, v in inputs.items() if v.dtype == np.bool_}
    sizes = {name: value.shape for name, value in inputs.items()}
    return model([case.node], sizes, case.constants, list(case.node.output), opset, kinds)


@pytest.mark.parametrize(("case", "opset"), RUNS)
def test_an_operator_computes_what_onnx_says(case: Case, opset: int, tmp_path: Path) -> None:
    inputs = dict(case.inputs) or {"x": real(*case.size)}
    proto = made_of(case, opset, inputs)
    made = computed(proto, tmp_path / "net.onnx", inputs)
    expected = evaluated(proto, inputs)
    assert len(made) == len(expected)
    for ours, theirs in zip(made, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


STATISTICS = {"s": real(4), "b": real(4), "m": real(4), "v": positive(4)}
TWICE = {"s": np.array([1, 1, 2, 2], np.float32)}
WHOLE: dict[str, Any] = {"strides": [2, 2], "output_shape": [10, 12]}
TWINS = [
    ("batch norm of opset 9", node("BatchNormalization", "x s b m v"), 9, STATISTICS,
     [node("BatchNormalization", "x s b m v")]),
    ("resize of opset 10", node("Resize", "x s"), 10, TWICE,
     [node("Resize", "x _ s", coordinate_transformation_mode="asymmetric", nearest_mode="floor")]),
    ("upsample", node("Upsample", "x s"), 9, TWICE,
     [node("Resize", "x _ s", coordinate_transformation_mode="asymmetric", nearest_mode="floor")]),
    ("softmax of opset 11", node("Softmax", "x", axis=2), 11,
     {"n": ints(1, 4, -1), "o": ints(*IMAGE)},
     [node("Reshape", "x n", "f"), node("Softmax", "f", "p"), node("Reshape", "p o")]),
    ("output shape", node("ConvTranspose", "x w", **WHOLE), 17, {"w": real(4, 3, 2, 2)},
     [node("ConvTranspose", "x w", strides=[2, 2], pads=[2, 0, 2, 0])]),
    ("groups", node("ConvTranspose", "x w", group=2), 17, {"w": real(4, 3, 3, 3)},
     [node("Split", "x", "a b", axis=1), node("Split", "w", "c d", axis=0),
      node("ConvTranspose", "a c", "e"), node("ConvTranspose", "b d", "f"),
      node("Concat", "e f", axis=1)]),
]  # fmt: skip
"""Nodes that ONNX's evaluator does not compute, as nodes of opset 17 that it does."""


@pytest.mark.parametrize(
    ("made", "opset", "constants", "twin"), [twin[1:] for twin in TWINS], ids=[t[0] for t in TWINS]
)
def test_a_node_computes_what_its_newer_spelling_does(
    made: NodeProto,
    opset: int,
    constants: Mapping[str, Array],
    twin: list[NodeProto],
    tmp_path: Path,
) -> None:
    inputs = {"x": real(*IMAGE)}
    (ours,) = computed(
        model([made], {"x": IMAGE}, constants, opset=opset), tmp_path / "n.onnx", inputs
    )
    (theirs,) = evaluated(model(twin, {"x": IMAGE}, constants), inputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_what_depends_on_shapes_alone_is_computed_on_import(tmp_path: Path) -> None:
    constants = {"zero": ints(0), "one": np.array(1), "step": np.array(2), "matrix": real(12, 2)}
    nodes = [
        node("Shape", "x", "size"),
        node("Gather", "size zero", "batch"),
        node("Constant", "", "rest", value_ints=[-1]),
        node("Concat", "batch rest", "wanted", axis=0),
        node("Reshape", "x wanted", "flat"),
        node("Size", "flat", "count"),
        node("Range", "one count step", "odd"),
        node("Cast", "odd", "weights", to=TensorProto.FLOAT),
        node("Constant", "", "half", value_float=0.5),
        node("Mul", "half weights", "scaled"),
        node("ConstantOfShape", "size", "zeros"),
        node("ReduceSum", "zeros", "nought", keepdims=0),
        node("Add", "flat nought", "sum"),
        node("MatMul", "sum matrix"),
    ]
    proto = model(nodes, {"x": (1, 3, 4)}, constants, ["y", "scaled"])
    inputs = {"x": real(1, 3, 4)}
    imported = import_network(saved(proto, tmp_path / "net.onnx"))
    assert [step.module for step in imported.network.steps] == [
        "reshape_5",
        "add_13",
        "matmul_14",
    ]
    made = imported.network(torch.from_numpy(inputs["x"]))
    for ours, theirs in zip(made, evaluated(proto, inputs), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5)


def test_every_operator_is_tested() -> None:
    elsewhere = {"Constant", "ConstantOfShape", "Range", "Shape", "Size", "Upsample"}
    elsewhere |= {*QUANTISERS, *INTEGER_LAYERS}
    assert {case.node.op_type for case in CASES} | elsewhere == set(OPERATORS)
