"""What several verbs ask for, as the command line gives it: a model, a design, bits, a method."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from intaglio.compiler.calibration import Method
from intaglio.compiler.precision import Precision
from intaglio.compiler.precision_file import read_precision
from intaglio.errors import UsageError
from intaglio.search.sensitivity import Divergence
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.template import find_template

if TYPE_CHECKING:
    from intaglio.compiler.calibration import Observer, Rounding, WeightObserver
    from intaglio.compiler.model import Model


@dataclass(frozen=True, slots=True)
class Request:
    """What `check`, `compile`, `estimate` and `compress` have in common."""

    model: str
    template: str
    design: Path | None
    trust: bool
    allow_host: bool = False
    bits: str | None = None
    precision_file: Path | None = None

    def load(self) -> Model:
        """The model and its example inputs."""
        from intaglio.compiler.model import load_model

        return load_model(self.model, trust=self.trust)

    def read_design(self) -> NpuDesign:
        """The design of the file, or the template's default one.

        Raises UsageError for an unknown template and for anything wrong with the file.
        """
        design: NpuDesign = find_template(self.template).design(self.design)
        return design

    def precision(self) -> Precision:
        """The bits of the file, those of `--bits`, or the default ones.

        Raises UsageError when both are given, unless `bits` is `W,A` or `W,A,WIDE`, and for
        anything wrong with the file.
        """
        if self.precision_file is None:
            return Precision() if self.bits is None else Precision(*_numbers(self.bits))
        if self.bits is not None:
            raise UsageError(
                f"--bits {self.bits} and --precision '{self.precision_file}' are both given; keep "
                "one of them, since the file holds the bits of all layers"
            )
        return read_precision(self.precision_file)


def _numbers(bits: str) -> list[int]:
    try:
        numbers = [int(part) for part in bits.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3):
        raise UsageError(
            f"--bits is '{bits}', expected two or three numbers as in --bits 8,8 or "
            "--bits 8,8,16 (weights, activations, wide values)"
        )
    return numbers


def method(observer: str, weights: str, rounding: str, *, correct_bias: bool) -> Method:
    """How to calibrate.  Raises UsageError for a name that is not known."""
    return Method(
        observer=cast("Observer", observer),
        weights=cast("WeightObserver", weights),
        rounding=cast("Rounding", rounding),
        correct_bias=correct_bias,
    )


@dataclass(frozen=True, slots=True)
class Choices:
    """What `compress` chooses from, and how it compares outputs."""

    weights: tuple[int, ...]
    activations: tuple[int, ...]
    divergence: Divergence

    @classmethod
    def of(cls, weights: str, activations: str, divergence: str) -> Choices:
        """From the command line.

        Raises UsageError for what is no list of bits, and for an unknown divergence.
        """
        if divergence not in get_args(Divergence):
            known = ", ".join(get_args(Divergence))
            raise UsageError(f"'{divergence}' is no divergence; choose one of {known}")
        return cls(
            _listed("--weights", weights),
            _listed("--activations", activations),
            cast("Divergence", divergence),
        )


def _listed(option: str, text: str) -> tuple[int, ...]:
    """Bits that are given as `2,4,8`, each once."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"{option} is '{text}', expected numbers of bits as in {option} 4,8")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))
