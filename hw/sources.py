"""The SystemVerilog files of a template family, in the order that every tool reads them."""

from __future__ import annotations

from pathlib import Path

from intaglio.errors import UsageError

_RTL = Path(__file__).parent / "rtl"


def rtl_sources(family: str) -> tuple[Path, ...]:
    """Files of `family` and of the common cells it builds on, packages first.

    Raises UsageError naming the families there are.
    """
    families = sorted(p.name for p in _RTL.iterdir() if p.is_dir() and p.name != "common")
    if family not in families:
        raise UsageError(f"no RTL of family '{family}'; known are {', '.join(families)}")
    files = (*_RTL.joinpath("common").glob("*.sv"), *_RTL.joinpath(family).glob("*.sv"))
    return tuple(sorted(files, key=lambda path: (not path.stem.endswith("_pkg"), path.name)))


def manual(family: str) -> Path:
    """The document of `family`: its registers, instructions and data formats."""
    return _RTL / family / f"{family}.md"


def host_sources(part: str) -> tuple[Path, ...]:
    """The C that runs beside an accelerator: the driver of a family, or `host` for operators."""
    return tuple(sorted((Path(__file__).parent / "driver" / "host").glob(f"{part}_*.[ch]")))


def host_manual() -> Path:
    """How to build and place the C that runs beside an accelerator."""
    return Path(__file__).parent / "driver" / "host" / "README.md"
