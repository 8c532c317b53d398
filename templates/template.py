"""`Template`: the one seam of extension, and the families there are.

A family of accelerators is reached through this protocol alone.  Another package adds its own by an
entry point of the group `intaglio.templates` that names a `Template` value:

    [project.entry-points."intaglio.templates"]
    mine = "my_package.template:TEMPLATE"
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar

from intaglio.compiler.workload import Op, Workload
from intaglio.errors import UsageError
from intaglio.templates.npu import emit as npu_emit
from intaglio.templates.npu import schedule as npu_schedule
from intaglio.templates.npu import supports as npu_supports
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.schedule import Progress

ENTRY_POINTS = "intaglio.templates"
Design = TypeVar("Design")
Schedule = TypeVar("Schedule")


class Template(Protocol[Design, Schedule]):
    """Everything a family of accelerators does."""

    @property
    def name(self) -> str:
        """What users call it."""

    def design(self, path: Path | None) -> Design:
        """The design in the file `path`, or the default one; raises UsageError or DesignError."""

    def supports(self, op: Op, workload: Workload, design: Design) -> str | None:
        """Why `design` cannot execute `op`, with the way out; None when it can."""

    def schedule(
        self,
        workload: Workload,
        design: Design,
        progress: Progress | None = None,
        *,
        images: int = 1,
    ) -> Schedule:
        """Map `workload` onto `design`, to take `images` images one after the other.

        Raises UnsupportedError or DesignError, and UsageError for too many images.
        """

    def emit(self, schedule: Schedule, directory: Path) -> tuple[Path, ...]:
        """Write hardware and images into `directory`; returns the files, relative to it."""


@dataclass(frozen=True, slots=True)
class NpuTemplate:
    """The instruction-driven tensor processor of docs/npu.md."""

    name: str = "npu"

    def design(self, path: Path | None) -> NpuDesign:
        """The design in the TOML file `path`, or the default one."""
        return NpuDesign() if path is None else NpuDesign.from_toml(path)

    def supports(self, op: Op, workload: Workload, design: NpuDesign) -> str | None:
        """Why `design` cannot execute `op`, with the way out; None when it can."""
        reason = npu_supports.supports(op, workload, design)
        return npu_schedule.misfit(op, workload, design) if reason is None else reason

    def schedule(
        self,
        workload: Workload,
        design: NpuDesign,
        progress: Progress | None = None,
        *,
        images: int = 1,
    ) -> Program:
        """The program of `workload` for `design`, which takes `images` images."""
        return npu_schedule.schedule(workload, design, progress, images=images)

    def emit(self, schedule: Program, directory: Path) -> tuple[Path, ...]:
        """Write `rtl/` and `images/` into `directory`."""
        return npu_emit.emit(schedule, directory)


TEMPLATES: tuple[Template[Any, Any], ...] = (NpuTemplate(),)
"""The families that come with intaglio."""


def find_template(name: str) -> Template[Any, Any]:
    """The family called `name`: one of intaglio's own, or one that an entry point adds.

    Raises UsageError, with the nearest known name, when there is none.
    """
    own = {template.name: template for template in TEMPLATES}
    if name in own:
        return own[name]
    added = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in added:
        template: Template[Any, Any] = added[name].load()
        return template
    known = [*own, *added]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
    raise UsageError(f"unknown template '{name}'; {hint}")
