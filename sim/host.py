"""Operators on the host as compiled kernels: compared with the reference, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.kernels import Network, compile_network
from intaglio.compiler.partition import alone
from intaglio.compiler.workload import Op, Workload
from intaglio.sim.verify_report import HostRun
from intaglio.templates.deployment import Deployment

Progress = Callable[[str, int, int], None]
Values = Mapping[str, NDArray[np.int64]]

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
    output = memory.empty(workload.tensor(op.output), 1)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        step.function(*arguments, output)
        seconds.append(time.perf_counter() - start)
    wrong = memory.unloaded(output) != values[op.output]
    return HostRun(op.name, wrong.size, int(wrong.sum()), 1e6 * min(seconds))
