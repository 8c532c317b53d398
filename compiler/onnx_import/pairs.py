"""Integers between quantisers and dequantisers: the pair is one quantiser of real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from intaglio.compiler.onnx_import.node import OnnxNode
from intaglio.compiler.onnx_import.operators.integer_layers import (
    INTEGER_LAYERS,
    OPERANDS,
    RESULT,
)

MOVES = frozenset(
    {"Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that do the same to integers as to the real numbers that they stand for."""
WAY_OUT = "dequantise with the scale and the zero point of the QuantizeLinear node"


@dataclass(frozen=True, slots=True)
class Integers:
    """What integers stand for, and the node that makes them."""

    maker: OnnxNode
    scale: Tensor
    zero: Tensor
    axis: int

    @classmethod
    def of(cls, node: OnnxNode, index: int) -> Integers:
        """The integers whose scale is the input of `node` at `index`, ahead of the zero point."""
        zero = node.constant(index + 1).double() if node.has(index + 1) else torch.zeros(())
        return cls(node, node.constant(index), zero.double(), node.axis(1))

    def read_by(self, node: OnnxNode, index: int) -> None:
        """Refuse a node that reads the integers with another scale at `index`, or zero point."""
        other = Integers.of(node, index)
        same = torch.equal(self.scale, other.scale) and torch.equal(self.zero, other.zero)
        if not (same and self.axis == other.axis):
            node.refuse(f"its scale or zero point is not that of {self.maker.name}", WAY_OUT)


class Pairs:
    """The values that are integers in the file, by name, with the node that makes each.

    The importer computes with the real numbers that they stand for.
    """

    def __init__(self) -> None:
        self.quantised: dict[str, Integers] = {}

    def visit(self, node: OnnxNode, reads: Sequence[str], writes: Sequence[str]) -> None:
        """Refuse a node that computes with integers, or reads them on another scale."""
        if node.kind in INTEGER_LAYERS:
            for place in OPERANDS:
                if reads[place] in self.quantised:
                    self.quantised[reads[place]].read_by(node, place + 1)
            self.quantised[writes[0]] = Integers.of(node, RESULT)
            return
        found = next((self.quantised[name] for name in reads if name in self.quantised), None)
        if node.kind == "QuantizeLinear":
            self.quantised[writes[0]] = Integers.of(node, 1)
        elif found is not None and node.kind in MOVES:
            self.quantised[writes[0]] = found
        elif found is not None and node.kind == "DequantizeLinear":
            found.read_by(node, 1)
        elif found is not None:
            node.refuse(f"it computes with the integers of {found.maker.name}", WAY_OUT)

    def finish(self, outputs: Sequence[str]) -> None:
        """Refuse integers as an output of the model."""
        for name in outputs:
            if name in self.quantised:
                self.quantised[name].maker.refuse("the model returns its integers", WAY_OUT)
