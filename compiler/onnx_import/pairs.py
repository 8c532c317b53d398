"""Integers between QuantizeLinear and DequantizeLinear: the pair is one quantiser of reals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from intaglio.compiler.onnx_import.node import OnnxNode

MOVES = frozenset(
    {"Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that do the same to integers as to the real numbers that they stand for."""
WAY_OUT = "dequantise with the scale and the zero point of the QuantizeLinear node"


class Pairs:
    """The values that are integers in the file, by name, with the QuantizeLinear behind each.

    The importer computes with the real numbers that they stand for.
    """

    def __init__(self) -> None:
        self.quantised: dict[str, OnnxNode] = {}

    def visit(self, node: OnnxNode, reads: Sequence[str], writes: Sequence[str]) -> None:
        """Refuse a node that computes with integers, or reads them on another scale."""
        maker = next((self.quantised[name] for name in reads if name in self.quantised), None)
        if node.kind == "QuantizeLinear":
            self.quantised[writes[0]] = node
        elif maker is not None and node.kind in MOVES:
            self.quantised[writes[0]] = maker
        elif maker is not None and node.kind != "DequantizeLinear":
            node.refuse(f"it computes with the integers of {maker.name}", WAY_OUT)
        elif maker is not None and not _alike(maker, node):
            node.refuse(f"its scale or zero point is not that of {maker.name}", WAY_OUT)

    def finish(self, outputs: Sequence[str]) -> None:
        """Refuse integers as an output of the model."""
        for name in outputs:
            if name in self.quantised:
                self.quantised[name].refuse("the model returns its integers", WAY_OUT)


def _alike(first: OnnxNode, second: OnnxNode) -> bool:
    """Whether two nodes have equal scales, zero points and axes."""
    pairs = zip(_numbers(first), _numbers(second), strict=True)
    return first.axis(1) == second.axis(1) and all(torch.equal(a, b) for a, b in pairs)


def _numbers(node: OnnxNode) -> tuple[Tensor, Tensor]:
    zero = node.constant(2).double() if node.has(2) else torch.zeros(())
    return node.constant(1), zero.double()
