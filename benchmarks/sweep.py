"""Random networks on random designs, in RTL word for word: writes the tables of docs/sweep.md.

Each design (`sweep_designs`) is built once, without optimisation of the C++, as its runs are short.
Networks are drawn for it and run twice, with and without stalls of memory (`sweep_run`).  Of what
fails, the smallest network and design are printed and left in `build/sweep`.

    python -m benchmarks.sweep [--large] [--only NUMBER ...] [--networks N] [--check]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.sweep_designs import designs
from benchmarks.sweep_features import coverage, missing, table
from benchmarks.sweep_run import Swept, leave, sweep
from intaglio.compiler.serialise import describe
from intaglio.progress import Callback, bars

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sweep.md"
LEFT = Path("build") / "sweep"
NETWORKS = 50
"""Of each design."""
MARKS = {
    False: ("<!-- designs: made by make sweep -->", "<!-- end of designs -->"),
    True: ("<!-- large designs: made by make sweep-large -->", "<!-- end of large designs -->"),
}
COLUMNS = (
    "number", "rows x columns", "KiB of activations, weights, sums", "bytes a cycle, latency",
    "window columns", "row lanes", "weight bits", "networks", "refused", "words compared",
    "cycles in RTL, measured", "simulated",
)  # fmt: skip


def measure(
    large: bool, numbers: Sequence[int], count: int, progress: Callback
) -> Iterator[tuple[int, Swept]]:
    """The outcome of each design, as they end; every design has a process of its own."""
    made = designs(large)
    context = multiprocessing.get_context("spawn")
    workers = min(len(numbers), len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers, context, max_tasks_per_child=1) as pool:
        tasks = {pool.submit(sweep, made[n], n, count, None): n for n in numbers}
        progress("run designs in RTL", 0, len(tasks))
        for done, task in enumerate(as_completed(tasks)):
            progress("run designs in RTL", done + 1, len(tasks))
            yield tasks[task], task.result()


def row(number: int, swept: Swept) -> str:
    """One design's line of the table."""
    design, compared = swept.design, swept.compared
    kib = design.activation_buffer_kib, design.weight_buffer_kib, design.accumulator_buffer_kib
    cells = (
        number, f"{design.rows} x {design.cols}", ", ".join(map(str, kib)),
        f"{design.memory_bytes_per_cycle}, {design.memory_latency_cycles}",
        design.window_columns, design.row_lanes, design.weight_bits,
        len(compared), len(swept.refused), *_sums((swept,)),
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _sums(several: Iterable[Swept]) -> tuple[str, ...]:
    """Words compared, and cycles of both kinds, of all networks together."""
    compared = [network for swept in several for network in swept.compared]
    words = sum(network.words for network in compared)
    rtl = sum(network.cycles_rtl for network in compared)
    simulated = sum(network.cycles_simulated for network in compared)
    return f"{words:,}", f"{rtl:,}", f"{simulated:,}"


def tables(found: dict[int, Swept]) -> str:
    """Both tables: designs, and what of networks ran on which of them."""
    networks = sum(len(swept.compared) for swept in found.values())
    words, rtl, simulated = _sums(found.values())
    covered = coverage([(s.design, c.features) for s in found.values() for c in s.compared])
    lines = (
        f"{len(found)} designs, {networks:,} networks, {words} words compared, all equal; {rtl} "
        f"cycles in RTL (measured), {simulated} simulated.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---:|" * len(COLUMNS),
        *(row(number, swept) for number, swept in found.items()),
        "",
        *table(covered),
    )
    return "\n".join(lines) + "\n"


def failures(found: dict[int, Swept], large: bool) -> Iterable[str]:
    """What is printed of every design that failed: the smallest case, and how to run it again."""
    for number, swept in found.items():
        if swept.failure is None:
            continue
        case, folder = swept.failure.case, LEFT / swept.design.name.replace(" ", "_")
        yield f"\n{swept.design.name}: {swept.failure.reason}"
        yield f"the smallest network that fails:\n{describe(case.workload)}"
        yield f"on {case.design}"
        if leave(case, ROOT / folder):
            yield f"run it again: intaglio verify {folder} --seed {case.seed}"
        stalls = f"when memory stalls in {case.stall_permille} of 1,000 cycles"
        again = f"python -m benchmarks.sweep{' --large' if large else ''} --only {number} --check"
        yield f"run all of its networks again, and {stalls}: {again}"


def write(text: str, large: bool, page: Path = PAGE) -> None:
    """Put `text` between its marks of the page."""
    start, end = MARKS[large]
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{start}\n\n{text}\n{end}{after}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Random networks on random designs, in RTL.")
    parser.add_argument("--large", action="store_true", help="designs above 1,024 multipliers")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="these designs")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="drawn for each design")
    parser.add_argument("--check", action="store_true", help="print, and leave the page alone")
    return parser.parse_args()


def main() -> int:
    """Run the sweep; 1 when something differs, or when a whole one misses what it is for."""
    chosen = arguments()
    numbers = chosen.only or range(len(designs(chosen.large)))
    found: dict[int, Swept] = {}
    with bars() as progress:
        for number, swept in measure(chosen.large, numbers, chosen.networks, progress):
            found[number] = swept
            print(
                "\n".join((row(number, swept), *failures({number: swept}, chosen.large))),
                flush=True,
            )
    if any(swept.failure for swept in found.values()):
        return 1
    found = {number: found[number] for number in numbers}
    text = tables(found)
    print(text)
    whole = not chosen.only and chosen.networks == NETWORKS
    lacking = missing(
        coverage([(s.design, c.features) for s in found.values() for c in s.compared])
    )
    if whole and lacking:
        print(f"no network with: {', '.join(lacking)}; draw more of them")
        return 1
    if whole and not chosen.check:
        write(text, chosen.large)
    return 0


if __name__ == "__main__":
    sys.exit(main())
