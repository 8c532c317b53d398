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


def host_sources(family: str) -> tuple[Path, ...]:
    """The C of the processor beside an accelerator of `family`, and how to build it."""
    folder = Path(__file__).parent / "driver" / "host"
    return tuple(sorted((*folder.glob(f"{family}_*"), folder / "README.md")))
