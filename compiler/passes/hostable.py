"""Which calls the host computes in floating point, and their form as data."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node

from intaglio.compiler.calls import GETITEM, OPERATORS, TYPES, Argument, Call, TypeName, Value
from intaglio.compiler.graph import argument
from intaglio.compiler.tables import Step, composed

aten = torch.ops.aten
PLACES = frozenset({"device", "layout", "memory_format", "non_blocking", "pin_memory"})
"""Options that say where and how a tensor lies, which are the host's own choice."""
SORTS = frozenset({aten.sort.default, aten.topk.default})
"""Operators that are written down as stable sorts."""


def hostable(node: Node) -> bool:
    """Whether the host can compute a call: it knows the operator, and types and shapes are plain.

    A result without axes is none: no tensor of a workload is without its image's axis.
    """
    values = [value for part in (node, *node.all_input_nodes) for value in _values(part)]
    return (
        _is_known(node)
        and bool(values)
        and all(type_name(value) in TYPES and value.numel() for value in values)
        and all(isinstance(value, Tensor) and value.dim() for value in _values(node))
    )


def _is_known(node: Node) -> bool:
    """Whether the host knows an operator and the kind of its arguments; steps of a function too."""
    if node.target is composed:
        return all(
            target_name(operator) in OPERATORS and _is_plain((arguments, options))
            for operator, arguments, options in cast("Sequence[Step]", node.args[1])
        )
    known = operator_name(node) in OPERATORS or node.target in SORTS
    return known and _is_plain((node.args, _options(node)))


def operator_name(node: Node) -> str:
    """ATen's name of what a node calls, such as `cumsum.default`; empty for what is not ATen's."""
    return target_name(node.target)


def target_name(target: object) -> str:
    """ATen's name of an operator; empty for what is not ATen's."""
    if target is operator.getitem:
        return GETITEM
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return target.__name__
    return ""


def type_name(value: Tensor) -> str:
    """PyTorch's name of the type of a tensor, such as `float32`."""
    return str(value.dtype).removeprefix("torch.")


def _values(node: Node) -> list[Tensor]:
    """The tensors that are the value of a node: one, or several results."""
    value = node.meta.get("val")
    several = value if isinstance(value, tuple | list) else [value]
    return [part for part in several if isinstance(part, Tensor)]


def _options(node: Node) -> dict[str, object]:
    return {name: value for name, value in node.kwargs.items() if name not in PLACES}


def _is_plain(given: object) -> bool:
    """Whether `given` is made of numbers, names, types and nodes."""
    match given:
        case Mapping():
            return all(map(_is_plain, given.values()))
        case list() | tuple():
            return all(map(_is_plain, given))
        case torch.dtype():
            return str(given).removeprefix("torch.") in TYPES
    return given is None or isinstance(given, bool | int | float | str | Node)


class Transcript:
    """Nodes as calls, on values that are numbered in the order in which they come."""

    def __init__(self, given: list[Node]) -> None:
        self.values = {node: Value(index) for index, node in enumerate(given)}
        self.calls: list[Call] = []
        self._given = len(given)

    def add(self, node: Node) -> None:
        """Write a call down; equal elements keep their order where PyTorch would choose one."""
        if node.target in SORTS:
            self.values[node] = self._sort(node)
            return
        if node.target is composed:
            self.values[node] = self._steps(node)
            return
        name = operator_name(node)
        arguments = tuple(self._argument(argument) for argument in node.args)
        options = tuple((key, self._argument(value)) for key, value in _options(node).items())
        made = self._call(name, arguments, options)
        parent = cast(Node, node.args[0]) if name == GETITEM else node
        if parent.target is aten.topk.default:
            axis = cast(int, argument(parent, 2, "dim", -1))
            made = self._call("slice.Tensor", (made, axis, 0, cast(int, parent.args[1])))
        self.values[node] = made

    def _sort(self, node: Node) -> Value:
        """A stable sort: all of it, of which the readers of `topk` take the first."""
        top = node.target is aten.topk.default
        axis = cast(int, argument(node, 2 if top else 1, "dim", -1))
        descending = argument(node, 3, "largest", True) if top else argument(node, 2, "descending")
        options = {"stable": True, "dim": axis, "descending": bool(descending)}
        source = self._argument(node.args[0])
        return self._call("sort.stable", (source,), tuple(options.items()))

    def _steps(self, node: Node) -> Value:
        """A function of elements, step by step; tuples of one number name earlier values."""
        source, steps = node.args[:2]
        made = [self.values[cast(Node, source)]]

        def operand(given: object) -> Argument:
            return made[given[0]] if isinstance(given, tuple) else self._argument(given)

        for target, arguments, options in cast("Sequence[Step]", steps):
            named = tuple((key, operand(value)) for key, value in options.items())
            made.append(self._call(target_name(target), tuple(map(operand, arguments)), named))
        return made[-1]

    def _call(
        self,
        name: str,
        arguments: tuple[Argument, ...],
        options: tuple[tuple[str, Argument], ...] = (),
    ) -> Value:
        self.calls.append(Call(name, arguments, options))
        return Value(self._given + len(self.calls) - 1)

    def _argument(self, given: object) -> Argument:
        match given:
            case Node():
                return self.values[given]
            case torch.dtype():
                return TypeName(str(given).removeprefix("torch."))
            case list() | tuple():
                return tuple(map(self._argument, given))
            case None | bool() | int() | float() | str():
                return given
        raise AssertionError(f"{given!r} is not plain")
