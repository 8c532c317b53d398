"""One node of an ONNX graph, as the operators that import it see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from torch import Tensor

from intaglio.errors import UnsupportedError

Function = Callable[..., Tensor | tuple[Tensor, ...]]
"""What a node computes: tensors in the order of its inputs, None where one is left out."""


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node with its attributes and an example value of every input it has.

    `operands` hold None for an input that is left out; `known` marks those that no input of the
    model changes, `types` are those of the file, such as `int4`.
    `line` is how errors quote the node, such as `net.onnx:5: Conv(x, w)`.
    """

    kind: str
    name: str
    line: str
    opset: int
    attributes: Mapping[str, object]
    operands: tuple[Tensor | None, ...]
    known: tuple[bool, ...]
    types: tuple[str, ...]
    outputs: int

    def refuse(self, reason: str, way_out: str) -> NoReturn:
        """Raise UnsupportedError in the one sentence that names this node."""
        raise UnsupportedError(f"{self.name} ({self.line}): {reason}; {way_out}")

    def require(self, holds: bool, reason: str, way_out: str) -> None:
        """Refuse the node unless `holds`."""
        if not holds:
            self.refuse(reason, way_out)

    def has(self, index: int) -> bool:
        """Whether the node has an input at `index`."""
        return index < len(self.operands) and self.operands[index] is not None

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of an input."""
        return tuple(self._operand(index).shape)

    def type(self, index: int) -> str:
        """The type of an input, such as `float32` or `int4`; empty where there is none."""
        return self.types[index] if index < len(self.types) else ""

    @property
    def rank(self) -> int:
        """How many axes the first input has."""
        return len(self.shape())

    @property
    def real(self) -> bool:
        """Whether the first input holds real numbers."""
        return self._operand(0).is_floating_point()

    def constant(self, index: int) -> Tensor:
        """The value of an input that no input of the model changes; refuses any other."""
        if not self.known[index]:
            self.refuse(
                f"its input {index} is computed from the inputs of the model",
                "make it a constant of the model",
            )
        return self._operand(index)

    def number(self, index: int) -> float | int | None:
        """The constant input at `index` as a number; None when it is computed or an array."""
        if not (self.has(index) and self.known[index]):
            return None
        value = self._operand(index)
        wide = value.dim() > max(len(self.shape(i)) for i in (0, 1) if i != index)
        return None if value.numel() != 1 or wide else value.item()

    def integer(self, name: str, default: int) -> int:
        """An attribute that is an integer."""
        return int(cast(int, self.attributes.get(name, default)))

    def real_number(self, name: str, default: float) -> float:
        """An attribute that is a real number."""
        return float(cast(float, self.attributes.get(name, default)))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        return str(self.attributes.get(name, default))

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        return tuple(cast("tuple[int, ...]", self.attributes.get(name, default)))

    def listed(self, index: int, name: str) -> tuple[int, ...] | None:
        """Integers that older operator sets keep in an attribute and newer ones in an input.

        None when there are none.
        """
        if name in self.attributes:
            return self.integers(name)
        if not self.has(index):
            return None
        return tuple(int(value) for value in self.constant(index).flatten().tolist())

    def axis(self, default: int, extra: int = 0) -> int:
        """The attribute `axis`, counted from the front; the result has `extra` more axes."""
        return self.integer("axis", default) % max(self.rank + extra, 1)

    def accept(self, name: str, value: object, way_out: str) -> None:
        """Refuse the node when attribute `name` is there and is not `value`."""
        given = self.attributes.get(name, value)
        if isinstance(given, float) and isinstance(value, float):
            same = math.isclose(given, value, rel_tol=1e-6)
        else:
            same = given == value
        self.require(same, f"{name}={given!r} is not supported", way_out)

    def _operand(self, index: int) -> Tensor:
        """An input that the checker of ONNX has found to be there."""
        if not self.has(index):
            self.refuse(f"its input {index} is missing", "export the model again")
        return cast(Tensor, self.operands[index])


Builder = Callable[[OnnxNode], Function]
"""What stands in the table of operators: a node to the function that it computes."""
