"""Kernels built by LLVM, each kept on disk under a hash of everything it was made from."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import tvm
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.target import Target, codegen

from intaglio.compiler.kernels.definition import Argument, Definition, Schedules
from intaglio.compiler.kernels.dots import available
from intaglio.compiler.kernels.operators import define
from intaglio.compiler.workload import Op, Workload
from intaglio.errors import ToolError
from intaglio.hw import store

LIBRARY = "kernel.so"
FUNCTION = "main"


@dataclass(frozen=True)
class Kernel:
    """One operator's function before it is scheduled, its arguments and its name.

    Operators of one structure have kernels of one name, whatever their weights.
    """

    name: str
    function: tirx.PrimFunc
    schedules: Schedules
    arguments: tuple[Argument, ...]
    target: Target

    def build(self, home: Path) -> tvm.runtime.Module:
        """The compiled function, from the folder `home` or built now.

        Raises ToolError when the C++ compiler that links it is missing or `home` is unwritable.
        """
        with store.entry(home, self.name, self._fill) as place:
            return tvm.runtime.load_module(str(place / LIBRARY))[FUNCTION]

    def _fill(self, work: Path, result: Path) -> None:
        if shutil.which("g++") is None:
            raise ToolError("the C++ compiler g++ is not on PATH; run: apt-get install g++")
        self.generate().export_library(str(result / LIBRARY), workspace_dir=str(work))

    def generate(self) -> tvm.runtime.Executable:
        """Machine code for `target`."""
        schedule = Schedule(self.function)
        self.schedules(schedule)
        return tvm.compile(schedule.mod, target=self.target)


@cache
def host() -> Target:
    """This processor and what it has: a virtual one may lack what its model has elsewhere."""
    features = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    marks = [f"{'+' if has else '-'}{name}" for name, has in sorted(features.items())]
    return Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu(), "mattr": marks})


def kernel(workload: Workload, op: Op, target: Target | None = None) -> Kernel:
    """The kernel of one operator for `target` (default: this machine).

    Raises UnsupportedError when the operator has no definition.
    """
    target = target or host()
    d = Definition(workload, op, available(target))
    output, schedules = define(d)
    function = te.create_prim_func([*(a.placeholder for a in d.arguments), output])
    text = "\n".join((tvm.ir.save_json(function), str(target), maker()))
    name = f"{type(op).__name__.lower()}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    return Kernel(name, function, schedules, tuple(d.arguments), target)


@cache
def maker() -> str:
    """What kernels depend on beside their definition: TVM, and how this package schedules."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return f"{version('apache-tvm')} {digest}"
