"""Bytes of a memory or buffer, each with a flag that says whether anything defined it."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from intaglio.errors import VerificationError


class Storage:
    """Bytes with a flag beside each that says whether anything defined it.

    `unit` names the addresses that messages speak of and `unit_bytes` is what one of them holds.
    Reads that may reach over the end find `overhang` undefined bytes there.
    """

    def __init__(self, name: str, size: int, unit: str, unit_bytes: int, overhang: int = 0) -> None:
        self.name = name
        self.size = size
        self.unit = unit
        self.unit_bytes = unit_bytes
        self.data = np.random.default_rng(0).integers(0, 256, size + overhang, dtype=np.uint8)
        self.defined = np.zeros(size + overhang, dtype=bool)

    def _check(self, starts: np.ndarray, count: int, size: int) -> None:
        last = int(starts.max()) + count - 1
        if last >= size:
            raise VerificationError(
                f"reaches {self.unit} {last // self.unit_bytes} of the {self.name}, which ends "
                f"at {self.size // self.unit_bytes - 1}"
            )

    def read(self, starts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Lines of `count` bytes and their flags, both of shape `(*starts.shape, count)`.

        `starts` holds the byte addresses of their first bytes.  Raises VerificationError when a
        line leaves the storage.
        """
        if not starts.size or not count:
            return np.zeros((*starts.shape, count), np.uint8), np.ones((*starts.shape, count), bool)
        self._check(starts, count, self.data.size)
        return (
            sliding_window_view(self.data, count)[starts],
            sliding_window_view(self.defined, count)[starts],
        )

    def read_defined(self, starts: np.ndarray, count: int) -> np.ndarray:
        """Like `read`; raises VerificationError when a byte is undefined."""
        data, defined = self.read(starts, count)
        if not defined.all():
            self.refuse_undefined(starts, defined)
        return data

    def refuse_undefined(self, starts: np.ndarray, defined: np.ndarray) -> None:
        """Raises VerificationError for the first address whose flag is not set."""
        where = np.argwhere(~defined)[0]
        address = int(starts[tuple(where[:-1])]) + int(where[-1])
        raise VerificationError(
            f"reads {self.unit} {address // self.unit_bytes} of the {self.name}, "
            "which nothing has written"
        )

    def write(self, starts: np.ndarray, data: np.ndarray, defined: np.ndarray | bool) -> None:
        """Write `data` of shape `(*starts.shape, count)` and its flags."""
        if not data.size:
            return
        self._check(starts, data.shape[-1], self.size)
        where = starts[..., None] + np.arange(data.shape[-1])
        self.data[where] = data
        self.defined[where] = defined
