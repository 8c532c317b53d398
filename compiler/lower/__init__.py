"""A quantised graph and its plan to the exact integer `Workload`, every bound proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch.fx import GraphModule

from intaglio.compiler.graph import input_name
from intaglio.compiler.lower import islands, layers, maps, rows, tensors
from intaglio.compiler.lower.builder import Builder
from intaglio.compiler.passes.fuse import Group, Kind, Plan
from intaglio.compiler.passes.islands import Island
from intaglio.compiler.workload import Tensor, Workload
from intaglio.errors import UnsupportedError

Refused = Callable[[Group, UnsupportedError], None]
Rule = Callable[[Builder, Group, Tensor], None]


def lower(module: GraphModule, plan: Plan, name: str, refused: Refused | None = None) -> Workload:
    """The workload that computes what the quantised `module` computes, in integers.

    Raises UnsupportedError, naming operator, line and channel, when an accumulator or a
    requantisation does not fit, or when an average has no exact reciprocal.  With `refused`, such
    groups are reported to it and left out instead, and the values they would have made become
    inputs of the workload.
    """
    builder = Builder(module, plan.constants)
    for node in module.graph.find_nodes(op="placeholder"):
        if node.name not in plan.constants:
            builder.declare(node, input_name(node))
    made = {node for part in plan.islands for node in part.outputs}
    for cut in plan.cuts:
        if cut not in made:
            builder.declare(builder.nodes[cut], cut)
    waiting = list(plan.islands)
    for group in plan.groups:
        _islands(builder, plan, waiting)
        try:
            output = builder.declare(builder.nodes[group.output], group.name)
            RULES[group.kind](builder, group, output)
        except UnsupportedError as error:
            if refused is None:
                raise
            refused(group, error)
    _islands(builder, plan, waiting)
    return builder.finish(name)


def _islands(builder: Builder, plan: Plan, waiting: list[Island]) -> None:
    """Lower the islands whose inputs are there; groups come in an order in which none is late."""
    for part in list(waiting):
        if all(node in builder.values for node in part.inputs):
            islands.island(builder, part, plan.cuts)
            waiting.remove(part)
            _islands(builder, plan, waiting)
            return


RULES: Mapping[Kind, Rule] = {
    "conv": layers.layer,
    "linear": layers.layer,
    "matmul": tensors.batch_matmul,
    "max_pool": maps.pool,
    "average_pool": maps.pool,
    "reduce": tensors.reduce,
    "add": maps.addition,
    "sub": maps.addition,
    "mul": tensors.multiply,
    "clamp": maps.rescale,
    "scale": maps.rescale,
    "unary": maps.unary,
    "concat": maps.concat,
    "constant": tensors.constant,
    "reshape": tensors.reshape,
    "transpose": tensors.transpose,
    "slice": tensors.slice_,
    "pad": tensors.pad,
    "expand": tensors.expand,
    "gather": tensors.gather,
    "resize": tensors.resize,
    "softmax": rows.softmax,
    "norm": rows.norm,
}
