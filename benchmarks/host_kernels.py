"""Operators of the host, scheduled and as TVM leaves them: writes docs/host-kernels.md.

Both are machine code of the same loops, run in turn on the same drawn values; results that differ
by more than the tolerance of floats end it.  Times are measured on this machine, one image each.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor, nn
from torch.nn import functional
from tvm import relax

from benchmarks.kernels import seconds
from intaglio.compiler import islands, reference
from intaglio.compiler.kernels import floats, library, memory
from intaglio.compiler.partition import alone
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Host, Op, Workload
from intaglio.sim.host import machine

PAGE = Path(__file__).parents[1] / "docs" / "host-kernels.md"
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """A layer or function, the operator of the workload that it becomes, and its input."""

    name: str
    operator: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes."""
        return self.function(x)


def volume() -> nn.Module:
    """A convolution in three dimensions whose weight is computed: it has no integer form."""
    weight = torch.randn(16, 8, 3, 3, 3) / 15
    return Function(lambda x: functional.conv3d(x, weight * x.mean((1, 2, 3, 4), True), padding=1))


CASES = (
    Case(
        "convolution 64x56x56, 3x3, int8",
        "Conv2d",
        lambda: nn.Conv2d(64, 64, 3, padding=1),
        (1, 64, 56, 56),
    ),
    Case(
        "product 197x384 by 384x1536, int8", "MatMul", lambda: nn.Linear(384, 1536), (1, 197, 384)
    ),
    Case(
        "product of two, 197x384, int8",
        "BatchMatMul",
        lambda: Function(lambda x: x @ x.transpose(1, 2)),
        (1, 197, 384),
    ),
    Case(
        "softmax 8x197x197, int16",
        "Softmax",
        lambda: Function(lambda x: torch.softmax(x, -1)),
        (1, 8, 197, 197),
    ),
    Case("layer norm 197x384, int16", "Norm", lambda: nn.LayerNorm(384), (1, 197, 384)),
    Case("convolution 8x16x28x28, 3x3x3, float32", "Host", volume, (1, 8, 16, 28, 28)),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of one image, both ways."""

    name: str
    default: float
    scheduled: float

    @property
    def ratio(self) -> float:
        """How many times as fast the scheduled kernel is."""
        return self.default / self.scheduled


def measure(case: Case) -> Figures:
    """Both forms of one operator, compared and timed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        workload = to_workload(case.model().eval(), (torch.randn(case.shape),), allow_host=True)
    op = next(op for op in workload.ops if type(op).__name__ == case.operator)
    inputs = reference.quantise_inputs(
        workload,
        {name: _drawn(workload, name) for name in workload.inputs},
    )
    values = reference.run(workload, inputs)
    runs = (
        _float_runs(workload, op, values) if isinstance(op, Host) else _runs(workload, op, values)
    )
    (default, first), (scheduled, second) = runs
    default()
    scheduled()
    if not all(map(_close, first(), second())):
        raise AssertionError(f"{case.name}: the scheduled kernel makes something else")
    return Figures(case.name, seconds(default), seconds(scheduled))


def _drawn(workload: Workload, name: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(workload.tensor(name).shape)


def _close(first: np.ndarray, second: np.ndarray) -> bool:
    if first.dtype.kind == "f":
        return np.allclose(first, second, floats.RELATIVE, floats.ABSOLUTE)
    return np.array_equal(first, second)


Run = tuple[Callable[[], object], Callable[[], Sequence[np.ndarray]]]
"""Runs a kernel, and gives what it made last."""


def _runs(workload: Workload, op: Op, values: reference.Values) -> list[Run]:
    """The kernel of an integer operator: TVM's default, then scheduled."""
    kernel = library.kernel(alone(workload, op), op)
    arguments = [
        memory.loaded(workload.tensor(a.value), values[a.value], range(1))
        if isinstance(a.value, str)
        else memory.argument(a.value)
        for a in kernel.arguments
    ]
    made = []
    for form in (replace(kernel, schedules=lambda s: None), kernel):
        output = memory.empty(workload.tensor(op.output), 1)
        made.append(_run(form.generate()["main"], [*arguments, output], output))
    return made


def _run(function: Any, arguments: list[Any], output: Any) -> Run:  # noqa: ANN401
    return lambda: function(*arguments), lambda: [output.numpy()]


def _float_runs(workload: Workload, op: Host, values: reference.Values) -> list[Run]:
    """The kernel of an island: TVM's default, then scheduled."""
    given = [tvm.runtime.tensor(a) for a in islands.entering(workload, op, values, 0)]
    module = floats.imported(workload, op)
    made = []
    for form in (module, floats.scheduled(module)):
        function = relax.VirtualMachine(floats.build(form), tvm.cpu())["main"]
        made.append(_island_run(function, given))
    return made


def _island_run(function: Any, given: list[Any]) -> Run:  # noqa: ANN401
    def results() -> list[np.ndarray]:
        made = function(*given)
        several = [made] if isinstance(made, tvm.runtime.Tensor) else made
        return [array.numpy() for array in several]

    return lambda: function(*given), results


def page(figures: Sequence[Figures], load: float) -> str:
    """The text of docs/host-kernels.md; `load` is the machine's average load of the last minute."""
    rows = [
        f"| {f.name} | {1e3 * f.default:.2f} ms | {1e3 * f.scheduled:.2f} ms | {f.ratio:.1f} |"
        for f in figures
    ]
    return "\n".join(
        (
            "# Operators of the host, scheduled",
            "",
            "What stays on the host (docs/host.md) runs as kernels of TVM, integer or float.  TVM",
            "by default leaves the loops as they are written; `compiler/kernels` arranges them:",
            "sums of products in tiles of registers (integers on packed operands, docs/kernels.md;",
            "floats by `schedules.tile`), all else side by side in registers, and shared by cores.",
            "On a busy machine sharing a short kernel among cores costs more than it gains.",
            "",
            "Made by `python -m benchmarks.host_kernels`: seeded weights, drawn inputs, one image,",
            "the fastest of 5 runs of each, both in one process; their results were compared.",
            f"Machine: {machine()} ({platform.machine()}); load {load:.1f} when the run began;",
            f"apache-tvm {version('apache-tvm')}.",
            "",
            "| operator | TVM's default, measured | scheduled, measured | ratio |",
            "|---|---|---|---|",
            *rows,
            "",
        )
    )


def main() -> int:
    """Measure, print and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    load = os.getloadavg()[0]
    text = page([measure(case) for case in CASES], load)
    PAGE.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
