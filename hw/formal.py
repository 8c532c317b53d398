"""Proofs about blocks of the RTL: assertions that hold in every cycle, whatever comes in.

A proof is a top module in `hw/formal` that instantiates the block, assumes what its surroundings
promise and asserts what the block does; the RTL itself holds no assertion.  Yosys (read_slang)
makes an and-inverter graph of it, with memories as registers and all registers that nothing
initialises free.  ABC finds an invariant that holds at the start, from cycle to cycle, and wherever
no assertion fails (pdr: property-directed reachability, Bradley 2011, Een et al. 2011), and checks
it once more; or, where a proof names a depth, it shows that no assertion fails in the first cycles
(bmc3) nor in the one after so many that keep all of them (scorr: k-induction, Sheeran et al. 2000,
of one assertion after the other).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from intaglio.errors import ToolError
from intaglio.hw import yosys
from intaglio.hw.sources import rtl_sources

FORMAL = Path(__file__).parent / "formal"
_FAILED = re.compile(r'Output (\d+) of miter ".*" was asserted in frame (\d+)\.')
_COMPLAINT = re.compile(r"\w+\.sv:\d+: ERROR: .*|ERROR: .*")
_SIZE = re.compile(r"lat *= *(\d+) +and *= *(\d+)")
_FRAMES = re.compile(r"Invariant F\[(\d+)\]|timeout .* in frame (\d+)")
_STARTS = re.compile(r"No output asserted in (\d+) frames")
_INDUCTIVE, _OPEN = "UNSATISFIABLE", "Currently can only solve the miter for combinational circuits"
"""ABC's words when induction leaves no assertion, and when it leaves any."""
_CONFLICTS = 1_000_000
"""That the step of induction may take for one assertion."""
_DEEPEST = 16
"""Cycles in which a failure is looked for of what induction leaves."""
_GRACE = 60
"""Seconds that the tools get beyond those of the proof itself."""
_PASSES = (
    "proc",
    "flatten",
    "opt_clean",
    "chformal -lower",
    "memory_map",
    "opt -fast",
    "async2sync",
    "dffunmap",
    "setundef -undriven -anyseq",
    "techmap",
    "opt -fast -nodffe -nosdff",
    "dffunmap",
    "aigmap",
    "opt_clean",
)
_WRITE = "write_aiger -zinit -I -B -no-startoffset -ywmap names.json graph.aig"
_READ = ("read_aiger graph.aig", "print_stats", "fold", "strash")


@dataclass(frozen=True, slots=True)
class Proof:
    """A module of `hw/formal` with its parameters, the block that it is about, and what it says.

    `induction` is the depth of a proof by induction; without it an invariant is looked for.
    """

    top: str
    block: str
    says: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    induction: int | None = None


_ORDER = "no beat lost, doubled, changed or overtaken; no more inside than fits; none stays inside"
PROOFS = (
    Proof("fifo_proof", "fifo", _ORDER, {"Width": 4, "Depth": 4}),
    Proof("slice_proof", "register_slice", _ORDER, {"Width": 4}),
    Proof("narrow_proof", "stream_narrow", _ORDER, {"OutBits": 3, "Ratio": 4}),
    Proof("widen_proof", "stream_widen", _ORDER, {"InBits": 3, "Ratio": 4}),
    Proof("delay_proof", "delay_line", "what enters leaves that many cycles later", {"Cycles": 5}),
    Proof(
        "burst_proof",
        "axi_burst_split",
        "bursts are the run's beats in order, none empty, over 256 beats or across 4 KiB",
        {"AddrBits": 40, "RunBits": 28, "BeatBytes": 16},
    ),
    Proof(
        "tokens_proof",
        "npu_tokens",
        "tokens there are those given less those taken, from 0 to 255, for every pair of units",
        induction=1,
    ),
    Proof(
        "issue_proof",
        "npu_issue",
        "every instruction issues and retires once, in order, with its own tokens and mark; none "
        "is taken that is not there or given without room; one retires in 5 free cycles",
        {"QueueDepth": 2},
        induction=7,
    ),
    Proof(
        "deadlock_proof",
        "npu_issue, npu_tokens",
        "of a program in a legal order the oldest instruction finds every token that it takes and "
        "room for those that it gives; it retires in 5 free cycles",
        {"QueueDepth": 2},
        induction=1,
    ),
    Proof(
        "reader_proof",
        "npu_reader",
        "fetch and load each get the data of their own bursts, which hold no beat too many; at "
        "most one burst of load goes before a waiting one of fetch; at most 16 are outstanding",
        {"ReadAhead": 4},
        induction=1,
    ),
    Proof(
        "act_buffer_proof",
        "npu_act_buffer",
        "one access a bank by priority; reads get what was granted to be written last",
        {"ActWords": 8},
    ),
    *(
        Proof(
            "counters_proof",
            "npu_control",
            "the counter is cleared, counts in all 64 bits and is what its addresses read",
            {"Counter": counter},
        )
        for counter in range(23)
    ),
)
"""What is proven of the RTL, with the sizes that it is proven for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proof.

    `proven`: no assertion can ever fail. `failed`: the one called `assertion` fails in cycle
    `cycle`, counted from 0. `undecided`: the time, or the depth of induction, was not enough.
    `frames` is how many cycles deep the search for an invariant went, or the depth of induction;
    `registers` and `gates` are those of the graph; `seconds` are measured, of the processor.
    """

    verdict: Literal["proven", "failed", "undecided"]
    assertions: tuple[str, ...]
    registers: int
    gates: int
    frames: int
    seconds: float
    assertion: str = ""
    cycle: int | None = None


def formal_sources() -> tuple[Path, ...]:
    """The RTL of the npu and the modules that assert, packages first."""
    return (*rtl_sources("npu"), *sorted(FORMAL.glob("*.sv")))


def prove(
    top: str,
    parameters: Mapping[str, int] | None = None,
    *,
    sources: Sequence[Path] | None = None,
    induction: int | None = None,
    seconds: int = 300,
) -> Outcome:
    """Prove every assertion of the module `top`, with these `parameters`, for all time.

    By induction of that depth when one is given. `sources` are those of `formal_sources` unless
    others are given. Raises ToolError when a tool is missing or cannot read the sources.
    """
    if not yosys.installed():
        raise ToolError(yosys.MISSING)
    chosen = " ".join(f"-G {name}={value}" for name, value in (parameters or {}).items())
    started = _spent()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = "".join(f'"{path.resolve()}"\n' for path in sources or formal_sources())
        (folder / "sources.f").write_text(files, encoding="utf-8")
        passes = f"read_slang --top {top} {chosen} -f sources.f", *_PASSES, _WRITE
        _run(folder, yosys.command(*passes), top, seconds)
        names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        log = _run(folder, yosys.abc(*_READ, *_engine(induction, seconds)), top, seconds)
    found = tuple(path[-1].lstrip("\\") for path in names["asserts"])
    return _outcome(top, log, found, induction, _spent() - started)


def _spent() -> float:
    """Seconds of the processor that all tools until now have taken."""
    times = os.times()
    return times.children_user + times.children_system


def _engine(induction: int | None, seconds: int) -> tuple[str, ...]:
    if induction is None:
        return (f"pdr -T {seconds}",)
    return (
        f"bmc3 -F {induction + 1} -T {seconds}",
        f"scorr -o -C {_CONFLICTS} -F {induction}",
        f"bmc3 -F {_DEEPEST} -T {seconds}",
        "orpos",
        "sat",
    )


def _run(folder: Path, command: list[str], top: str, seconds: int) -> str:
    """What a command says in `folder`; raises ToolError when it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds + _GRACE,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"the proof of '{top}' did not end; give it more than {seconds} s"
        ) from error
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    if done.returncode != 0 or any(line.startswith("ERROR") for line in lines):
        why = next(filter(None, map(_COMPLAINT.search, lines)), None)
        said = why.group() if why else f"exit code {done.returncode}"
        raise ToolError(f"'{top}' cannot be proven: {said}; mend its sources")
    return done.stdout


def _outcome(
    top: str, log: str, names: tuple[str, ...], induction: int | None, seconds: float
) -> Outcome:
    """What ABC's words say; raises ToolError when they say nothing that is known."""
    size, frames, failed = _SIZE.search(log), _FRAMES.search(log), _FAILED.search(log)
    if size is None:
        raise ToolError(f"'{top}' cannot be proven: ABC did not read its graph; mend its sources")
    registers, gates = map(int, size.groups())
    depth = induction or (int(next(filter(None, frames.groups()))) if frames else 0)
    found = names, registers, gates, depth, seconds
    if failed:
        output, cycle = map(int, failed.groups())
        return Outcome("failed", *found, assertion=names[output], cycle=cycle)
    if "Property proved." in log or (_holds_at_first(log, induction) and _INDUCTIVE in log):
        return Outcome("proven", *found)
    if "UNDECIDED" in log or _INDUCTIVE in log or _OPEN in log:
        return Outcome("undecided", *found)
    raise ToolError(f"'{top}' cannot be proven: ABC said '{log.strip().splitlines()[-1]}'")


def _holds_at_first(log: str, induction: int | None) -> bool:
    """Whether no assertion failed in as many cycles as induction starts from."""
    found = _STARTS.search(log)
    return induction is not None and found is not None and int(found.group(1)) > induction
