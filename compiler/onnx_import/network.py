"""An imported graph as a torch module: one submodule a node, constants as its parameters."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from intaglio.compiler.onnx_import.node import Function


@dataclass(frozen=True, slots=True)
class Step:
    """One node at work: its submodule, and the values it reads and writes by their ONNX names."""

    module: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


class Operation(nn.Module):
    """Runs the function of one node."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        """What the node computes."""
        return self.function(*tensors)


class OnnxNetwork(nn.Module):
    """The nodes of an ONNX graph in order.  Values go by the names that they have there."""

    def __init__(self, inputs: Sequence[str]) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.outputs: tuple[str, ...] = ()
        self.steps: list[Step] = []
        self.constants: dict[str, str] = {}
        names = identifiers(inputs)
        self.forward = _taking(self, names)

    def add_constant(self, name: str, value: Tensor) -> None:
        """Let a value be a parameter (real numbers) or a buffer of the module."""
        if name in self.constants:
            return
        self.constants[name] = key = self._free(name)
        if value.is_floating_point():
            self.register_parameter(key, nn.Parameter(value, requires_grad=False))
        else:
            self.register_buffer(key, value)

    def add_step(
        self, name: str, function: Function, reads: Sequence[str], writes: Sequence[str]
    ) -> str:
        """Append a node; returns the name of its submodule."""
        key = self._free(name)
        self.add_module(key, Operation(function))
        self.steps.append(Step(key, tuple(reads), tuple(writes)))
        return key

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs for the inputs, in the order of the graph."""
        values: dict[str, Tensor | None] = {"": None}
        values.update(zip(self.inputs, tensors, strict=True))
        values.update((name, getattr(self, key)) for name, key in self.constants.items())
        for step in self.steps:
            made = getattr(self, step.module)(*(values[name] for name in step.reads))
            made = (made,) if isinstance(made, Tensor) else made
            values.update(zip(step.writes, made, strict=False))
        results = (values[name] for name in self.outputs)
        return tuple(value for value in results if value is not None)

    def _free(self, name: str) -> str:
        """`name` as an attribute that the module does not have yet."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "value"
        key, count = plain, 1
        while hasattr(self, key):
            count += 1
            key = f"{plain}_{count}"
        return key


def identifiers(names: Sequence[str]) -> tuple[str, ...]:
    """The names as different Python identifiers: torch writes them into the code of a graph."""
    made: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "input"
        plain = f"_{plain}" if plain[0].isdigit() or keyword.iskeyword(plain) else plain
        key, count = plain, 1
        while key in made:
            count += 1
            key = f"{plain}_{count}"
        made.append(key)
    return tuple(made)


def _taking(network: OnnxNetwork, names: Sequence[str]) -> Function:
    """A `forward` whose parameters have these names, which torch.export takes over."""

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return network.run(*tensors)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward
