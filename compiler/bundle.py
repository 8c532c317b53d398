"""Values on disk: structure as JSON text, and the numbers beside it in safetensors, hashed.

Nothing is executed on reading; every failure is one sentence that names the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from intaglio.errors import ArtifactError

Numbers = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """The two files of one kind of value: `kind`.json of version `schema`, `kind`.safetensors."""

    kind: str
    schema: int

    def save(
        self, folder: Path, described: Mapping[str, Any], numbers: Mapping[str, NDArray[Any]]
    ) -> tuple[Path, Path]:
        """Write both files into `folder`; returns their paths.

        The JSON text holds the SHA-256 of the numbers.
        """
        packed = save_tensors({name: np.ascontiguousarray(a) for name, a in numbers.items()})
        structure, numbers_path = self._paths(folder)
        text = {
            "schema": self.schema,
            "numbers": {"file": numbers_path.name, "sha256": hashlib.sha256(packed).hexdigest()},
            self.kind: described,
        }
        numbers_path.write_bytes(packed)
        structure.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        return structure, numbers_path

    def load(self, folder: Path) -> tuple[dict[str, Any], Numbers]:
        """The structure and the numbers that `save` wrote.

        Raises ArtifactError when a file is missing, corrupt, of another schema, or when the
        numbers do not match their hash.
        """
        path, numbers_path = self._paths(folder)
        try:
            text = json.loads(_read(path))
            schema, expected = text["schema"], text["numbers"]["sha256"]
            described = text[self.kind]
        except (ValueError, KeyError, TypeError) as error:
            raise self.corrupt(folder, error) from error
        if schema != self.schema:
            raise ArtifactError(
                f"{path}: schema {schema} is not {self.schema}, the one this version reads; "
                "compile the model again"
            )
        packed = _read(numbers_path)
        if hashlib.sha256(packed).hexdigest() != expected:
            raise ArtifactError(
                f"{numbers_path}: its SHA-256 is not the one {path.name} names; compile the model "
                "again"
            )
        try:
            return described, dict(load_tensors(packed))
        except (ValueError, SafetensorError) as error:
            raise self.corrupt(folder, error) from error

    def corrupt(self, folder: Path, error: Exception) -> ArtifactError:
        """The error to raise when what was read is not what it should be."""
        path, _ = self._paths(folder)
        return ArtifactError(
            f"{path}: is corrupt ({type(error).__name__}: {error}); compile the model again"
        )

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two files, structure first."""
        return f"{self.kind}.json", f"{self.kind}.safetensors"

    def _paths(self, folder: Path) -> tuple[Path, Path]:
        structure, numbers = self.names
        return folder / structure, folder / numbers


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); compile the model again"
        ) from error
