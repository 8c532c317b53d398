"""What computes a network where only its outputs count: compiled kernels or the reference.

Both compute the same words, islands of floats on the host to the tolerance of `kernels.floats`, and
accuracy, search and benchmarks may use either.  `verify` never comes here: what hardware is
compared with stays numpy, and for islands PyTorch.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from intaglio.compiler import reference
from intaglio.compiler.numerics import Ints
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError

Engine = Literal["reference", "tvm"]
Run = Callable[[Mapping[str, Ints]], Mapping[str, Ints]]
"""From the integers of every input to at least every output, images along axis 0."""
Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""

COMPUTED_BY: Mapping[Engine, str] = {"reference": "the reference", "tvm": "compiled kernels"}
"""What a report says of an engine."""
MACS_PER_SECOND = 5e9
SECONDS_PER_VALUE = 4e-8
"""What the reference takes for products, and for each integer that it makes, estimated."""
SECONDS_PER_KERNEL = 0.5
"""What compiling an operator takes, estimated; all three from the networks in docs/kernels.md."""


def chosen(workload: Workload, images: int, engine: Engine | None = None) -> Engine:
    """`engine`, or else the one that ends first on `images` images, by estimate.

    Kernels are chosen where TVM and a linker are installed and the reference would compute for as
    long as all kernels take to compile.  Raises UsageError when there is no such engine.
    """
    if engine is not None:
        if engine not in get_args(Engine):
            known = ", ".join(get_args(Engine))
            raise UsageError(f"'{engine}' is no engine; choose one of {known}")
        return engine
    compiling = SECONDS_PER_KERNEL * len(workload.ops)
    worthwhile = images * reference_seconds(workload) >= compiling
    return "tvm" if worthwhile and kernels_can_be_built() else "reference"


def reference_seconds(workload: Workload) -> float:
    """What the reference takes for one image, estimated."""
    macs = sum(workload.macs(op) for op in workload.ops)
    values = sum(tensor.elements for tensor in workload.activations())
    return macs / MACS_PER_SECOND + values * SECONDS_PER_VALUE


def kernels_can_be_built() -> bool:
    """Whether TVM, and the C++ compiler that links its kernels, are installed."""
    return importlib.util.find_spec("tvm") is not None and shutil.which("g++") is not None


def runner(workload: Workload, engine: Engine, progress: Progress | None = None) -> Run:
    """`workload` on an engine.

    Raises ToolError when the engine is not installed, IntaglioError when the workload has no
    constants, and UnsupportedError when an operator has no kernel.
    """
    if engine == "reference":
        reference.check_constants(workload)
        return lambda integers: reference.run(workload, integers)
    from intaglio.compiler.kernels import compile_network

    return compile_network(workload, progress=progress).run
