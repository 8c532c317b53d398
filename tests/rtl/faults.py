"""Faults put into copies of the RTL as text; a test fails when that text is no longer there."""

from __future__ import annotations

from pathlib import Path

from intaglio.hw.sources import rtl_sources


def with_fault(name: str, text: str, old: str, new: str) -> str:
    """`text`, that of the file `name`, with `new` in place of `old`, which stands in it once."""
    found = text.count(old)
    assert found == 1, f"{name} holds {old!r} {found} times, not once: word the fault anew"
    return text.replace(old, new)


def faulty_sources(folder: Path, name: str, old: str, new: str) -> tuple[Path, ...]:
    """The RTL of the npu with a fault in the file `name`, a copy of which goes to `folder`."""
    sources = {path.name: path for path in rtl_sources("npu")}
    assert name in sources, f"no file of the npu is called {name}: word the fault anew"
    text = with_fault(name, sources[name].read_text(encoding="utf-8"), old, new)
    sources[name] = folder / name
    sources[name].write_text(text, encoding="utf-8")
    return tuple(sources.values())
