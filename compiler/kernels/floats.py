"""Islands of floats as compiled kernels: PyTorch's calls by way of Relax, scheduled, run by image.

What they make equals what PyTorch makes (`compiler/islands.py`) to `RELATIVE` and `ABSOLUTE`, and
to one step where it becomes integers: sums are added in another order, and functions such as exp
are other approximations.  Equal elements are sorted alike; those that differ by less than the
tolerance may change places.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tvm
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram
from tvm import relax
from tvm.ir import IRModule
from tvm.relax.frontend.torch import from_exported_program
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from intaglio.compiler import islands
from intaglio.compiler.graph import quiet
from intaglio.compiler.kernels import library, memory
from intaglio.compiler.kernels.conversions import CONVERSIONS
from intaglio.compiler.kernels.schedules import loops_are_plain, tiled
from intaglio.compiler.workload import Host, Workload
from intaglio.errors import ToolError, UnsupportedError
from intaglio.hw import store

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far a float may be from PyTorch's: |difference| <= ABSOLUTE + RELATIVE * |PyTorch's|."""
LIBRARY = "island.so"
ENTRY = "main"
Array = NDArray[Any]


@dataclass(frozen=True)
class IslandKernel:
    """One island, ready to run; called with its inputs and outputs on TVM's side."""

    workload: Workload
    op: Host
    function: Callable[..., Any]

    def __call__(self, *arguments: tvm.runtime.Tensor) -> None:
        """Compute the outputs, the last of `arguments`, image by image.

        Raises VerificationError as `islands.run` does.
        """
        count = len(self.op.inputs)
        named = zip(self.op.inputs, arguments[:count], strict=True)
        values = {name: memory.unloaded(array) for name, array in named}
        parts = [
            islands.leaving(self.workload, self.op, self.compute(values, image))
            for image in range(islands.images(self.workload, self.op, values))
        ]
        for name, output in zip(self.op.outputs, arguments[count:], strict=True):
            made = np.stack([part[name] for part in parts])
            output.copyfrom(made.astype(str(output.dtype)))

    def compute(self, values: islands.Values, image: int) -> list[Array]:
        """The results for one image, before any becomes integers."""
        given = islands.entering(self.workload, self.op, values, image)
        made = self.function(*map(tvm.runtime.tensor, given))
        several = [made] if isinstance(made, tvm.runtime.Tensor) else made
        return [array.numpy() for array in several]


def island_kernel(workload: Workload, op: Host, home: Path) -> IslandKernel:
    """The kernel of an island, from the folder `home` or built now.

    Raises UnsupportedError when TVM does not take the island, and ToolError when the C++ compiler
    that links it is missing.
    """

    def fill(work: Path, result: Path) -> None:
        if shutil.which("g++") is None:
            raise ToolError("the C++ compiler g++ is not on PATH; run: apt-get install g++")
        made = build(scheduled(imported(workload, op)))
        made.export_library(str(result / LIBRARY), workspace_dir=str(work))

    with store.entry(home, _name(workload, op), fill) as place:
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(place / LIBRARY)), tvm.cpu())
    return IslandKernel(workload, op, machine[ENTRY])


def imported(workload: Workload, op: Host) -> IRModule:
    """The island as loops of TVM's own, not yet scheduled.

    Raises UnsupportedError when TVM's importer does not take it.
    """
    try:
        with quiet():
            module = from_exported_program(
                _exported(workload, op),
                custom_convert_map=dict(CONVERSIONS),
                run_ep_decomposition=False,
                unwrap_unit_return_tuple=True,
            )
            return relax.get_pipeline("zero")(module)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
        line = f" ({op.source.line})" if op.source.line else ""
        raise UnsupportedError(
            f"{op.name}{line}: TVM has no kernel for it ({reason}); use the reference"
        ) from error


def scheduled(module: IRModule) -> IRModule:
    """`module` with its plain loops tiled, vectorised and shared among cores."""
    made = IRModule(module.functions, attrs=module.attrs)
    for name, function in module.functions.items():
        if isinstance(function, PrimFunc) and loops_are_plain(function):
            schedule = Schedule(function)
            tiled(schedule)
            made[name] = schedule.mod["main"].with_attr("tirx.is_scheduled", True)
    return made


def build(module: IRModule) -> relax.VMExecutable:
    """Machine code for this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tvm.compile(module, target=library.host())


class _Calls(nn.Module):
    """An island as a module of PyTorch."""

    def __init__(self, op: Host, constants: list[torch.Tensor]) -> None:
        super().__init__()
        self.op = op
        for index, constant in enumerate(constants):
            self.register_buffer(f"constant_{index}", constant)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(islands.compute(self.op, [*inputs, *self.buffers()]))


def _exported(workload: Workload, op: Host) -> ExportedProgram:
    kinds = [getattr(torch, kind) for kind in op.types]
    shapes = [workload.tensor(name).shape for name in op.inputs]
    examples = tuple(
        torch.zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=False)
    )
    numbers = [torch.from_numpy(workload.constants[name].copy()) for name in op.numbers]
    typed = [n.to(kind) for n, kind in zip(numbers, kinds[len(op.inputs) :], strict=True)]
    with torch.no_grad():
        return torch.export.export(_Calls(op, typed), examples, strict=False)


def _name(workload: Workload, op: Host) -> str:
    """The name under which an island is kept: all that its code follows from."""
    shapes = [workload.tensor(name).shape for name in op.inputs]
    text = repr((op.types, shapes, op.calls, op.results, str(library.host()), library.maker()))
    digest = hashlib.sha256(text.encode())
    for name in op.numbers:
        digest.update(np.ascontiguousarray(workload.constants[name]).tobytes())
    return f"host-{digest.hexdigest()[:24]}"
