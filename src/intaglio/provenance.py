"""What an artifact notes about its making."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from intaglio.compiler.precision_file import to_dict

if TYPE_CHECKING:
    from intaglio.compiler.calibration import Method
    from intaglio.compiler.precision import Precision

PACKAGES = ("intaglio", "numpy", "torch", "torchao")
"""Whose versions count."""


def provenance(
    template: str, seed: int, images: int | None, method: Method | None, precision: Precision
) -> dict[str, object]:
    """JSON values: template, seed, `images` of calibration, method, precision, versions.

    No images mean one seeded normal image; None that whoever made the network chose them, and the
    method.
    """
    return {
        "template": template,
        "seed": seed,
        "calibration_images": images,
        "method": None if method is None else asdict(method),
        "precision": to_dict(precision),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
