"""Functions that numba turns into machine code where it is installed, and the tables they work on.

There is one text for both ways of running, and one result.  A `Table` is a sequence of records of
one dataclass, whose fields are int, bool, a `part` or `several`: for machine code an array of
structures, else a list of the dataclass' own instances.  The text reads `table[k].field` both ways.

Machine code is kept in the user's cache, for each `entry` with all that it calls.  Without numba,
or where nothing can be kept, the same functions run as Python, some twenty times slower.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

try:
    import numba
except ImportError:
    numba = None

Function = TypeVar("Function", bound=Callable[..., Any])
Record = TypeVar("Record")
Table = Sequence[Record]

_TYPES = {"int": np.dtype(np.int64), "bool": np.dtype(np.bool_)}
_SOURCES = (Path(__file__).parent, Path(__file__).parents[1] / "templates" / "npu")
_INNER = {
    "error_model": "numpy",  # divisors are proven not to be zero, or asked
    "no_cpython_wrapper": True,  # only compiled functions call it
    "no_cfunc_wrapper": True,
    "_nrt": False,  # tables belong to the caller of `entry`: nothing is counted or freed
}
"""What numba is told of functions that only compiled functions call: a third of its time."""


def _cache_folder() -> Path | None:
    """Where machine code made from these sources is kept; None where there is no such place.

    Its name says what all sources are, as numba looks only at the file of the `entry`.
    """
    digest = hashlib.sha256()
    for source in sorted(path for folder in _SOURCES for path in folder.glob("*.py")):
        digest.update(source.read_bytes())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "intaglio" / "simulator" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


_CACHE = None if numba is None or numba.config.DISABLE_JIT else _cache_folder()
MACHINE_CODE = _CACHE is not None
"""Whether functions are compiled."""


def is_made() -> bool:
    """Whether a first call runs at once: nothing is compiled, or machine code is in the cache."""
    return _CACHE is None or any(_CACHE.rglob("*.nbc"))


def compiled(function: Function) -> Function:
    """`function`, compiled with the `entry` that calls it, in whose place it stands."""
    if not MACHINE_CODE:
        return function
    return cast(Function, numba.njit(**_INNER, forceinline=True)(function))


def shared(function: Function) -> Function:
    """`function`, compiled once for all that call it."""
    return cast(Function, numba.njit(**_INNER)(function)) if MACHINE_CODE else function


def entry(function: Function) -> Function:
    """`function`, which Python calls: compiled at its first call ever, then read from the cache."""
    if not MACHINE_CODE:
        return function
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_CACHE)
    try:
        return cast(Function, numba.njit(cache=True)(function))
    finally:
        numba.config.CACHE_DIR = before


def part(kind: type[Record]) -> Record:
    """A field that holds a record of the dataclass `kind`."""
    return field(default_factory=kind, metadata={"kind": kind, "shape": ()})


def several(kind: type[Record], *shape: int) -> list[Any]:
    """A field that holds records of the dataclass `kind`, or numbers, along one or two axes."""

    def made(count: int, *inner: int) -> list[Any]:
        return [made(*inner) if inner else kind() for _ in range(count)]

    metadata = {"kind": kind, "shape": shape}
    return field(default_factory=lambda: made(*shape), metadata=metadata)


def one(kind: type[Record]) -> Table[Record]:
    """A table of one record with the defaults of the dataclass `kind`."""
    return cast(Table[Record], _blank(cast(Any, kind)).copy()) if MACHINE_CODE else [kind()]


def first(table: Table[Record]) -> Record:
    """The first record of a table, as Python reads and changes it."""
    return cast(Record, cast(Any, table).view(np.recarray)[0]) if MACHINE_CODE else table[0]


def filled(kind: type[Record], columns: Mapping[str, NDArray[Any]]) -> Table[Record]:
    """A table of the dataclass `kind` from arrays (count,); fields without one are defaults."""
    if not MACHINE_CODE:
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [kind(**dict(zip(columns, row, strict=True))) for row in rows]
    count = len(next(iter(columns.values())))
    table = np.empty(count, _structure(cast(Any, kind)))
    for item in fields(cast(Any, kind)):
        table[item.name] = columns.get(item.name, item.default)
    return cast(Table[Record], table)


def values(array: NDArray[Any]) -> list[Any]:
    """Numbers along one or two axes, as compiled functions read and change them."""
    return cast(list[Any], array if MACHINE_CODE else array.tolist())


def column(table: Table[Any], name: str) -> NDArray[Any]:
    """One field of all records, of shape (count,)."""
    if MACHINE_CODE:
        return cast(NDArray[Any], table)[name].copy()
    return np.array([getattr(record, name) for record in table], None if table else np.int64)


@cache
def _blank(kind: type[Any]) -> NDArray[Any]:
    """One record with the defaults of `kind` as an array of structures, of shape (1,)."""
    return np.array([_plain(kind())], _structure(cast(Any, kind)))


def _plain(value: object) -> object:
    """Records as tuples of their fields."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not is_dataclass(value):
        return value
    return tuple(_plain(getattr(value, item.name)) for item in fields(value))


@cache
def _structure(kind: type[Any]) -> np.dtype[Any]:
    return np.dtype([(item.name, *_form(item)) for item in fields(kind)], align=True)


def _form(item: Field[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape of a field."""
    if "kind" not in item.metadata:
        return _TYPES[str(item.type)], ()
    kind: Any = item.metadata["kind"]
    whole = _TYPES.get(kind.__name__)
    return _structure(kind) if whole is None else whole, item.metadata["shape"]
