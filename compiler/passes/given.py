"""Quantisers of the model itself: the integers and scales that it was trained with are kept.

A quantiser is PyTorch's fake_quantize with zero point 0, which the reader of ONNX files writes too.
It says of a value which integers stand for it, and what one step is worth; ties go up, as
everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from intaglio.compiler.graph import argument, owner, parameter, shape, single_user
from intaglio.compiler.workload import BIPOLAR, ElementType

aten = torch.ops.aten
PER_TENSOR = aten.fake_quantize_per_tensor_affine.default
PER_CHANNEL = aten.fake_quantize_per_channel_affine.default
QUANTISERS = frozenset({PER_TENSOR, PER_CHANNEL})
GIVEN, GRID = "given", "grid"
"""Keys of a node's metadata: the `Given` of a value, the `Grid` of a constant."""
MOST_BITS = 8
Bounds = tuple[float, float]
MOVING = frozenset(
    {
        aten.clone.default,
        aten.embedding.default,
        aten.expand.default,
        aten.index.Tensor,
        aten.index_select.default,
        aten.permute.default,
        aten.reshape.default,
        aten.select.int,
        aten.slice.Tensor,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.t.default,
        aten.transpose.int,
        aten.unsqueeze.default,
        aten.view.default,
    }
)
"""Calls that move the elements of a constant to places that their other arguments give."""
PRODUCTS = frozenset({aten.div.Tensor, aten.mul.Tensor})
"""Calls of a constant and numbers that change the scales of the constant alone."""


def sign(values: Tensor, scale: float) -> Tensor:
    """A quantiser of one bit: `scale` where `values` are 0 or more, else its negative."""
    return torch.where(values >= 0, scale, -scale)


@dataclass(frozen=True, slots=True)
class Given:
    """What a quantiser says of a value: integers `lo` to `hi`, worth `scale` each.

    0 is among them, but not where they `are_signs`, -1 and +1.
    """

    scale: float
    lo: int
    hi: int
    are_signs: bool = False

    @property
    def element(self) -> ElementType:
        """The smallest type that holds the integers."""
        return BIPOLAR if self.are_signs else type_of(self.lo, self.hi)

    @property
    def fills(self) -> bool:
        """Whether the range is the whole of its type."""
        return (self.lo, self.hi) == (self.element.lo, self.element.hi)

    @property
    def filled(self) -> Given:
        """The same with the whole range of its type."""
        return replace(self, lo=self.element.lo, hi=self.element.hi)

    def within(self, clamp: Bounds | None) -> Bounds | None:
        """`clamp`, and the range as well where the type alone would not keep to it."""
        if self.fills:
            return clamp
        low, high = clamp or (-math.inf, math.inf)
        return max(low, self.lo * self.scale), min(high, self.hi * self.scale)


@dataclass(frozen=True, slots=True)
class Grid:
    """What a quantiser says of a constant: integers `lo` to `hi`, worth `scales` (of its shape).

    `is_turned` says that factors below 0 have changed the sign of some.
    """

    scales: Tensor
    lo: int
    hi: int
    is_turned: bool = False

    def moved(self, form: Callable[[Tensor], Tensor]) -> Grid:
        """The grid of the constant in another form, which moves its elements."""
        return replace(self, scales=form(self.scales))

    def times(self, gain: Tensor, product: Tensor) -> Grid:
        """The grid of the constant times `gain`, of as many axes, which is `product`.

        Its integers may change sign: the range is turned too, and where that exceeds what is
        mapped, it is that of the integers there are.
        """
        scales = self.scales * torch.where(gain == 0, 1.0, gain.abs())
        if not bool((gain < 0).any()):
            return replace(self, scales=scales)
        most = max(self.hi, -self.lo)
        turned = Grid(scales, min(self.lo, -most), most, is_turned=True)
        if turned.element.bits <= MOST_BITS or product.is_meta:
            return turned
        steps = (product.double() / scales).round()
        return replace(turned, lo=int(steps.min()), hi=int(steps.max()))

    @property
    def element(self) -> ElementType:
        """The smallest signed type that holds the integers."""
        return type_of(min(self.lo, -1), self.hi)

    def are_signs(self, constant: Tensor) -> bool:
        """Whether the integers of the constant are -1 and +1 alone."""
        known = (self.lo, self.hi) == (-1, 1) and not constant.is_meta
        return known and bool((constant != 0).all())

    @property
    def channels(self) -> Tensor | None:
        """The scale of each channel of axis 0, (K,); None when they differ within a channel."""
        rows = self.scales.flatten(1).double()
        return rows[:, 0] if bool((rows == rows[:, :1]).all()) else None

    @property
    def given(self) -> Given | None:
        """What holds for the whole constant; None when its scales differ."""
        scales = self.scales.unique()
        return Given(float(scales[0]), self.lo, self.hi) if len(scales) == 1 else None


def type_of(lo: int, hi: int) -> ElementType:
    """The smallest type, signed or unsigned, that holds the integers `lo` to `hi`."""
    if lo == 0:
        return ElementType(max(hi.bit_length(), 1), "unsigned")
    return ElementType(max(hi.bit_length(), (-lo - 1).bit_length(), 1) + 1)


def grid_of(node: Node, known: Mapping[Node, Tensor]) -> Grid | None:
    """The grid of a call of `known` operands: a quantiser's own, or one that it moves or scales."""
    if node.target is PER_TENSOR:
        scale = float(cast(float, node.args[1]))
        return Grid(torch.full(shape(node), scale, dtype=torch.float64), *_range(node))
    if node.target is PER_CHANNEL:
        axis = cast(int, argument(node, 3, "axis")) % len(shape(node))
        along = [-1 if index == axis else 1 for index in range(len(shape(node)))]
        scales = known[cast(Node, node.args[1])].double().reshape(along)
        return Grid(scales.expand(shape(node)), *_range(node))
    grids = [operand.meta.get(GRID) for operand in node.all_input_nodes]
    if node.target in PRODUCTS:
        return _of_product(node, known)
    if node.target is aten.cat.default and None not in grids:
        return _joined(node, cast("list[Grid]", grids))
    if node.target not in MOVING:
        return None
    source, *places = map_arg(node.args, lambda operand: known[operand])
    grid: Grid | None = cast(Node, node.args[0]).meta.get(GRID)
    move = cast("Callable[..., Tensor]", node.target)
    return None if grid is None else grid.moved(lambda scales: move(scales, *places))


def _joined(node: Node, grids: list[Grid]) -> Grid:
    """The grid of constants joined along an axis."""
    operands = cast("list[Node]", node.args[0])
    axis = cast(int, argument(node, 1, "dim", 0))
    scales = torch.cat([operand.meta[GRID].scales for operand in operands], axis)
    return Grid(scales, min(grid.lo for grid in grids), max(grid.hi for grid in grids))


def _of_product(node: Node, known: Mapping[Node, Tensor]) -> Grid | None:
    """The grid of a constant times, or divided by, numbers; None for any other product."""
    operands = [arg for arg in node.args if isinstance(arg, Node)]
    gridded = [operand for operand in operands if operand.meta.get(GRID) is not None]
    if len(gridded) != 1 or (node.target is aten.div.Tensor and node.args[0] is not gridded[0]):
        return None
    other = node.args[1] if node.args[0] is gridded[0] else node.args[0]
    number = known[other] if isinstance(other, Node) else torch.tensor(cast(float, other))
    factor = 1 / number.double() if node.target is aten.div.Tensor else number.double()
    grid: Grid = gridded[0].meta[GRID]
    return grid.moved(lambda scales: scales.expand(shape(node))).times(factor, known[node])


def given_by(node: Node) -> Given:
    """What a quantiser of a whole value says."""
    if node.target is sign:
        return Given(float(cast(float, node.args[1])), -1, 1, are_signs=True)
    return Given(float(cast(float, node.args[1])), *_range(node))


def follower(node: Node) -> Node | None:
    """The only user of a node, unless its value is given and so must be made as it is."""
    return None if GIVEN in node.meta else single_user(node)


def objection(node: Node, known: Mapping[Node, Tensor] | None = None) -> tuple[str, str] | None:
    """Why a quantiser has no integer form, and what to do; None when it has one.

    `known` holds the values of calls that are constants.
    """
    if node.target is sign:
        return None
    lo, hi = _range(node)
    if lo == hi or not lo <= 0 <= hi:
        return f"its integers {lo} to {hi} leave out 0", "quantise to integers on both sides of 0"
    bits = type_of(lo, hi).bits
    if bits > MOST_BITS:
        reason = f"its integers {lo} to {hi} have {bits} bits with zero point 0"
        return f"{reason}, at most {MOST_BITS} are mapped", "quantise to fewer bits, symmetrically"
    numbers = [_numbers(arg, known or {}) for arg in node.args[1:3]]
    if node.target is PER_CHANNEL and node.args[0] not in (known or {}):
        return "it gives each channel of an activation a scale", "quantise it with one scale"
    if None in numbers:
        return "its scale is computed", "make scale and zero point constants of the model"
    scales, zeros = cast("list[Tensor]", numbers)
    if bool(zeros.any()):
        return f"its zero point is {int(zeros[zeros != 0][0])}", "quantise with zero point 0"
    wrong = scales[~(scales.isfinite() & (scales > 0))]
    return (f"its scale is {float(wrong[0]):g}", "give it a positive scale") if len(wrong) else None


def _numbers(arg: object, known: Mapping[Node, Tensor]) -> Tensor | None:
    """An argument that is a number or a tensor of the model, (n,); None when it is computed."""
    if not isinstance(arg, Node):
        return torch.tensor([cast(float, arg)], dtype=torch.float64)
    value = parameter(owner(arg), arg) if arg.op == "get_attr" else known.get(arg)
    return None if value is None else value.flatten()


def _range(node: Node) -> tuple[int, int]:
    lo, hi = node.args[-2:]
    return cast(int, lo), cast(int, hi)
