"""`Origin`: how the integers of an artifact came about, from what its maker noted in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from intaglio.compiler.calibration import Method
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.precision_file import from_dict, to_dict
from intaglio.errors import ArtifactError, UsageError
from intaglio.templates.artifact import MANIFEST, Artifact


@dataclass(frozen=True, slots=True)
class Origin:
    """Calibration and bits.

    images     of calibration; 0 for one seeded normal image, None when another program chose them
    method     how scales, weights and biases follow from them; None when another program chose it
    precision  the bits that were asked for
    """

    images: int | None
    method: Method | None
    precision: Precision

    @classmethod
    def of(cls, artifact: Artifact) -> Origin | None:
        """What `artifact` notes; None when it notes no precision.

        Raises ArtifactError when a note is corrupt.
        """
        info, where = artifact.info, artifact.directory / MANIFEST
        if "precision" not in info:
            return None
        try:
            method, images = info["method"], info["calibration_images"]
            return cls(
                None if images is None else int(images),  # type: ignore[call-overload]
                None if method is None else Method(**method),  # type: ignore[arg-type]
                from_dict(info["precision"], "precision"),  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise ArtifactError(
                f"{where}: is corrupt ({type(error).__name__}: {error}); compile the model again"
            ) from error

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "calibration": {
                "images": self.images,
                "method": None if self.method is None else asdict(self.method),
            },
            "precision": to_dict(self.precision),
        }

    def __str__(self) -> str:
        return f"calibration: {self._calibration()}\nbits: {self._bits()}"

    def _calibration(self) -> str:
        if self.images is None or self.method is None:
            return "chosen by the task of the search"
        seen = "one seeded normal image" if not self.images else f"{self.images} images"
        method = self.method
        share = f" {method.percentile:g}" if method.observer == "percentile" else ""
        parts = [
            f"scales of activations by {method.observer}{share}, of weights by {method.weights}",
            f"weights rounded {'to nearest' if method.rounding == 'nearest' else 'compensated'}",
            *(["biases corrected"] if method.correct_bias else []),
        ]
        return f"{seen}; {', '.join(parts)}"

    def _bits(self) -> str:
        asked = self.precision
        whole = f"weights {asked.weight_bits}, activations {asked.activation_bits}"
        own = [f"{name} {_own(bits)}" for name, bits in asked.layers.items()]
        return "; ".join([f"{whole}, wide {asked.wide_bits}", *own])


def _own(bits: Bits) -> str:
    """What one layer has of its own."""
    both = {"weights": bits.weights, "activations": bits.activations}
    return ", ".join(f"{what} {value}" for what, value in both.items() if value is not None)
