"""LSTM, GRU and RNN as PyTorch's modules, whose gates stand in another order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Position in ONNX of each gate of PyTorch: LSTM iofc against ifgo, GRU zrh against rzn."""
MODULES: Mapping[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


class Recurrent(nn.Module):
    """A recurrent layer with ONNX's inputs and outputs: (steps, directions, batch, hidden)."""

    def __init__(self, layer: nn.RNNBase, *, backward: bool, batch_first: bool) -> None:
        super().__init__()
        self.layer = layer
        self.backward = backward
        self.batch_first = batch_first

    def forward(self, x: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        """Outputs Y, Y_h and, of an LSTM, Y_c; `rest` holds W, R, B, lengths and first states."""
        first = [state for state in rest[4:6] if state is not None]
        if self.batch_first:
            x, first = x.transpose(0, 1), [state.transpose(0, 1) for state in first]
        x = x.flip(0) if self.backward else x
        is_lstm = isinstance(self.layer, nn.LSTM)
        given = (tuple(first) if is_lstm else first[0]) if first else None
        y, last = self.layer(x, given)
        y = y.flip(0) if self.backward else y
        directions = 2 if self.layer.bidirectional else 1
        y = y.reshape(*y.shape[:2], directions, -1).transpose(1, 2)
        states = tuple(last) if is_lstm else (last,)
        if self.batch_first:
            return y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in states)
        return y, *states


def _recurrent(node: OnnxNode) -> Function:
    direction = node.text("direction", "forward")
    both = direction == "bidirectional"
    _check(node, 2 if both else 1)
    _, features = node.shape(1)[1:]
    hidden = node.shape(2)[2]
    layer = MODULES[node.kind](features, hidden, bidirectional=both)
    _fill(node, layer)
    whole = Recurrent(
        layer, backward=direction == "reverse", batch_first=bool(node.integer("layout", 0))
    )
    return whole.eval()


def _check(node: OnnxNode, directions: int) -> None:
    """Refuse what PyTorch's modules cannot do."""
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


def _fill(node: OnnxNode, layer: nn.RNNBase) -> None:
    """Copy W, R and B of every direction, gate by gate."""
    weights, recurrences = node.constant(1), node.constant(2)
    gates = GATES[node.kind]
    hidden = layer.hidden_size
    biases = node.constant(3) if node.has(3) else torch.zeros(len(weights), 2 * len(gates) * hidden)
    for direction, suffix in zip(range(len(weights)), ("", "_reverse"), strict=False):
        of_input, of_state = biases[direction].chunk(2)
        parts = {
            "weight_ih": weights[direction],
            "weight_hh": recurrences[direction],
            "bias_ih": of_input,
            "bias_hh": of_state,
        }
        for name, value in parts.items():
            rows = value.unflatten(0, (len(gates), hidden))[list(gates)].flatten(0, 1)
            parameter: Tensor = getattr(layer, f"{name}_l0{suffix}")
            parameter.data.copy_(rows)


RECURRENT: Mapping[str, Builder] = dict.fromkeys(MODULES, _recurrent)
