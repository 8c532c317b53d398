"""A torch module and example inputs to a static FX graph, by torch.export."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.decomp_utils import CustomDecompTable
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from intaglio.compiler.graph import (
    deepest_line,
    input_name,
    mark_origins,
    quiet,
    shape,
    user_line,
)
from intaglio.errors import CaptureError

KEPT_WHOLE = frozenset(
    {
        "_upsample_nearest_exact1d",
        "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d",
        "adaptive_avg_pool2d",
        "avg_pool2d",
        "celu",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "elu",
        "fake_quantize_per_channel_affine",
        "fake_quantize_per_tensor_affine",
        "gelu",
        "group_norm",
        "hardsigmoid",
        "hardswish",
        "layer_norm",
        "leaky_relu",
        "linear",
        "log_sigmoid",
        "logit",
        "logsumexp",
        "matmul",
        "max_pool2d",
        "mish",
        "pad",
        "prelu",
        "rms_norm",
        "roll",
        "scaled_dot_product_attention",
        "selu",
        "silu",
        "softmax",
        "softplus",
        "threshold",
        "upsample_bicubic2d",
        "upsample_linear1d",
        "upsample_nearest1d",
        "upsample_nearest3d",
        "upsample_trilinear3d",
    }
)
"""Operators that torch.export would decompose further than an accelerator wants them."""


TYPE_ASSERTION = torch.ops.aten._assert_tensor_metadata.default


@dataclass(frozen=True, slots=True)
class Captured:
    """A static graph of ATen calls, and the shape of each input by name, in call order.

    `integers` holds the example of each input of integers, such as token ids.  With `shapes_only`
    a tensor of the model is on PyTorch's meta device, so no value is known and none is computed.
    """

    module: GraphModule
    shapes: Mapping[str, tuple[int, ...]]
    integers: Mapping[str, Tensor] = field(default_factory=dict)
    shapes_only: bool = False


def capture(model: nn.Module | ExportedProgram, example_inputs: tuple[Tensor, ...]) -> Captured:
    """The FX graph that `model` runs on `example_inputs` (batch 1, float32 or integers).

    Parameters are `get_attr` nodes and in-place operations are gone.  Raises CaptureError, quoting
    the user's line, when the model is not a static graph.
    """
    program = model if isinstance(model, ExportedProgram) else _export(model, example_inputs)
    with quiet():
        module = program.run_decompositions(_decompositions()).module(check_guards=False)
    assert isinstance(module, GraphModule)
    _drop_assertions(module)
    _check_inputs(module)
    _check_static(module)
    mark_origins(module)
    placeholders = list(module.graph.find_nodes(op="placeholder"))
    shapes = {input_name(node): shape(node) for node in placeholders}
    return Captured(module, shapes, _integers(program, placeholders), is_shapes_only(module))


def is_shapes_only(model: nn.Module | ExportedProgram) -> bool:
    """Whether a tensor of `model` is on PyTorch's meta device: a shape and a type, no values."""
    tensors = (
        (*model.state_dict.values(), *model.constants.values())
        if isinstance(model, ExportedProgram)
        else (*model.parameters(), *model.buffers())
    )
    return any(isinstance(tensor, Tensor) and tensor.is_meta for tensor in tensors)


def _drop_assertions(module: GraphModule) -> None:
    """Remove what torch asserts of the types in a graph; they are fixed."""
    for node in module.graph.find_nodes(op="call_function", target=TYPE_ASSERTION):
        module.graph.erase_node(node)


def _integers(program: ExportedProgram, placeholders: list[Node]) -> dict[str, Tensor]:
    """The example of each integer input; zeros where the program keeps none."""
    values = [node.meta["val"] for node in placeholders]
    examples = (program.example_inputs or ((), {}))[0]
    if len(examples) != len(values):
        examples = tuple(torch.zeros(tuple(v.shape), dtype=v.dtype) for v in values)
    return {
        input_name(node): example.detach().clone()
        for node, value, example in zip(placeholders, values, examples, strict=True)
        if not value.dtype.is_floating_point
    }


def _export(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> ExportedProgram:
    if model.training:
        raise CaptureError(
            f"{type(model).__name__} is in training mode; call its eval() before capturing it"
        )
    try:
        # On failure torch prints the partial graph to stderr; the raised sentence replaces it.
        # What the model itself prints stays off stdout.
        with quiet(), redirect_stdout(sys.stderr), redirect_stderr(StringIO()):
            return torch.export.export(model, example_inputs, strict=False)
    except GuardOnDataDependentSymNode as error:
        raise CaptureError(
            f"a branch or a size depends on data at {_failing_line(error)}; replace the branch by "
            "arithmetic such as torch.where, or move it out of the model"
        ) from error
    except Exception as error:
        _check_runs(model, example_inputs)
        raise CaptureError(
            f"torch.export cannot follow {_failing_line(error) or 'the call of the model'} "
            f"({_reason(error)}); write this line with PyTorch operations on tensors of fixed shape"
        ) from error


def _check_runs(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> None:
    """Raises CaptureError when the model itself, without any capture, fails on its inputs."""
    try:
        with quiet(), redirect_stdout(sys.stderr), torch.no_grad():
            model(*example_inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in example_inputs)
        line = _failing_line(error)
        raise CaptureError(
            f"{type(model).__name__} fails on its own example inputs of shape {shapes}"
            f"{f' at {line}' if line else ''}{_inside(model, error)} ({type(error).__name__}: "
            f"{_reason(error)}); correct the model or the shapes of its inputs"
        ) from error


def _inside(model: nn.Module, error: BaseException) -> str:
    """Names the innermost module at work in a traceback, when it is not `model` itself."""
    names = {id(module): name for name, module in model.named_modules()}
    at_work = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [owner for owner in at_work if id(owner) in names]
    if not modules or not names[id(modules[-1])]:
        return ""
    return f", in its {type(modules[-1]).__name__} '{names[id(modules[-1])]}'"


def _reason(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _failing_line(error: BaseException) -> str:
    """The user's line in a traceback; frames of this file do not count.  Empty without one."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    return deepest_line("".join(traceback.format_list(frames)))


def _decompositions() -> CustomDecompTable:
    table = torch.export.default_decompositions()
    for operator in list(table):
        if str(operator).split(".")[1] in KEPT_WHOLE:
            del table[operator]
    return table


def _check_inputs(module: GraphModule) -> None:
    placeholders = module.graph.find_nodes(op="placeholder")
    for node in placeholders:
        value, name = node.meta.get("val"), input_name(node)
        if not isinstance(value, Tensor):
            raise CaptureError(
                f"input '{name}' is {type(value).__name__}, not a tensor; make it a constant "
                "of the model"
            )
        _check_shape(node)
        if value.dtype not in (torch.float32, torch.int64, torch.int32):
            raise CaptureError(
                f"input '{name}' holds {value.dtype}; give float32, or int64 for indices such "
                "as token ids"
            )
        if value.dim() < 2 or value.shape[0] != 1:
            raise CaptureError(
                f"input '{name}' has shape {tuple(value.shape)}; give example inputs of batch "
                "1, as in (1, channels, height, width) (calibration data may hold many images)"
            )
        if not node.users:
            raise CaptureError(f"input '{name}' is never used; remove it from forward()")


def _check_static(module: GraphModule) -> None:
    for node in module.graph.nodes:
        if isinstance(node.meta.get("val"), Tensor):
            _check_shape(node)


def _check_shape(node: Node) -> None:
    extents = tuple(node.meta["val"].shape)
    if all(isinstance(extent, int) for extent in extents):
        return
    printed = f"({', '.join(str(extent) for extent in extents)})"
    if node.op == "placeholder":
        raise CaptureError(
            f"input '{input_name(node)}' has the dynamic shape {printed}; export the model with "
            "fixed shapes"
        )
    raise CaptureError(
        f"'{node.name}' has the shape {printed}, which depends on data, at {user_line(node)}; keep "
        "every shape fixed, or move this line out of the model"
    )
