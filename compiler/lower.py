"""A quantised graph and its plan to the exact integer `Workload`, every bound proven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

from intaglio.compiler import numerics
from intaglio.compiler.graph import argument, parameter, shape
from intaglio.compiler.numerics import Floats, Ints, Requantiser
from intaglio.compiler.passes.fuse import Group, Plan
from intaglio.compiler.passes.quantize import (
    DEQUANTISE,
    DEQUANTISE_CHANNELS,
    quantise_half_up,
)
from intaglio.compiler.tables import unary_function
from intaglio.compiler.workload import (
    Concat,
    Conv2d,
    ElementType,
    Eltwise,
    MatMul,
    Op,
    Padding,
    Pair,
    Pool,
    Requantise,
    Rescale,
    Reshape,
    Tensor,
    Workload,
    inputs,
)
from intaglio.errors import UnsupportedError

aten = torch.ops.aten


Refused = Callable[[Group, UnsupportedError], None]


def lower(module: GraphModule, plan: Plan, name: str, refused: Refused | None = None) -> Workload:
    """The workload that computes what the quantised `module` computes, in integers.

    Raises UnsupportedError, naming operator, line and channel, when an accumulator or a
    requantisation does not fit, or when an average has no exact reciprocal.  With `refused`, such
    groups are reported to it and left out instead, and the values they would have made become
    inputs of the workload.
    """
    lowering = _Lowering(module)
    for node in module.graph.find_nodes(op="placeholder"):
        lowering.declare_value(node, node.name)
    for cut in plan.cuts:
        lowering.declare_value(lowering.nodes[cut], cut)
    for group in plan.groups:
        try:
            lowering.lower_group(group)
        except UnsupportedError as error:
            if refused is None:
                raise
            refused(group, error)
    return lowering.finish(name)


@dataclass
class _Lowering:
    """The tensors, constants and operators of the workload so far."""

    module: GraphModule
    nodes: dict[str, Node] = field(init=False)
    values: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.integer]] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = {node.name: node for node in self.module.graph.nodes}

    def declare_value(self, node: Node, name: str) -> Tensor:
        """The activation tensor of a quantised node, under `name`."""
        quantised = _quantisation(node)
        _, scale, _, lo, hi, _ = quantised.args
        bits = (cast(int, hi) - cast(int, lo)).bit_length()
        element = ElementType(bits, "signed" if cast(int, lo) < 0 else "unsigned")
        self.tensors[name] = Tensor(name, shape(node), element, float(cast(float, scale)))
        self.values[node.name] = name
        return self.tensors[name]

    def lower_group(self, group: Group) -> None:
        """Append the operator of one group."""
        output = self.declare_value(self.nodes[group.output], group.name)
        match group.kind:
            case "conv" | "linear":
                self._layer(group, output)
            case "max_pool" | "average_pool":
                self._pool(group, output)
            case "add" | "sub":
                self._addition(group, output)
            case "clamp":
                self.ops.append(self._rescale(group, output))
            case "unary":
                self._unary(group, output)
            case "concat":
                self._concat(group, output)
            case "reshape":
                source = self._input(group)
                self.ops.append(Reshape(group.name, source.name, output.name, group.source))
            case _:
                assert_never(group.kind)

    def finish(self, name: str) -> Workload:
        """The workload; what no operator makes is its input, what the graph returns its output."""
        made = {op.output for op in self.ops}
        read = [tensor for op in self.ops for tensor in inputs(op)]
        placeholders = self.module.graph.find_nodes(op="placeholder")
        entries = [self.values[node.name] for node in placeholders]
        entries += [tensor for tensor in read if tensor not in made]
        known = made | set(entries) | set(self.constants)
        returned = cast("tuple[Node, ...]", self.module.graph.output_node().args[0])
        outputs = [self._returned(value) for value in returned if isinstance(value, Node)]
        return Workload(
            name,
            tuple(dict.fromkeys(entries)),
            tuple(dict.fromkeys(output for output in outputs if output in made)),
            tuple(self.ops),
            {key: tensor for key, tensor in self.tensors.items() if key in known},
            self.constants,
        )

    def _returned(self, value: Node) -> str | None:
        """The tensor behind a value that the graph returns: its source, ahead of quantisation."""
        if value.target is DEQUANTISE:
            quantised = cast(Node, value.args[0])
            return self.values[cast(Node, quantised.args[0]).name]
        return None

    def _input(self, group: Group, index: int = 0) -> Tensor:
        return self.tensors[self.values[group.inputs[index]]]

    def _constant(self, name: str, array: NDArray[np.integer], element: ElementType) -> str:
        self.constants[name] = array
        self.tensors[name] = Tensor(name, array.shape, element)
        return name

    def _epilogue(
        self, name: str, made: Requantiser, lo: int, hi: int, residual: str | None = None
    ) -> Requantise:
        """Declare the constants of one requantisation under the operator's name."""
        factor = made.residual_multiplier
        return Requantise(
            self._constant(f"{name}.multiplier", made.multiplier, numerics.MULTIPLIER),
            self._constant(f"{name}.shift", made.shift, numerics.SHIFT),
            self._constant(f"{name}.bias", made.bias, numerics.BIAS),
            lo,
            hi,
            residual,
            None
            if factor is None
            else self._constant(
                f"{name}.residual_multiplier", factor, numerics.RESIDUAL_MULTIPLIER
            ),
        )

    def _layer(self, group: Group, output: Tensor) -> None:
        """A convolution or product with its bias, residual and clamp."""
        anchor = self.nodes[group.anchor]
        source = self._input(group)
        weight = self._weight(group.name, cast(Node, anchor.args[1]))
        integers = self.constants[weight.name]
        bound = numerics.accumulator_bound(integers, source.element.lo, source.element.hi)
        numerics.prove_accumulator(group.label, bound)
        channel_scales = np.array(weight.channel_scales)
        scale = channel_scales * (source.scale / output.scale)
        bias = self._bias(anchor, len(channel_scales)) / output.scale
        lo, hi = _clamped(group, output)
        if group.residual is None:
            chosen = numerics.choose_requantiser(group.label, scale, bias, bound)
            snapped = np.ldexp(chosen.multiplier.astype(np.float64), -chosen.shift)
            chosen = numerics.exact_for_few(chosen, snapped, bias, bound, lo, hi)
            epilogue = self._epilogue(group.name, chosen, lo, hi)
        else:
            chosen, other = self._with_residual(group, output, scale, bias, bound)
            epilogue = self._epilogue(group.name, chosen, lo, hi, other)
        names = (group.name, source.name, weight.name, output.name)
        if group.kind == "linear":
            self.ops.append(MatMul(*names, epilogue, group.source))
        else:
            padding = _added(group.padding, _symmetric(_pair(anchor, 4, "padding", 0)))
            geometry = _pair(anchor, 3, "stride", 1), padding, _pair(anchor, 5, "dilation", 1)
            groups = cast(int, argument(anchor, 6, "groups", 1))
            self.ops.append(Conv2d(*names, *geometry, groups, epilogue, group.source))

    def _with_residual(
        self, group: Group, output: Tensor, scale: Floats, bias: Floats, bound: Ints
    ) -> tuple[Requantiser, str]:
        """Constants of an epilogue that adds (or subtracts) the group's residual; its name."""
        assert group.residual is not None
        other = self.tensors[self.values[group.residual]]
        chosen = numerics.choose_requantiser(
            group.label,
            scale,
            bias,
            bound,
            other.scale / output.scale,
            _largest(other.element),
            _subtracts(self.nodes, group),
        )
        return chosen, other.name

    def _weight(self, name: str, dequantised: Node) -> Tensor:
        """The integer weight behind a per-channel dequantisation."""
        assert dequantised.target is DEQUANTISE_CHANNELS
        values, scales = (parameter(self.module, cast(Node, a)) for a in dequantised.args[:2])
        hi = cast(int, dequantised.args[5])
        channel_scales = tuple(float(scale) for scale in scales.double())
        array = values.numpy().copy()
        element = ElementType(hi.bit_length() + 1)
        label = self._constant(f"{name}.weight", array, element)
        self.tensors[label] = Tensor(
            label, array.shape, element, max(channel_scales), channel_scales
        )
        return self.tensors[label]

    def _bias(self, anchor: Node, channels: int) -> Floats:
        node = argument(anchor, 2, "bias")
        if not isinstance(node, Node):
            return np.zeros(channels)
        return np.asarray(parameter(self.module, node).double().numpy(), np.float64)

    def _pool(self, group: Group, output: Tensor) -> None:
        anchor = self.nodes[group.anchor]
        source = self._input(group)
        kernel = _pair(anchor, 1, "kernel_size", 1)
        stride = _pair(anchor, 2, "stride", 0)
        stride = stride if all(stride) else kernel
        padding = _symmetric(_pair(anchor, 3, "padding", 0))
        padding = _covering(padding, source.shape, output.shape, kernel, stride)
        kind: Literal["max", "average"] = "max"
        epilogue = None
        if group.kind == "average_pool":
            kind = "average"
            lo, hi = output.element.lo, output.element.hi
            constants = numerics.exact_reciprocal(group.label, kernel[0] * kernel[1], lo, hi)
            made = Requantiser(*(np.full(output.shape[1], value, np.int64) for value in constants))
            epilogue = self._epilogue(group.name, made, lo, hi)
        names = source.name, output.name
        self.ops.append(
            Pool(group.name, kind, *names, kernel, stride, padding, epilogue, group.source)
        )

    def _addition(self, group: Group, output: Tensor) -> None:
        source = self._input(group)
        channels = output.shape[1]
        chosen, other = self._with_residual(
            group,
            output,
            np.full(channels, source.scale / output.scale),
            np.zeros(channels),
            np.full(channels, _largest(source.element), np.int64),
        )
        epilogue = self._epilogue(group.name, chosen, *_clamped(group, output), other)
        kind: Literal["add", "sub"] = "sub" if group.kind == "sub" else "add"
        self.ops.append(Eltwise(group.name, kind, source.name, output.name, epilogue, group.source))

    def _rescale(self, group: Group, output: Tensor) -> Rescale:
        """The input on the scale of the output, clamped."""
        source = self._input(group)
        epilogue = self._requantised(group.name, source, output, _clamped(group, output))
        return Rescale(group.name, source.name, output.name, epilogue, group.source)

    def _requantised(
        self, name: str, source: Tensor, output: Tensor, bounds: tuple[int, int]
    ) -> Requantise:
        """Constants that carry `source` to the scale of `output`, every value rounded exactly."""
        channels = source.shape[1]
        scale = np.full(channels, source.scale / output.scale)
        largest = np.full(channels, _largest(source.element), np.int64)
        chosen = numerics.choose_requantiser(name, scale, np.zeros(channels), largest)
        exact = numerics.exact_for_few(chosen, scale, np.zeros(channels), largest, *bounds)
        return self._epilogue(name, exact, *bounds)

    def _unary(self, group: Group, output: Tensor) -> None:
        """A table; it joins the layer that makes its input when nothing else reads that input."""
        source = self._input(group)
        function = unary_function(self.nodes[group.anchor])
        entries = numerics.unary_table(
            function, source.scale, source.element, output.scale, output.element
        )
        producer = self._sole_layer(group.inputs[0], source.name)
        table = self._constant(f"{group.name}.table", entries, output.element)
        if producer is None:
            identity = self._requantised(
                group.name, source, source, (source.element.lo, source.element.hi)
            )
            epilogue = replace(identity, table=table)
            self.ops.append(Rescale(group.name, source.name, output.name, epilogue, group.source))
            return
        nodes = (*producer.source.nodes, *group.source.nodes)
        self.ops[self.ops.index(producer)] = replace(
            producer,
            output=output.name,
            epilogue=replace(producer.epilogue, table=table),
            source=replace(producer.source, nodes=nodes),
        )

    def _sole_layer(self, node: str, tensor: str) -> Conv2d | MatMul | None:
        """The layer that makes `tensor`, when one operator reads it and it is no output."""
        readers = {
            user
            for quantised in self.nodes[node].users
            for dequantised in quantised.users
            for user in dequantised.users
        }
        if len(readers) != 1 or any(user.op == "output" for user in readers):
            return None
        for op in self.ops:
            if isinstance(op, Conv2d | MatMul) and op.output == tensor:
                return op if op.epilogue.table is None else None
        return None

    def _concat(self, group: Group, output: Tensor) -> None:
        sources = tuple(self._input(group, index) for index in range(len(group.inputs)))
        bounds = output.element.lo, output.element.hi
        epilogues = tuple(
            self._requantised(f"{group.name}.{index}", source, output, bounds)
            for index, source in enumerate(sources)
        )
        names = tuple(source.name for source in sources)
        self.ops.append(Concat(group.name, names, output.name, epilogues, source=group.source))


def _quantisation(node: Node) -> Node:
    """The call that quantises a node's value."""
    return next(user for user in node.users if user.target is quantise_half_up)


def _largest(element: ElementType) -> int:
    return max(-element.lo, element.hi)


def _clamped(group: Group, output: Tensor) -> tuple[int, int]:
    """The output's range within the group's real clamp, rounded half up as values are."""
    lo, hi = output.element.lo, output.element.hi
    if group.clamp is None:
        return lo, hi
    low, high = (np.clip(bound / output.scale + 0.5, lo, hi + 0.5) for bound in group.clamp)
    return int(np.floor(low)), int(np.floor(high))


def _subtracts(nodes: dict[str, Node], group: Group) -> bool:
    """Whether the group's residual is subtracted."""
    node = nodes[group.output]
    while node.name != group.anchor and node.target not in (aten.add.Tensor, aten.sub.Tensor):
        node = cast(Node, node.args[0])
    return node.target is aten.sub.Tensor


def _pair(node: Node, index: int, name: str, default: int) -> Pair:
    """A geometry argument of (y, x), however it was written."""
    value = argument(node, index, name)
    entries = [value] if isinstance(value, int) else list(cast("list[int]", value or [default]))
    return (entries[0], entries[-1])


def _symmetric(padding: Pair) -> Padding:
    return (padding[0], padding[0], padding[1], padding[1])


def _added(first: Padding, second: Padding) -> Padding:
    top, bottom, left, right = (a + b for a, b in zip(first, second, strict=True))
    return (top, bottom, left, right)


def _covering(
    padding: Padding,
    before: tuple[int, ...],
    after: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
) -> Padding:
    """`padding`, with the bottom and right raised until the last window (ceil_mode) is inside."""
    top, bottom, left, right = padding
    reach = [(after[2 + i] - 1) * stride[i] + kernel[i] - before[2 + i] for i in range(2)]
    return (top, max(bottom, reach[0] - top), left, max(right, reach[1] - left))
