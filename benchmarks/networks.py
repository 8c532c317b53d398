"""Whole networks on the default npu: writes the table in README.md.

For each network: what becomes of its nodes, its multiply-accumulates and how many of them the npu
does, how close the integer network stays to the float one on inputs that did not calibrate it, and
the simulated cycles of one inference (those of the npu; the host's time is not simulated).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intaglio import api
from intaglio.compiler import execution, reference
from intaglio.compiler.calibration import Method
from intaglio.compiler.capture import capture
from intaglio.compiler.execution import COMPUTED_BY, Engine
from intaglio.compiler.model import load_model
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import IntaglioError
from intaglio.examples.attention import embeddings, tokenised
from intaglio.examples.efficientnet import crops, split
from intaglio.progress import bars

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- networks: made by benchmarks/networks.py -->\n", "<!-- end of networks -->\n"
CALIBRATION_IMAGES = 16
IMAGES = 4
METHOD = Method(observer="mse", correct_bias=True)
Values = NDArray[np.float64]
Draw = Callable[[int, int], list[Tensor]]
"""Inputs for a number of images, drawn from a seed."""
View = Callable[[Values, Sequence[Tensor]], Values]
"""What of the first output is compared, given the inputs: one row an image."""


@dataclass(frozen=True, slots=True)
class Network:
    """What a row is called, and the MODEL behind it.

    `draw` makes its data where seeded numbers will not do, and `view` what is compared where it is
    not the first output as it stands; `precision` holds its bits.
    """

    name: str
    model: str
    draw: Draw | None = None
    view: View | None = None
    precision: Precision = Precision()


def photographs(images: int, seed: int) -> list[Tensor]:
    """Crops of photographs; those of an odd seed and those of an even one come from others."""
    chosen = split()[seed % 2]
    cut = crops(chosen, -(-images // len(chosen)), seed)
    return [torch.from_numpy(cut.images[:images])]


def sentences(images: int, seed: int, joined: int = 1) -> list[Tensor]:
    """Token ids and masks of made-up sentences, `joined` of them each; seeded."""
    random = np.random.default_rng(seed)
    made = [
        " ".join(" ".join(random.choice(part) for part in PARTS) + "." for _ in range(joined))
        for _ in range(images)
    ]
    return [torch.from_numpy(array) for array in tokenised(made).values()]


def sentence_vectors(hidden: Values, inputs: Sequence[Tensor]) -> Values:
    """The embeddings of sentences from the values of their tokens."""
    return np.asarray(embeddings(hidden, inputs[1].numpy()), np.float64)


PARTS = (
    ("A tired", "The second", "Every honest", "Some northern", "My late"),
    ("engineer", "baker", "river", "orchestra", "committee", "telescope"),
    ("measured", "remembered", "sold", "crossed", "described", "repaired"),
    ("the broken bridge", "three letters", "an old promise", "the price of copper"),
    ("before dawn", "without a word", "for the first time", "in the rain", "twice"),
)
EXAMPLES = "intaglio.examples"
NETWORKS = (
    Network("LeNet-5", f"{EXAMPLES}.networks:lenet5"),
    Network("ResNet-8", f"{EXAMPLES}.networks:resnet8"),
    Network("ResNet-18", f"{EXAMPLES}.networks:resnet18"),
    Network("ResNet-50", f"{EXAMPLES}.vision:resnet50"),
    Network("MobileNetV2", f"{EXAMPLES}.vision:mobilenet_v2"),
    Network(
        "EfficientNet-Lite0, real weights",
        f"{EXAMPLES}.efficientnet:efficientnet_lite0",
        photographs,
    ),
    Network(
        "the same with 16 bits where 8 lose most",
        f"{EXAMPLES}.efficientnet:efficientnet_lite0",
        photographs,
        precision=Precision(wide_values=("sums", "outputs", "bottlenecks", "stem")),
    ),
    Network("U-Net, 128x128", f"{EXAMPLES}.vision:unet"),
    Network("keyword spotting MLP", f"{EXAMPLES}.sequences:keyword_mlp"),
    Network("keyword spotting DS-CNN", f"{EXAMPLES}.sequences:keyword_dscnn"),
    Network("LSTM", f"{EXAMPLES}.sequences:lstm"),
    Network("GRU", f"{EXAMPLES}.sequences:gru"),
    Network("ViT-Tiny", f"{EXAMPLES}.attention:vit_tiny"),
    Network(
        "MiniLM encoder, real weights",
        f"{EXAMPLES}.attention:minilm",
        sentences,
        sentence_vectors,
    ),
    Network(
        "the same with 16 bits behind norms too",
        f"{EXAMPLES}.attention:minilm",
        sentences,
        sentence_vectors,
        Precision(wide_values=("sums", "norms")),
    ),
    Network("GPT-2 style, 32 tokens read", f"{EXAMPLES}.decoders:gpt2_prompt"),
    Network("GPT-2 style, one step after 32", f"{EXAMPLES}.decoders:gpt2_step"),
)
COLUMNS = (
    "network",
    "nodes mapped / host / refused",
    "MACs",
    "of them on the npu",
    "cosine of integer and float outputs, measured",
    "cycles, simulated",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One network.

    `mapped` counts the nodes that are operators of the npu or part of one, `cosine` is the mean
    over images, of integers that `engine` computes, `cycles` are those of the npu for one image.
    """

    name: str
    mapped: int
    hosted: int
    refused: int
    macs: int
    npu_macs: int
    cosine: float
    engine: Engine
    cycles: int

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        return (
            self.name,
            f"{self.mapped} / {self.hosted} / {self.refused}",
            f"{self.macs / 1e6:.1f} M",
            f"{self.npu_macs / max(self.macs, 1):.1%}",
            f"{self.cosine:.4f}",
            f"{self.cycles:,}",
        )


def measure(network: Network, folder: Path) -> Row:
    """Check, compile, simulate and run one network; its artifact goes to `folder`."""
    name = network.name
    loaded = load_model(network.model)
    module = loaded.module
    assert isinstance(module, nn.Module)
    report = api.check(module, loaded.example_inputs, precision=network.precision, allow_host=True)
    if report.refused:
        raise IntaglioError(f"{name}: {report.refused[0]}")
    names = tuple(capture(module, loaded.example_inputs).shapes)
    draw = network.draw or partial(_like, loaded.example_inputs)
    calibration = draw(CALIBRATION_IMAGES, 1)
    with bars() as progress:
        artifact = api.compile(
            module,
            loaded.example_inputs,
            calibration={key: value.numpy() for key, value in zip(names, calibration, strict=True)},
            output=folder,
            name=loaded.name,
            method=METHOD,
            precision=network.precision,
            allow_host=True,
            progress=progress,
        )
    trace = api.simulate(artifact)
    hosted = sum(row.macs for row in trace.hosted)
    inputs = draw(IMAGES, 2)
    workload = artifact.deployment.workload
    engine = execution.chosen(workload, IMAGES)
    return Row(
        name,
        sum(verdict.status in ("mapped", "folded") for verdict in report.verdicts),
        len(report.hosted),
        len(report.refused),
        trace.macs + hosted,
        trace.macs,
        _cosine(network, module, workload, inputs, engine),
        engine,
        trace.cycles,
    )


def _like(examples: Sequence[Tensor], images: int, seed: int) -> list[Tensor]:
    """Seeded inputs like the examples: normal numbers, or indices up to the largest example."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for example in examples:
        size = (images, *example.shape[1:])
        if example.dtype.is_floating_point:
            drawn.append(torch.randn(size, generator=generator))
        else:
            drawn.append(torch.randint(int(example.max()) + 1, size, generator=generator))
    return drawn


def _cosine(
    network: Network,
    module: nn.Module,
    workload: Workload,
    inputs: Sequence[Tensor],
    engine: Engine,
) -> float:
    """The mean over images of the cosine between integer and float values of the first output."""
    named = dict(zip(workload.inputs, (value.numpy() for value in inputs), strict=True))
    run = execution.runner(workload, engine)
    values = run(reference.quantise_inputs(workload, named))
    made = reference.dequantise_outputs(workload, values)[workload.outputs[0]]
    with torch.no_grad():
        wanted = [
            _first(module(*(v[image : image + 1] for v in inputs))) for image in range(IMAGES)
        ]
    view = network.view or (lambda output, inputs: output)
    pairs = zip(view(made, inputs), view(np.concatenate(wanted), inputs), strict=True)
    return float(np.mean([_cosine_of(a.ravel(), b.ravel()) for a, b in pairs]))


def _first(output: Tensor | tuple[Tensor, ...]) -> Values:
    """The first output in float64."""
    first = output[0] if isinstance(output, tuple) else output
    return np.asarray(first.double().numpy(), np.float64)


def _cosine_of(first: Values, second: Values) -> float:
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    cells = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def write(text: str, begin: str = BEGIN, end: str = END, page: Path = PAGE) -> None:
    """Put `text` between the markers of `page`."""
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [network.name for network in NETWORKS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=names, help="print one row, and leave README.md alone")
    return parser.parse_args()


def main() -> int:
    """Measure the networks, print the table, and write it into the README when it is whole."""
    only = arguments().only
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for index, network in enumerate(NETWORKS):
            if only in (None, network.name):
                rows.append(measure(network, Path(folder) / str(index)))
                print(" | ".join(rows[-1].cells()), file=sys.stderr)
    print(table(rows))
    for row in rows:
        print(f"{row.name}: integers computed by: {COMPUTED_BY[row.engine]}")
    if only is None:
        write(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
