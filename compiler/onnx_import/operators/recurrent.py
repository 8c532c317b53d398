"""LSTM, GRU and RNN by PyTorch's own functions, whose gates stand in another order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Position in ONNX of each gate of PyTorch: LSTM iofc against ifgo, GRU zrh against rzn."""
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@dataclass(frozen=True, slots=True)
class Recurrent:
    """A recurrent layer with ONNX's inputs and outputs: (steps, directions, batch, hidden)."""

    kind: str
    directions: int
    backward: bool
    batch_first: bool

    def __call__(self, x: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        """Outputs Y, Y_h and, of an LSTM, Y_c; `rest` holds W, R, B, lengths and first states."""
        weights, first = self._weights(*rest[:3]), [s for s in rest[4:6] if s is not None]
        if self.batch_first:
            x, first = x.transpose(0, 1), [state.transpose(0, 1) for state in first]
        x = x.flip(0) if self.backward else x
        states = 2 if self.kind == "LSTM" else 1
        zeros = x.new_zeros(self.directions, x.shape[1], weights[1].shape[1])
        y, *last = self._run(x, first or [zeros] * states, weights)
        y = y.flip(0) if self.backward else y
        y = y.reshape(*y.shape[:2], self.directions, -1).transpose(1, 2)
        if self.batch_first:
            return y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last)
        return y, *last

    def _run(self, x: Tensor, first: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        """One layer with biases, without dropout, not in training."""
        options = (True, 1, 0.0, False, self.directions == 2, False)
        if self.kind == "LSTM":
            return torch.lstm(x, first, weights, *options)
        function = torch.gru if self.kind == "GRU" else torch.rnn_tanh
        return function(x, first[0], weights, *options)

    def _weights(self, w: Tensor | None, r: Tensor | None, b: Tensor | None = None) -> list[Tensor]:
        """W, R and both halves of B of every direction, their gates in PyTorch's order."""
        assert w is not None
        assert r is not None
        rows, hidden = w.shape[1], r.shape[2]
        b = w.new_zeros(self.directions, 2 * rows) if b is None else b
        made = []
        for direction in range(self.directions):
            of_input, of_state = b[direction, :rows], b[direction, rows:]
            for value in (w[direction], r[direction], of_input, of_state):
                starts = [gate * hidden for gate in GATES[self.kind]]
                made.append(torch.cat([value[start : start + hidden] for start in starts]))
        return made


def _recurrent(node: OnnxNode) -> Function:
    direction = node.text("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    _check(node, directions)
    batch_first = bool(node.integer("layout", 0))
    return Recurrent(node.kind, directions, direction == "reverse", batch_first)


def _check(node: OnnxNode, directions: int) -> None:
    """Refuse what PyTorch's functions cannot do, and weights that are computed."""
    for index in (1, 2, 3):
        if node.has(index):
            node.constant(index)
    functions = DEFAULTS[node.kind] * directions
    node.accept("activations", functions, "use the default activations")
    node.accept("input_forget", 0, "keep input and forget gates apart")
    node.require("clip" not in node.attributes, "it clips its gates", "leave clip out")
    node.require(
        node.kind != "GRU" or node.integer("linear_before_reset", 0) == 1,
        "it resets ahead of the linear layer",
        "export it with linear_before_reset=1, as PyTorch does",
    )
    steps = node.shape()[1 if node.integer("layout", 0) else 0]
    whole = not node.has(4) or set(node.constant(4).tolist()) == {steps}
    node.require(whole, "its sequences are of unequal length", "leave sequence_lens out")
    node.require(not node.has(7), "it has peepholes", "leave the peepholes out")
    if node.kind == "LSTM":
        node.require(
            node.has(5) == node.has(6), "it has one of its two first states", "give both or none"
        )


RECURRENT: Mapping[str, Builder] = dict.fromkeys(DEFAULTS, _recurrent)
