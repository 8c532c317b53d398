"""The command line: what each verb accepts, and the one place that makes errors exit codes.

Exit codes: 0 good, 1 refused or different, 2 wrong usage, 70 internal error, 130 interrupted.
With `--json`, standard output holds one JSON object and nothing else, for errors too.  What a
verb does is in `intaglio.verbs`, which is imported when one runs.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import intaglio
from intaglio.errors import IntaglioError, UsageError
from intaglio.options import as_options

INTERNAL_ERROR = 70
INTERRUPTED = 130

app = typer.Typer(
    name="intaglio",
    help="Engrave a PyTorch network into an accelerator.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="file.py:callable or package.module:callable, returning (module, example_inputs), "
        "a .pt2 archive, or an .onnx file",
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="an artifact that compile wrote")]
Template = Annotated[str, typer.Option(help="accelerator family")]
Design = Annotated[Path | None, typer.Option(help="design parameters, a TOML file")]
Bits = Annotated[
    str | None,
    typer.Option(
        metavar="W,A[,WIDE]",
        help="bits of weights, activations, and (16 unless given) scores and sums ahead of norms "
        "[default: 8,8]",
    ),
]
PrecisionFile = Annotated[
    Path | None,
    typer.Option(
        "--precision", metavar="FILE", help="bits of all layers, a TOML file: docs/precision.md"
    ),
]
Observer = Annotated[
    str, typer.Option(metavar="NAME", help="scales of activations: minmax, percentile or mse")
]
WeightObserver = Annotated[
    str, typer.Option(metavar="NAME", help="scales of weights: minmax, or mse for few bits")
]
CorrectBias = Annotated[
    bool, typer.Option("--correct-bias", help="take the mean error of weights from biases")
]
Calibration = Annotated[
    Path | None, typer.Option(metavar="X.npz", help="inputs to calibrate on, by input name")
]
Rounding = Annotated[str, typer.Option(metavar="NAME", help="of weights: nearest or compensated")]
Trust = Annotated[bool, typer.Option("--trust", help="allow a .pt2 archive to run its own code")]
AllowHost = Annotated[
    bool, typer.Option("--allow-host", help="leave to the host what the design cannot run")
]
Images = Annotated[
    int, typer.Option(min=1, help="how many one run takes, each begun under the end of the last")
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.callback(invoke_without_command=True)
def front(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Engrave a PyTorch network into an accelerator."""
    if version:
        typer.echo(f"intaglio {intaglio.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def check(
    model: Model,
    template: Template = "npu",
    design: Design = None,
    bits: Bits = None,
    precision: PrecisionFile = None,
    trust: Trust = False,
    allow_host: AllowHost = False,
    as_json: Json = False,
) -> int:
    """List what an accelerator can run of a model."""
    from intaglio import request, verbs

    asked = request.Request(model, template, design, trust, allow_host, bits, precision)
    return verbs.show(verbs.check(asked, quiet=as_json), as_json)


@app.command()
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="where to write")],
    template: Template = "npu",
    design: Design = None,
    bits: Bits = None,
    precision: PrecisionFile = None,
    calibration: Calibration = None,
    observer: Observer = "minmax",
    weight_observer: WeightObserver = "minmax",
    correct_bias: CorrectBias = False,
    rounding: Rounding = "nearest",
    trust: Trust = False,
    allow_host: AllowHost = False,
    images: Images = 1,
    force: Annotated[bool, typer.Option("--force", help="replace DIR when it exists")] = False,
    as_json: Json = False,
) -> int:
    """Write an artifact: workload, program, RTL, images."""
    from intaglio import request, verbs

    asked = request.Request(model, template, design, trust, allow_host, bits, precision)
    method = request.method(observer, weight_observer, rounding, correct_bias=correct_bias)
    outcome = verbs.compile(
        asked,
        output,
        calibration=calibration,
        method=method,
        images=images,
        force=force,
        quiet=as_json,
    )
    return verbs.show(outcome, as_json)


@app.command()
def estimate(
    model: Model,
    template: Template = "npu",
    design: Design = None,
    bits: Bits = None,
    precision: PrecisionFile = None,
    trust: Trust = False,
    allow_host: AllowHost = False,
    images: Images = 1,
    as_json: Json = False,
) -> int:
    """Simulate one run of a model, its weights known or not, without an artifact."""
    from intaglio import request, verbs

    asked = request.Request(model, template, design, trust, allow_host, bits, precision)
    return verbs.show(verbs.estimate(asked, images=images, quiet=as_json), as_json)


@app.command()
def simulate(
    folder: Folder,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the busy intervals here, as JSON")
    ] = None,
    as_json: Json = False,
) -> int:
    """Count cycles, stalls and bytes of one run."""
    from intaglio import verbs

    return verbs.show(verbs.simulate(folder, trace=trace, quiet=as_json), as_json)


@app.command()
def verify(
    folder: Folder,
    images: Annotated[
        int | None, typer.Option(min=1, help="how many to compare [default: those of one run]")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="X.npz", help="inputs to run, by input name")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the inputs drawn when there is no --data")] = 0,
    host: Annotated[
        bool, typer.Option("--host", help="also compare and time the operators on the host")
    ] = False,
    as_json: Json = False,
) -> int:
    """Compare the RTL with the reference, word for word."""
    from intaglio import verbs

    outcome = verbs.verify(folder, images=images, data=data, seed=seed, host=host, quiet=as_json)
    return verbs.show(outcome, as_json)


@app.command()
def accuracy(
    folder: Folder,
    data: Annotated[Path, typer.Option(metavar="X.npz", help="inputs to run, by input name")],
    labels: Annotated[
        str | None, typer.Option(metavar="KEY", help="array of X.npz with the class numbers")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="KEY", help="array of X.npz with float outputs")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="tvm or reference (default: what ends first)")
    ] = None,
    as_json: Json = False,
) -> int:
    """Run the integer network on data: top-1, or agreement with float."""
    from intaglio import verbs

    outcome = verbs.accuracy(
        folder, data=data, labels=labels, reference=reference, engine=engine, quiet=as_json
    )
    return verbs.show(outcome, as_json)


@app.command()
def search(
    specification: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="what to search: see docs/search.md")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="where to write")],
    resume: Annotated[bool, typer.Option("--resume", help="go on with the study in DIR")] = False,
    as_json: Json = False,
) -> int:
    """Choose network and hardware together, then prove the choice."""
    from intaglio import verbs

    return verbs.show(verbs.search(specification, output, resume=resume, quiet=as_json), as_json)


@app.command()
def compress(
    model: Model,
    data: Annotated[Path, typer.Option(metavar="X.npz", help="inputs to judge by, by input name")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="where to write")],
    kib: Annotated[
        float | None, typer.Option(help="of weights and activations at their own bits, at most")
    ] = None,
    cycles: Annotated[int | None, typer.Option(help="of one image, simulated, at most")] = None,
    weights: Annotated[
        str, typer.Option(metavar="BITS", help="to choose from, for weights; 2 are ternary")
    ] = "2,3,4,8",
    activations: Annotated[
        str, typer.Option(metavar="BITS", help="to choose from, for outputs of layers")
    ] = "8",
    divergence: Annotated[
        str, typer.Option(metavar="NAME", help="of outputs from float: kl or mse")
    ] = "kl",
    template: Template = "npu",
    design: Design = None,
    calibration: Calibration = None,
    observer: Observer = "minmax",
    weight_observer: WeightObserver = "minmax",
    correct_bias: CorrectBias = False,
    rounding: Rounding = "nearest",
    trust: Trust = False,
    allow_host: AllowHost = False,
    force: Annotated[bool, typer.Option("--force", help="replace FILE when it exists")] = False,
    as_json: Json = False,
) -> int:
    """Choose the bits of every layer within a size or cycles."""
    from intaglio import request, verbs

    asked = request.Request(model, template, design, trust, allow_host)
    outcome = verbs.compress(
        asked,
        output,
        data=data,
        kib=kib,
        cycles=cycles,
        choices=request.Choices.of(weights, activations, divergence),
        calibration=calibration,
        method=request.method(observer, weight_observer, rounding, correct_bias=correct_bias),
        force=force,
        quiet=as_json,
    )
    return verbs.show(outcome, as_json)


@app.command()
def report(folder: Folder, as_json: Json = False) -> int:
    """Show an artifact, layer by layer."""
    from intaglio import verbs

    return verbs.show(verbs.report(folder, quiet=as_json), as_json)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Say what is installed and what is missing."""
    from intaglio import verbs

    return verbs.show(verbs.doctor(), as_json)


@app.command()
def demo(
    network: Annotated[str, typer.Argument(help="lenet5 or resnet8")] = "lenet5",
    images: Annotated[int, typer.Option(min=1, help="how many digits the RTL classifies")] = 32,
    as_json: Json = False,
) -> int:
    """Take a network from real digits to proven RTL."""
    from intaglio import verbs

    return verbs.show(verbs.demo(network, images=images, quiet=as_json), as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` by default) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        code = app(words, prog_name="intaglio", standalone_mode=False)
    except IntaglioError as error:
        notes = getattr(error, "__notes__", [])
        message = as_options(str(error))
        return _fail(type(error).__name__, message, error.exit_code, as_json, notes)
    except typer.TyperException as error:
        return _fail("UsageError", error.format_message(), UsageError.exit_code, as_json)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        return _fail("InternalError", _internal(error), INTERNAL_ERROR, as_json)
    if code == INTERRUPTED:
        return _fail("Interrupted", "interrupted", INTERRUPTED, as_json)
    return code if isinstance(code, int) else 0


def _fail(kind: str, message: str, code: int, as_json: bool, notes: Sequence[str] = ()) -> int:
    """State one error and its notes, as text on standard error or as JSON on standard output."""
    if as_json:
        details = {"notes": list(notes)} if notes else {}
        typer.echo(json.dumps({"error": {"kind": kind, "message": message, **details}}))
    else:
        typer.echo("\n".join((f"error: {message}", *notes)), err=True)
    return code


def _internal(error: Exception) -> str:
    """The sentence about an exception that nobody meant to raise."""
    return f"this is a bug in intaglio: {type(error).__name__}: {error}"
