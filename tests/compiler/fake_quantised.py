"""A quantised graph run in float64 beside the integers of its workload, value by value."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from intaglio.compiler import reference
from intaglio.compiler.capture import capture
from intaglio.compiler.graph import parameter
from intaglio.compiler.lower import lower
from intaglio.compiler.passes.fuse import Plan
from intaglio.compiler.passes.quantize import (
    DEQUANTISE,
    DEQUANTISE_CHANNELS,
    Quantize,
    quantise_half_up,
    quantise_sign,
)
from intaglio.compiler.pipeline import fuse
from intaglio.compiler.precision import Precision


@dataclass
class Comparison:
    """How many integers were compared, and for each tensor how far they are from the real value.

    The distance is in steps of the output, beyond the half step that rounding may take.
    """

    compared: int = 0
    excess: dict[str, float] = field(default_factory=dict)


def quantised(
    model: nn.Module, *batch: Tensor, precision: Precision | None = None
) -> tuple[GraphModule, Plan]:
    """The quantised graph of a model, calibrated on `batch`, and its plan."""
    captured = capture(model.eval(), batch)
    plan = fuse(captured)
    return Quantize(plan, precision or Precision())(captured.module, [batch]), plan


def compare(model: nn.Module, *batch: Tensor, precision: Precision | None = None) -> Comparison:
    """Every tensor of the workload against the quantised graph in float64.

    Each operator of the graph reads the workload's integers, so each is judged alone.
    """
    return judge(*quantised(model, *batch, precision=precision), *batch)


def judge(module: GraphModule, plan: Plan, *batch: Tensor) -> Comparison:
    """As `compare`, of a graph that is quantised already."""
    workload = lower(module, plan, "net")
    names = {node.name: node.name for node in module.graph.find_nodes(op="placeholder")}
    names |= {group.output: group.name for group in plan.groups}
    floats = {name: tensor.numpy() for name, tensor in zip(workload.inputs, batch, strict=True)}
    values = reference.run(workload, reference.quantise_inputs(workload, floats))
    result = Comparison()
    made: dict[Node, object] = {}
    pending = list(batch)
    for node in module.graph.nodes:
        args = tuple(_read(argument, made) for argument in node.args)
        if node.op == "placeholder":
            made[node] = pending.pop(0).double()
        elif node.op == "get_attr":
            value = parameter(module, node)
            made[node] = value.double() if value.is_floating_point() else value
        elif node.op == "call_function":
            name = names.get(node.args[0].name) if isinstance(node.args[0], Node) else None
            made[node] = _call(node, args)
            if node.target in (quantise_half_up, quantise_sign) and name in values:
                judged = _judge if node.target is quantise_half_up else _judge_sign
                made[node] = judged(result, str(name), args, values[str(name)])
    assert set(result.excess) == {tensor.name for tensor in workload.activations()}
    return result


def _read(argument: object, made: dict[Node, object]) -> object:
    """The value of an argument: of a node, of each entry of a list, or the literal itself."""
    if isinstance(argument, Node):
        return made[argument]
    if isinstance(argument, list | tuple):
        read = [_read(entry, made) for entry in argument]
        return tuple(read) if isinstance(argument, tuple) else read
    return argument


def _call(node: Node, args: tuple[object, ...]) -> object:
    """One node in float64; PT2E's own dequantisations would fall back to float32."""
    if node.target is DEQUANTISE:
        integers, scale = args[:2]
        assert isinstance(integers, Tensor)
        assert isinstance(scale, float)
        return integers.double() * scale
    if node.target is DEQUANTISE_CHANNELS:
        integers, scales = args[:2]
        assert isinstance(integers, Tensor)
        assert isinstance(scales, Tensor)
        return integers.double() * scales.reshape(-1, *[1] * (integers.dim() - 1))
    assert callable(node.target)
    made: object = node.target(*args, **node.kwargs)
    return made


def _judge(
    result: Comparison, name: str, args: tuple[object, ...], got: NDArray[np.int64]
) -> Tensor:
    real, scale, _, lo, hi, _ = args
    assert isinstance(real, Tensor)
    ideal = torch.clamp(real / scale, lo, hi).numpy()  # type: ignore[operator, call-overload]
    result.excess[name] = float(np.abs(got - ideal).max()) - 0.5
    result.compared += got.size
    return torch.from_numpy(got)


def _judge_sign(
    result: Comparison, name: str, args: tuple[object, ...], got: NDArray[np.int64]
) -> Tensor:
    """Signs are right or wrong: by how much a value of the wrong one exceeds 0, in steps."""
    real, scale = args[:2]
    assert isinstance(real, Tensor)
    assert set(np.unique(got)) <= {-1, 1}
    wrong = -torch.from_numpy(got) * real / scale  # type: ignore[operator]
    result.excess[name] = float(wrong.clamp(min=0).max())
    result.compared += got.size
    return torch.from_numpy(got)
