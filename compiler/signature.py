"""What of a workload decides how it is mapped: equal layers of a network have equal signatures."""

from __future__ import annotations

from dataclasses import fields

from intaglio.compiler.operators import OPERANDS, Op, Requantise, constants, epilogues, inputs
from intaglio.compiler.workload import Workload

Signature = tuple[object, ...]
_NAMES = frozenset(
    {"name", "source", "reason", "output", "outputs", "inputs", "numbers", "weight", "value"}
    | {"epilogue", "epilogues", *OPERANDS}
)
"""Fields of operators that hold names, or what is looked at apart."""


def names(workload: Workload) -> tuple[str, ...]:
    """Its activation tensors in execution order: equal signatures, equal places."""
    return tuple(tensor.name for tensor in workload.activations())


def signature(workload: Workload) -> Signature:
    """Shapes, types, operators and how they are joined; no name, scale or constant.

    Two workloads of one signature, both without constants, have the same program on any design.
    """
    places = {name: place for place, name in enumerate(names(workload))}
    return (
        tuple((tensor.shape, tensor.element) for tensor in workload.activations()),
        tuple(places[name] for name in workload.inputs),
        tuple(places[name] for name in workload.outputs),
        tuple(_operator(workload, op, places) for op in workload.ops),
    )


def _operator(workload: Workload, op: Op, places: dict[str, int]) -> Signature:
    stored = [workload.tensor(name) for name in constants(op)]
    return (
        type(op),
        tuple(places[name] for name in inputs(op)),
        tuple((tensor.shape, tensor.element) for tensor in stored),
        tuple(map(_epilogue, epilogues(op))),
        tuple(
            (part.name, getattr(op, part.name)) for part in fields(op) if part.name not in _NAMES
        ),
    )


def _epilogue(epilogue: Requantise) -> Signature:
    return (
        epilogue.lo,
        epilogue.hi,
        epilogue.residual is not None,
        epilogue.residual_multiplier is not None,
        epilogue.table is not None,
    )
