"""Reading an ONNX file as data: nothing in it is executed, and no path in it leaves its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data
from onnx.inliner import inline_local_functions
from torch import Tensor

from intaglio.errors import CaptureError, UsageError

OPSETS = range(9, 25)
"""Versions of ONNX's own operators whose meaning the table of operators knows."""
DOMAINS = ("", "ai.onnx")
"""Spellings of the domain of ONNX's own operators."""
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
"""Integers that PyTorch computes with."""


def read_model(path: Path) -> ModelProto:
    """The model of a file, checked by ONNX, its data loaded and its functions inlined.

    Raises UsageError without such a file, and CaptureError when it is corrupt, reads data outside
    its folder, or is of an operator set outside `OPSETS`.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of an ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
        _check_locations(path, model)
        _check_names(path, model.graph)
        onnx.checker.check_model(path)
        load_external_data_for_model(model, str(path.parent))
        model = inline_local_functions(model)
        if model.graph.sparse_initializer:
            raise CaptureError(f"{path}: holds sparse tensors; store its tensors densely")
    except CaptureError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". :")
        raise CaptureError(
            f"{path}: cannot be read as an ONNX model ({reason}); export it again"
        ) from error
    opset = operator_set(model)
    if opset not in OPSETS:
        raise CaptureError(
            f"{path}: is written for operator set {opset}, {OPSETS[0]} to {OPSETS[-1]} are read; "
            "export it again with opset_version=17, or convert it by "
            "onnx.version_converter.convert_version(model, 17)"
        )
    return model


def operator_set(model: ModelProto) -> int:
    """The version of ONNX's own operators that a model is written for."""
    return max((o.version for o in model.opset_import if o.domain in DOMAINS), default=OPSETS[-1])


def type_of(value: TensorProto) -> str:
    """The name of a stored tensor's type, such as `float` or `int4`."""
    return str(TensorProto.DataType.Name(value.data_type)).lower()


def tensor_of(value: TensorProto) -> Tensor:
    """A stored tensor; integers of types that PyTorch does not compute with become int64.

    Raises CaptureError for text, for types of real numbers that PyTorch does not have, and when
    the data do not fill the shape.
    """
    try:
        array = numpy_helper.to_array(value)
        if "int" in array.dtype.name and array.dtype.name not in INTEGERS:
            array = array.astype(np.int64)
        return torch.from_numpy(np.array(array))
    except (LookupError, TypeError, ValueError) as error:
        kinds = TensorProto.DataType
        known = value.data_type in kinds.values()
        kind = kinds.Name(value.data_type).lower() if known else f"type {value.data_type}"
        raise CaptureError(
            f"tensor '{value.name}' of {kind} and shape {tuple(value.dims)} cannot be taken from "
            "the file; store it in float32 or int64"
        ) from error


def _check_names(path: Path, graph: GraphProto) -> None:
    """Refuse names that are no text: protobuf gives them as bytes."""
    named = (*graph.input, *graph.output, *graph.initializer, *graph.node)
    names = [value.name for value in named]
    for node in graph.node:
        names += [node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    if not all(isinstance(name, str) for name in names):
        raise CaptureError(f"{path}: holds a name that is not UTF-8 text; export it again")


def _check_locations(path: Path, model: ModelProto) -> None:
    """Refuse data that are not in plain files in the model's own folder."""
    folder = path.parent.resolve()
    for tensor in _stored(model):
        if not uses_external_data(tensor):
            continue
        place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = folder / place
        if not file.resolve().is_relative_to(folder) or file.is_symlink():
            raise CaptureError(
                f"{path}: keeps '{tensor.name}' in '{place}', which is outside its own folder; "
                "save the model with its data beside it"
            )
        if not file.is_file():
            raise CaptureError(
                f"{path}: keeps '{tensor.name}' in '{place}', which is no file; put the file of "
                "the model's data beside it"
            )


def _stored(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a model stores, those in attributes too."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            for attribute in node.attribute:
                yield from _of_attribute(attribute)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for graph in (attribute.g, *attribute.graphs):
        yield from _of_graph(graph)
