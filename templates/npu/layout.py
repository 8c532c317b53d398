"""How an activation tensor lies in memory, and the way from integers to bytes and back.

Two kinds.  A *blocked* tensor is `[head][channel block][half][y][x][lane]`: elements of 9 to 16
bits are *wide* and have two halves, the low bytes and the high ones, others have one; most tensors
have one head.  A *packed* tensor, a network input with few channels, is `[y][x][channel]` with the
channels padded to a power of two and every row starting with the left padding that its readers
need.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import ElementType, Shape
from intaglio.errors import UsageError

Kind = Literal["blocked", "packed"]
Map = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, slots=True)
class Form:
    """The maps that a tensor is stored as, and whether channels are last in its elements' order."""

    map: Map
    last: bool
    heads: int = 1

    def __str__(self) -> str:
        channels, *pixels = self.map
        size = "x".join(map(str, (*pixels, channels) if self.last else self.map))
        return f"{self.heads} heads of {size}" if self.heads > 1 else size


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """Where the elements of one activation tensor are, for one image.

    name        the tensor's name in the workload
    shape       its shape there, batch of one first
    map         the feature map it is stored as, of one head; another than its shape after a reshape
    kind        blocked or packed
    address     first byte in memory
    lanes       elements of a word
    signed      whether an element is a signed number
    left        packed: pixels of padding at the start of a row
    row_words   packed: words of a row, padding included
    filler      blocked: what the lanes beyond the last channel hold
    last        whether channels are the last axis of its elements' order, as in rows of features
    halves      bytes of an element: 2 when it is wide
    heads       maps one behind the other, as those of (1, heads, rows, features)
    """

    name: str
    shape: Shape
    map: Map
    kind: Kind
    address: int
    lanes: int
    signed: bool
    left: int = 0
    row_words: int = 0
    filler: int = 0
    last: bool = False
    halves: int = 1
    heads: int = 1

    @property
    def head_blocks(self) -> int:
        """Channel blocks of one head of a blocked tensor."""
        return -(-self.map[0] // self.lanes)

    @property
    def blocks(self) -> int:
        """Channel blocks of a blocked tensor."""
        return self.heads * self.head_blocks

    @property
    def form(self) -> Form:
        """How its elements lie."""
        return Form(self.map, self.last, self.heads)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel of a packed tensor: its channels padded to a power of two."""
        return packed_channels(self.map[0])

    @property
    def words(self) -> int:
        """Words the tensor takes in memory, padding included."""
        channels, height, width = self.map
        if self.kind == "packed":
            return height * self.row_words
        return self.blocks * self.halves * height * width

    @property
    def bytes(self) -> int:
        """Bytes the tensor takes in memory, padding included."""
        return self.words * self.lanes

    @property
    def plane_words(self) -> int:
        """Words of one half of one channel block of a blocked tensor."""
        return self.map[1] * self.map[2]

    @property
    def plane_bytes(self) -> int:
        """Bytes of one half of one channel block of a blocked tensor."""
        return self.plane_words * self.lanes

    def pack(self, values: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Integers of one image, of `shape`, to the bytes of the region.

        Raises UsageError when `values` has another shape.
        """
        if values.shape != self.shape:
            raise UsageError(
                f"tensor '{self.name}' takes integers of shape {self.shape}, not {values.shape}; "
                "give one image"
            )
        folded = self._folded(values).astype(np.int64)
        filled = self._packed(folded) if self.kind == "packed" else self._blocked(folded)
        return filled.reshape(-1)

    def _folded(self, values: NDArray[np.integer]) -> NDArray[np.integer]:
        """The elements in their order as maps (heads, channels, y, x)."""
        channels, height, width = self.map
        if self.last:
            return values.reshape(self.heads, height, width, channels).transpose(0, 3, 1, 2)
        return values.reshape(self.heads, *self.map)

    def _packed(self, values: NDArray[np.integer]) -> NDArray[np.uint8]:
        channels, height, width = self.map
        pixels = self.row_words * self.lanes // self.pixel_bytes
        raw = np.zeros((height, pixels, self.pixel_bytes), np.uint8)
        raw[:, self.left : self.left + width, :channels] = values[0].transpose(1, 2, 0) & 0xFF
        return raw

    def _blocked(self, values: NDArray[np.integer]) -> NDArray[np.uint8]:
        channels, height, width = self.map
        room = (self.heads, self.head_blocks * self.lanes, height, width)
        filled = np.full(room, self.filler, np.int64)
        filled[:, :channels] = values
        blocks = filled.reshape(self.blocks, self.lanes, height, width).transpose(0, 2, 3, 1)
        halves = [blocks >> 8 * half & 0xFF for half in range(self.halves)]
        return np.stack(halves, axis=1).astype(np.uint8)

    def unpack(self, raw: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The bytes of the region to int64 integers of `shape`; padding is dropped."""
        channels, height, width = self.map
        if self.kind == "packed":
            pixels = self._typed(raw).reshape(height, -1, self.pixel_bytes)
            folded = pixels[None, :, self.left : self.left + width, :channels]
        else:
            halves = raw.reshape(self.blocks, self.halves, height, width, self.lanes)
            words = self._typed(halves[:, -1])
            if self.halves > 1:
                words = words << 8 | halves[:, 0]
            each = words.reshape(self.heads, -1, height, width, self.lanes).transpose(0, 2, 3, 1, 4)
            folded = each.reshape(self.heads, height, width, -1)[..., :channels]
        if not self.last:
            folded = folded.transpose(0, 3, 1, 2)
        return folded.reshape(self.shape)

    def _typed(self, raw: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Bytes as the integers they stand for, those of the high half when there are two."""
        return raw.astype(np.int8 if self.signed else np.uint8).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TensorLayout:
        """From what `to_dict` gave; TypeError or KeyError when it is something else."""
        return cls(**{**values, "shape": tuple(values["shape"]), "map": tuple(values["map"])})

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        stored = "x".join(map(str, self.map))
        return (
            f"{self.name}: {size} {self.kind} as {stored} at {self.address:#x}, {self.bytes} bytes"
        )


def halves_of(element: ElementType) -> int:
    """Bytes that hold one element: 2 above 8 bits."""
    return 1 if element.hi - element.lo <= 0xFF else 2


def packed_channels(channels: int) -> int:
    """The power of two that a packed pixel of `channels` elements is padded to."""
    return 1 << (channels - 1).bit_length()
