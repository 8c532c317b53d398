"""A `Precision` as a TOML file, that people write by hand and `search` and `compress` write too.

    weights = 4
    activations = 8
    wide = 16
    wide_values = ["sums", "outputs"]

    [layers]
    conv1 = { weights = 8 }
    fc3 = { weights = 8, activations = 8 }

docs/precision.md explains every key.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from intaglio.compiler.precision import Bits, Precision
from intaglio.errors import UsageError, write_whole

_GLOBAL = {
    "weights": "weight_bits",
    "activations": "activation_bits",
    "wide": "wide_bits",
    "wide_values": "wide_values",
}
"""The file's keys that count for the whole network, and the fields that they are."""
_OWN = ("weights", "activations")
"""What one layer may have."""
_BARE = re.compile("[A-Za-z0-9_-]+")
"""Keys that TOML takes without quotes."""


def read_precision(path: Path) -> Precision:
    """The precision in the TOML file `path`; what it leaves out is the default.

    Raises UsageError, naming file, key and value, when the file is missing or no TOML, for an
    unknown key (with the nearest known one), and for a value that is no number of bits.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read precision '{path}': {error.strerror}; give the path of a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"precision '{path}' is not TOML: {error}; docs/precision.md has an example"
        ) from error
    return from_dict(values, str(path))


def write_precision(path: Path, precision: Precision, comment: str = "") -> None:
    """Write `precision` to `path` for `read_precision`, with a line of comment on top.

    Raises OutputError when the system refuses.
    """
    write_whole(path, (f"# {comment}\n" if comment else "") + to_toml(precision))


def from_dict(values: Mapping[str, Any], where: str) -> Precision:
    """The precision that plain values describe; `where` begins its error sentences."""
    _check_keys(values, (*_GLOBAL, "layers"), where)
    layers = values.get("layers", {})
    if not isinstance(layers, dict):
        raise UsageError(f"{where}: layers is {layers!r}, expected a table, as in [layers]")
    own = {name: _bits(entry, f"{where}: layers.{name}") for name, entry in layers.items()}
    given = {field: _plain(values[key]) for key, field in _GLOBAL.items() if key in values}
    try:
        return Precision(**given, layers=own)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def to_dict(precision: Precision) -> dict[str, Any]:
    """Plain values, as they stand in a file: every key of the network, what layers have."""
    values = {key: getattr(precision, field) for key, field in _GLOBAL.items()}
    return {
        **values,
        "wide_values": list(precision.wide_values),
        "layers": {name: _entries(bits) for name, bits in precision.layers.items()},
    }


def to_toml(precision: Precision) -> str:
    """The text of a file that `read_precision` reads back as `precision`."""
    values = to_dict(precision)
    layers = values.pop("layers")
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines += ["", "[layers]"] if layers else []
    for name, entries in layers.items():
        inside = ", ".join(f"{key} = {bits}" for key, bits in entries.items())
        key = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
        lines.append(f"{key} = {{ {inside} }}")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401 (checked by `Precision`)
    """A value of the network as `Precision` has it: what a file lists is a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _entries(bits: Bits) -> dict[str, int]:
    """What one layer has of its own."""
    own = {key: getattr(bits, key) for key in _OWN}
    return {key: value for key, value in own.items() if value is not None}


def _bits(entry: object, where: str) -> Bits:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}, expected a table, as in {{ weights = 4 }}")
    _check_keys(entry, _OWN, where)
    return Bits(**entry)


def _check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
            raise UsageError(f"{where}: unknown key '{key}'; {hint}")
