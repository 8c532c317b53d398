"""A whole workload as compiled kernels: from checked inputs to outputs, any number of images."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.numerics import Ints
from intaglio.compiler.workload import Host, Op, Workload, inputs, outputs
from intaglio.errors import ToolError
from intaglio.hw.store import Progress
from intaglio.hw.verilator import default_cache

if TYPE_CHECKING:
    from intaglio.compiler.kernels.library import Kernel

BATCH_BYTES = 1 << 28
"""Activations of the images that are computed together take no more, unless one image does."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: its compiled function, its arguments (an activation's name or an array on
    TVM's side), what it makes, and the activations that nothing reads after it.
    """

    function: Any
    arguments: tuple[Any, ...]
    outputs: tuple[str, ...]
    last: frozenset[str]


@dataclass(frozen=True)
class Network:
    """A compiled workload; `run` computes exactly what `reference.run` does."""

    workload: Workload
    steps: tuple[Step, ...]

    def run(
        self, inputs: Mapping[str, NDArray[np.integer]], *, activations: bool = False
    ) -> dict[str, Ints]:
        """The outputs, or with `activations` every activation, inputs included, as int64.

        An input has its tensor's shape (d0, d1, ...), or (images * d0, d1, ...).  Raises UsageError
        when an input is missing, unknown, of the wrong shape or out of range.
        """
        given = reference.checked_inputs(self.workload, inputs)
        wanted = [tensor.name for tensor in self.workload.activations()]
        if not activations:
            wanted = list(self.workload.outputs)
        images = _images(self.workload, given)
        size = max(1, BATCH_BYTES // _bytes(self.workload))
        parts = [
            self._batch(given, range(start, min(start + size, images)), wanted)
            for start in range(0, max(images, 1), size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def _batch(
        self, given: Mapping[str, Ints], images: range, wanted: list[str]
    ) -> dict[str, Ints]:
        """The tensors `wanted` of some of the images."""
        from intaglio.compiler.kernels import memory

        live = {
            name: memory.loaded(self.workload.tensor(name), array, images)
            for name, array in given.items()
        }
        made = {name: memory.unloaded(live[name]) for name in wanted if name in live}
        for step in self.steps:
            tensors = [self.workload.tensor(name) for name in step.outputs]
            outputs = [memory.empty(tensor, len(images)) for tensor in tensors]
            arguments = [live[a] if isinstance(a, str) else a for a in step.arguments]
            step.function(*arguments, *outputs)
            live.update(zip(step.outputs, outputs, strict=True))
            found = [name for name in step.outputs if name in wanted]
            made.update({name: memory.unloaded(live[name]) for name in found})
            for name in step.last:
                live.pop(name, None)
        return made


def compile_network(
    workload: Workload, *, cache: Path | None = None, progress: Progress | None = None
) -> Network:
    """`workload` compiled for this machine.

    `cache` is the folder of built kernels (default: the user's); what is there is not built again.
    Raises ToolError when TVM or the linker is missing, IntaglioError when the workload has no
    constants, and UnsupportedError when an operator has no kernel.
    """
    if importlib.util.find_spec("tvm") is None:
        raise ToolError("TVM is not installed; run: pip install 'intaglio[tvm]'")
    reference.check_constants(workload)
    from intaglio.compiler.kernels import library

    home = cache if cache is not None else default_cache().with_name("kernels")
    integer = [op for op in workload.ops if not isinstance(op, Host)]
    kernels = {op.name: library.kernel(workload, op) for op in integer}
    functions = _built(list(kernels.values()), home, progress)
    steps = tuple(
        _island(workload, op, home, last)
        if isinstance(op, Host)
        else _step(kernels[op.name], op, functions, last)
        for op, last in zip(workload.ops, _last_readers(workload), strict=True)
    )
    return Network(workload, steps)


def _step(kernel: Kernel, op: Op, functions: Mapping[str, Any], last: frozenset[str]) -> Step:
    from intaglio.compiler.kernels import memory

    arguments = tuple(memory.argument(a.value) for a in kernel.arguments)
    return Step(functions[kernel.name], arguments, outputs(op), last)


def _island(workload: Workload, op: Host, home: Path, last: frozenset[str]) -> Step:
    from intaglio.compiler.kernels.floats import island_kernel

    return Step(island_kernel(workload, op, home), op.inputs, op.outputs, last)


def _built(kernels: list[Kernel], home: Path, progress: Progress | None) -> dict[str, Any]:
    """The compiled function of each kernel, by name; kernels of one name are built once."""
    different = {kernel.name: kernel for kernel in kernels}
    functions = {}
    for done, (name, kernel) in enumerate(different.items(), 1):
        functions[name] = kernel.build(home)
        if progress is not None:
            progress("compile kernels", done, len(different))
    return functions


def _last_readers(workload: Workload) -> list[frozenset[str]]:
    """For each operator, the activations that no later one reads."""
    last = {name: index for index, op in enumerate(workload.ops) for name in inputs(op)}
    return [
        frozenset(name for name, at in last.items() if at == index)
        for index in range(len(workload.ops))
    ]


def _images(workload: Workload, given: Mapping[str, Ints]) -> int:
    """How many images the inputs hold."""
    first = workload.inputs[0]
    return len(given[first]) // workload.tensor(first).shape[0]


def _bytes(workload: Workload) -> int:
    """What the activations of one image take at most, at 8 bytes each."""
    return 8 * sum(tensor.elements for tensor in workload.activations())
