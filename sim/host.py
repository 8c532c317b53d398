"""Operators on the host as compiled kernels: compared with the reference, and timed.

Integers are compared exactly; what an island of floats makes, to the tolerance of its kernels: a
float to `floats.RELATIVE` and `floats.ABSOLUTE`, an integer that floats were quantised to, to one
step.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.kernels import Network, compile_network
from intaglio.compiler.partition import alone
from intaglio.compiler.workload import Host, Op, Workload
from intaglio.sim.verify_report import HostRun
from intaglio.templates.deployment import Deployment

Progress = Callable[[str, int, int], None]
Array = NDArray[np.int64]
Values = Mapping[str, Array]

REPEATS = 5
"""How often an operator runs; the least time is told, the others hold what else the machine did."""


def run(
    deployment: Deployment,
    values: Values,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[HostRun, ...]:
    """Every operator on the host, run on `values`: those of every tensor for one image.

    `cache` is the folder of built kernels.  Raises ToolError when TVM or the linker is missing and
    UnsupportedError when an operator has no kernel.
    """
    workload, hosted, runs = deployment.workload, deployment.partition.hosted, []
    for done, op in enumerate(hosted):
        if progress is not None:
            progress("run the host's operators", done, len(hosted))
        network = compile_network(alone(workload, op), cache=cache)
        runs.append(_run(network, workload, op, values))
    return tuple(runs)


def _run(network: Network, workload: Workload, op: Op, values: Values) -> HostRun:
    from intaglio.compiler.kernels import memory

    (step,) = network.steps
    arguments = [
        memory.loaded(workload.tensor(argument), values[argument], range(1))
        if isinstance(argument, str)
        else argument
        for argument in step.arguments
    ]
    made = [memory.empty(workload.tensor(name), 1) for name in step.outputs]
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        step.function(*arguments, *made)
        seconds.append(time.perf_counter() - start)
    found = dict(zip(step.outputs, map(memory.unloaded, made), strict=True))
    elements = sum(array.size for array in found.values())
    wrong = sum(_differing(workload, op, name, found[name], values[name]) for name in found)
    return HostRun(op.name, elements, wrong, 1e6 * min(seconds))


def _differing(workload: Workload, op: Op, name: str, found: Array, expected: Array) -> int:
    """How many elements of one tensor are not what the reference makes."""
    from intaglio.compiler.kernels.floats import ABSOLUTE, RELATIVE

    tensor = workload.tensor(name)
    if tensor.element.is_float:
        close = np.isclose(found, expected, RELATIVE, ABSOLUTE, equal_nan=True)
        return int((~close).sum())
    rounded = isinstance(op, Host) and tensor.scale != 1.0
    return int((np.abs(found - expected) > (1 if rounded else 0)).sum())


def machine() -> str:
    """The processor that times are measured on, and how many of its cores there are."""
    named = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
        named = models[0] if models else named
    return f"{named.strip()}, {os.cpu_count()} cores"
