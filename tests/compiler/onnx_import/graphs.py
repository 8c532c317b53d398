"""ONNX models made in tests, and what ONNX's own evaluator computes with them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

Array = NDArray[Any]
Size = Sequence[int | str | None]


def node(
    kind: str, inputs: str, outputs: str = "y", name: str = "", **attributes: Any
) -> NodeProto:
    """A node; names of values are separated by spaces, `_` leaves an input out."""
    reads = ["" if value == "_" else value for value in inputs.split()]
    return helper.make_node(kind, reads, outputs.split(), name=name, **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Size],
    constants: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    kinds: Mapping[str, int] | None = None,
) -> ModelProto:
    """A model of float32 inputs, unless `kinds` gives another type of ONNX."""
    types = kinds or {}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), list(size))
            for n, size in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()],
    )
    domains = {"": opset, **{made.domain: 1 for made in nodes if made.domain}}
    sets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    made = helper.make_model(graph, opset_imports=sets, ir_version=10)
    made = onnx.shape_inference.infer_shapes(made)
    for output in made.graph.output:
        output.type.tensor_type.shape.SetInParent()
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return made


def saved(proto: ModelProto, path: Path) -> Path:
    """Write a model to a file."""
    onnx.save(proto, path)
    return path


def evaluated(proto: ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """What ONNX's reference evaluator, which is numpy alone, computes."""
    return list(ReferenceEvaluator(proto).run(None, dict(inputs)))


def exported(module: nn.Module, x: torch.Tensor, path: Path, opset: int) -> Path:
    """What PyTorch's own exporter, the one that needs no other package, writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), path, opset_version=opset, dynamo=False, input_names=["x"])
    return path
