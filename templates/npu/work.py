"""What the two datapaths of the npu are asked to do for an operator.

The array executes convolutions, products and concatenations (`ArrayWork`), products of activations
with one operand as its weights; the window unit executes pools, depthwise convolutions, sums and
rescalings (`WindowWork`) of 8 bits, and the row engines of the vector unit norms and softmax
(`RowWork`).  A *shape* holds nothing but extents, so that equal layers share one mapping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Conv2d,
    Eltwise,
    MatMul,
    Norm,
    Pool,
    Requantise,
    Rescale,
    Softmax,
)
from intaglio.templates.npu.geometry import Axis
from intaglio.templates.npu.isa import Opcode


@dataclass(frozen=True, slots=True)
class Touch:
    """Channel blocks `first` to `end - 1` of operand `operand`."""

    operand: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """Extents of a sum of products over one or several operands.

    y, x         the window; `x` counts pixels, whatever the layout
    columns      steps of the array along fx: kernel columns, or groups of folded columns
    pixel_bytes  of a packed operand, whose columns are folded; 0 when it is blocked
    outputs      output channels
    touched      for every block of `cols` outputs, the input blocks it depends on
    weight_bits  bits that a weight takes in memory and in the weight buffer: 8, 4 or 2
    halves       bytes of an element of each operand
    made         bytes of an element of the result
    residual     bytes of an element of the residual; 0 when none is added
    table        whether results go through a table
    heads        products side by side, each with `outputs` and an operand of its own as weights
    filled       of activations that are weights, what of a tile a word of them is
    """

    y: Axis
    x: Axis
    columns: int
    pixel_bytes: int
    outputs: int
    touched: tuple[tuple[Touch, ...], ...]
    weight_bits: int
    halves: tuple[int, ...]
    made: int
    residual: int
    table: bool
    heads: int = 1
    filled: Literal["", "row", "column"] = ""

    def output_blocks(self, size: int) -> int:
        """Blocks of `size` outputs of all heads."""
        return self.heads * blocks_of(self.outputs, size)

    def tiles(self, touch: Touch) -> int:
        """Weight tiles of one output block over `touch`."""
        return (touch.end - touch.first) * self.y.kernel * self.columns


@dataclass(frozen=True, slots=True)
class WindowShape:
    """Extents of a window operation on bytes that keeps channels apart.

    `blocks` channel blocks; `taps` whether every window position has a weight; `made` bytes of an
    element of the result.
    """

    y: Axis
    x: Axis
    blocks: int
    taps: bool
    made: int
    residual: bool
    table: bool

    @property
    def window(self) -> int:
        """Positions of a window."""
        return self.y.kernel * self.x.kernel


@dataclass(frozen=True, slots=True)
class ArrayWork:
    """An operator on the array: its shape and the tensors it reads and makes."""

    op: Conv2d | MatMul | BatchMatMul | Concat | Pool | Eltwise | Rescale
    shape: ArrayShape
    operands: tuple[str, ...]
    epilogue: Requantise


@dataclass(frozen=True, slots=True)
class WindowWork:
    """An operator on the window unit."""

    op: Conv2d | Pool | Eltwise | Rescale
    shape: WindowShape
    opcode: Opcode
    fill: int
    epilogue: Requantise | None


@dataclass(frozen=True, slots=True)
class RowShape:
    """Extents of a norm or softmax of `heads` times `rows` rows of `blocks` blocks of lanes.

    `norm` whether it is a norm, which has records; `halves` and `made` are bytes of an element of
    what it reads and makes; `mask` rows of a softmax's mask: none, one for all, or one for each;
    `masks` whether every head has a mask of its own.
    """

    norm: bool
    rows: int
    blocks: int
    halves: int
    made: int
    mask: int = 0
    heads: int = 1
    masks: bool = False


@dataclass(frozen=True, slots=True)
class RowWork:
    """A norm or softmax on the vector unit's row engines; a row has `features` elements."""

    op: Norm | Softmax
    shape: RowShape
    features: int

    @property
    def epilogue(self) -> Requantise | None:
        """Gamma and beta of a norm."""
        return self.op.epilogue if isinstance(self.op, Norm) else None


Work = ArrayWork | WindowWork | RowWork


def blocks_of(channels: int, size: int) -> int:
    """Blocks of `size` that hold `channels`."""
    return -(-channels // size)
