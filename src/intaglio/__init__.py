"""Engrave a PyTorch network into an accelerator.

`check` says what of a model an accelerator can run, `compile` writes an artifact (exact integer
workload, program, RTL), `simulate` counts its cycles (`estimate` those of a model, its weights
known or not), `verify` proves the RTL equal to the integer reference word for word, `accuracy` runs
the integer network on data, `summarise` shows what came out, `qat` trains with the rounding of the
integers, `compress` chooses the bits of every layer, and `explore` network and hardware together.
Names load on first use, so importing `intaglio` is fast and brings neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intaglio.api import (
        accuracy,
        check,
        compile,
        estimate,
        qat,
        simulate,
        summarise,
        verify,
    )
    from intaglio.choosing import compress, explore
    from intaglio.compiler.calibration import Method
    from intaglio.compiler.precision import Precision
    from intaglio.compiler.workload import Workload
    from intaglio.errors import (
        ArtifactError,
        CalibrationError,
        CaptureError,
        DesignError,
        IntaglioError,
        ToolError,
        UnsupportedError,
        UsageError,
        VerificationError,
    )
    from intaglio.templates.artifact import Artifact
    from intaglio.templates.npu.design import NpuDesign

__version__ = "0.1.0"

_HOMES = {
    "intaglio.api": (
        "accuracy",
        "check",
        "compile",
        "estimate",
        "qat",
        "simulate",
        "summarise",
        "verify",
    ),
    "intaglio.choosing": ("compress", "explore"),
    "intaglio.compiler.calibration": ("Method",),
    "intaglio.compiler.precision": ("Bits", "Precision"),
    "intaglio.compiler.workload": ("Workload",),
    "intaglio.errors": (
        "ArtifactError",
        "CalibrationError",
        "CaptureError",
        "DesignError",
        "IntaglioError",
        "OutputError",
        "ToolError",
        "UnsupportedError",
        "UsageError",
        "VerificationError",
    ),
    "intaglio.templates.artifact": ("Artifact",),
    "intaglio.templates.npu.design": ("NpuDesign",),
}

__all__ = [
    "Artifact",
    "ArtifactError",
    "Bits",
    "CalibrationError",
    "CaptureError",
    "DesignError",
    "IntaglioError",
    "Method",
    "NpuDesign",
    "OutputError",
    "Precision",
    "ToolError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
    "Workload",
    "accuracy",
    "check",
    "compile",
    "compress",
    "estimate",
    "explore",
    "qat",
    "summarise",
    "simulate",
    "verify",
]


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'intaglio' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
