"""Modules and functions that people use: writes docs/operators.md.

Each is compiled by itself on seeded numbers for the default npu, and compared with PyTorch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.capture import capture
from intaglio.compiler.operators import Constant
from intaglio.compiler.partition import alone
from intaglio.compiler.passes.refusals import Refusal
from intaglio.compiler.pipeline import fuse, to_workload
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.supports import supports

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
MAP, ROWS, VECTOR, VOLUME = (1, 8, 6, 6), (1, 6, 8), (1, 10), (1, 4, 4, 6, 6)
Sizes = tuple[tuple[int, ...], ...]
Function = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Case:
    """A module or function, how it is written, and the shapes of what it reads.

    The integers are at least `decibels` from PyTorch's result (error to signal, of energies), or
    the whole of it is refused with the reason and ways out in `refusal`.
    """

    name: str
    function: Function
    sizes: Sizes = (MAP,)
    decibels: float = 30.0
    refusal: str = ""


class Model(nn.Module):
    """A function or module as a model."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        """What the function makes of the inputs."""
        return self.function(*inputs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a case: its operators on the npu and on the host, or its refusals."""

    npu: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    decibels: float = math.inf
    refusals: tuple[Refusal, ...] = ()


def inputs(case: Case) -> tuple[Tensor, ...]:
    """Seeded normal numbers."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(size, generator=generator) for size in case.sizes)


@cache
def outcome(name: str) -> Outcome:
    """Compile a case and run its integers."""
    case = next(case for case in CASES if case.name == name)
    model, given = Model(case.function).eval(), inputs(case)
    plan = fuse(capture(model, given))
    if plan.refusals:
        return Outcome(refusals=plan.refusals)
    names = list(capture(model, given).shapes)
    data = {name: value.numpy() for name, value in zip(names, given, strict=True)}
    workload = to_workload(model, given, calibration=data)
    with torch.no_grad():
        wanted = model(*given)
    several = wanted if isinstance(wanted, tuple) else (wanted,)
    made = reference.run(workload, reference.quantise_inputs(workload, data))
    found = reference.dequantise_outputs(workload, made)
    worst = min(
        _decibels(found[name], value.numpy())
        for name, value in zip(workload.outputs, several, strict=True)
    )
    on_npu: list[str] = []
    on_host: list[str] = []
    for op in workload:
        if not isinstance(op, Constant):
            fits = supports(op, alone(workload, op), NpuDesign()) is None
            (on_npu if fits else on_host).append(type(op).__name__)
    return Outcome(tuple(on_npu), tuple(on_host), worst)


def _decibels(found: np.ndarray, wanted: np.ndarray) -> float:
    signal = np.square(wanted.astype(np.float64)).sum()
    noise = np.square(found.reshape(wanted.shape) - wanted).sum()
    return float(10 * np.log10(signal / max(noise, 1e-30)))


F = functional
HOST = "add allow_host=True to run it on the host"


def none(name: str) -> str:
    """The refusal of an operator that has no integer form, and no way out but the host."""
    elsewhere = "replace it by supported layers, or run this part outside the model"
    return f"{name} has no integer form; {elsewhere}, or {HOST}"


with torch.random.fork_rng():
    torch.manual_seed(0)
    ATTENTION = nn.MultiheadAttention(8, 2, batch_first=True)
    LSTM = nn.LSTM(8, 5, batch_first=True)
    GRU = nn.GRU(8, 5, batch_first=True)
    PLACES = torch.tensor([[[0, 1, 2, 3, 4, 5, 0, 1]]])
    CASES = (
        Case("nn.Linear", nn.Linear(8, 5), (ROWS,)),
        Case("nn.Bilinear", nn.Bilinear(8, 6, 4), ((1, 8), (1, 6))),
        Case("nn.Conv1d", nn.Conv1d(6, 4, 3, padding=1), (ROWS,)),
        Case("nn.Conv2d", nn.Conv2d(8, 4, 3, padding=1)),
        Case("nn.Conv2d, groups, dilation", nn.Conv2d(8, 8, 3, groups=4, dilation=2, padding=2)),
        Case("nn.Conv2d, circular", nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular")),
        Case("nn.Conv3d", nn.Conv3d(4, 3, 3, padding=1), (VOLUME,)),
        Case("nn.Conv3d of the depth alone", nn.Conv3d(4, 3, (3, 1, 1)), (VOLUME,)),
        Case(
            "nn.Conv3d, norm, relu",
            nn.Sequential(nn.Conv3d(4, 3, 3, 2, 1), nn.BatchNorm3d(3), nn.ReLU()),
            (VOLUME,),
        ),
        Case("nn.ConvTranspose2d", nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1)),
        Case("nn.MultiheadAttention", lambda x: ATTENTION(x, x, x)[0], (ROWS,), 25),
        Case(
            "nn.TransformerEncoderLayer",
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (ROWS,),
        ),
        Case("nn.LSTM", lambda x: LSTM(x)[0], (ROWS,)),
        Case("nn.GRU", lambda x: GRU(x)[0], (ROWS,)),
        Case("nn.BatchNorm2d", nn.BatchNorm2d(8)),
        Case("nn.BatchNorm2d without statistics", nn.BatchNorm2d(8, track_running_stats=False)),
        Case("nn.InstanceNorm2d", nn.InstanceNorm2d(8, affine=True)),
        Case("nn.InstanceNorm1d", nn.InstanceNorm1d(6), (ROWS,)),
        Case("nn.GroupNorm", nn.GroupNorm(2, 8)),
        Case("nn.LayerNorm", nn.LayerNorm(8), (ROWS,)),
        Case("nn.RMSNorm", nn.RMSNorm(8), (ROWS,)),
        Case("nn.LocalResponseNorm", nn.LocalResponseNorm(3)),
        Case(
            "layer norm by var",
            lambda x: apart(x) / (x.var(-1, False, keepdim=True) + 1e-5).sqrt(),
            (ROWS,),
        ),
        Case("layer norm by std", lambda x: apart(x) / (x.std(-1, keepdim=True) + 1e-6), (ROWS,)),
        Case(
            "layer norm of channels",
            lambda x: apart(x, 1) * (apart(x, 1) ** 2).mean(1, True).add(1e-6).rsqrt(),
        ),
        Case("F.normalize", lambda x: F.normalize(x, dim=1)),
        Case("x / x.norm()", lambda x: x / x.norm(dim=-1, keepdim=True), (ROWS,)),
        Case("F.cosine_similarity", lambda x, y: F.cosine_similarity(x, y, dim=-1), (ROWS, ROWS)),
        Case("x.norm()", lambda x: x.norm(dim=-1), (ROWS,)),
        Case("x.var()", lambda x: x.var((2, 3))),
        Case("x.std()", lambda x: x.std(-1), (ROWS,)),
        Case("nn.ReLU", nn.ReLU()),
        Case("nn.PReLU", nn.PReLU(8)),
        Case("nn.GELU", nn.GELU()),
        Case("nn.SiLU", nn.SiLU()),
        Case("nn.Hardswish", nn.Hardswish()),
        Case("nn.Softplus", nn.Softplus()),
        Case("nn.Mish", nn.Mish()),
        Case("gelu written out", lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))),
        Case("nn.GLU", nn.GLU(1)),
        Case("nn.Softmax", nn.Softmax(1)),
        Case("nn.LogSoftmax", nn.LogSoftmax(1), (VECTOR,)),
        Case("torch.logsumexp", lambda x: x.logsumexp(-1), (ROWS,)),
        Case("torch.logsumexp of two axes", lambda x: x.logsumexp((1, 3))),
        Case("nn.MaxPool2d", nn.MaxPool2d(3, 2, 1)),
        Case("nn.MaxPool2d, dilation", nn.MaxPool2d(2, dilation=2)),
        Case("nn.MaxPool3d", nn.MaxPool3d(2), (VOLUME,)),
        Case("nn.AvgPool2d", nn.AvgPool2d(2), decibels=25),
        Case("nn.AvgPool2d, padding not counted", nn.AvgPool2d(3, 2, 1, False, False), decibels=25),
        Case("nn.AvgPool2d, partial windows", nn.AvgPool2d(4, ceil_mode=True), decibels=25),
        Case("nn.AvgPool2d, divisor_override", nn.AvgPool2d(2, divisor_override=3), decibels=25),
        Case("nn.AvgPool3d", nn.AvgPool3d(2), (VOLUME,), 25),
        Case("nn.AdaptiveAvgPool2d(1)", nn.AdaptiveAvgPool2d(1), decibels=25),
        Case("nn.AdaptiveAvgPool2d(4) of 6x6", nn.AdaptiveAvgPool2d(4)),
        Case("nn.AdaptiveAvgPool3d(3) of 4x6x6", nn.AdaptiveAvgPool3d(3), (VOLUME,)),
        Case("nn.AdaptiveMaxPool2d(4) of 6x6", nn.AdaptiveMaxPool2d(4)),
        Case("nn.Upsample, nearest", nn.Upsample(scale_factor=2)),
        Case("nn.Upsample, bilinear", nn.Upsample(scale_factor=2, mode="bilinear")),
        Case("nn.Upsample, bicubic", nn.Upsample(scale_factor=2, mode="bicubic")),
        Case(
            "resize, bilinear, antialias",
            lambda x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True),
        ),
        Case("nn.PixelShuffle", nn.PixelShuffle(2)),
        Case("nn.Unfold", nn.Unfold(3, padding=1)),
        Case("nn.ReflectionPad2d", nn.ReflectionPad2d(2)),
        Case("nn.ConstantPad2d of 0.5", nn.ConstantPad2d((2, -1, 1, 0), 0.5)),
        Case("torch.maximum", lambda x: torch.maximum(x, x.flip(-1))),
        Case("torch.where", lambda x: torch.where(x > x.flip(-1), x, x.flip(-1))),
        Case("x.amin()", lambda x: x.amin(1)),
        Case("x.cumsum()", lambda x: x.cumsum(1), (ROWS,)),
        Case("torch.einsum", lambda x, y: torch.einsum("bij,bkj->bik", x, y), (ROWS, ROWS)),
        Case("x.diagonal()", lambda x: x.diagonal(dim1=2, dim2=3)),
        Case("x.unfold()", lambda x: x.unfold(1, 2, 1), (ROWS,)),
        Case("x.gather(), fixed positions", lambda x: x.gather(1, PLACES), (ROWS,)),
        Case("x.roll()", lambda x: x.roll(1, 2)),
        Case(
            "x.argmax()",
            lambda x: x.argmax(-1),
            (VECTOR,),
            refusal="argmax has no integer form; return the scores and take the argmax of the "
            f"outputs, or {HOST}",
        ),
        Case("x.topk()", lambda x: x.topk(3)[0], (VECTOR,), refusal=none("topk")),
        Case("x.sort()", lambda x: x.sort()[0], (VECTOR,), refusal=none("sort")),
        Case("x.cumprod()", lambda x: x.cumprod(1), (VECTOR,), refusal=none("cumprod")),
        Case(
            "nn.ConvTranspose3d",
            nn.ConvTranspose3d(4, 3, 2, 2),
            (VOLUME,),
            refusal="conv_transpose3d has no integer form; use ConvTranspose2d layers, with the "
            "depth as channels",
        ),
        Case(
            "nn.MaxPool2d, return_indices",
            nn.MaxPool2d(2, return_indices=True),
            refusal="max_pool2d_with_indices has no integer form; leave out return_indices",
        ),
        Case(
            "padding by -inf",
            lambda x: F.pad(x, (1, 1), value=-math.inf),
            refusal=f"it pads with -inf; pad with a finite number, or {HOST}",
        ),
    )


def apart(x: Tensor, axis: int = -1) -> Tensor:
    """How far the elements of an axis are from their mean."""
    return x - x.mean(axis, keepdim=True)


def page(rows: Iterable[tuple[Case, Outcome]]) -> str:
    """The text of docs/operators.md."""
    return "\n".join(
        (
            "# Modules and functions that people use",
            "",
            "What becomes of each, compiled by itself for the default npu at 8 bits: operators",
            "that run on the npu, exact integers on the host (docs/host.md), or a refusal.  With",
            "`--allow-host` what is marked * runs on the host in float32.  Operators are those of",
            "`compiler/operators.py`; inside a network some are fused, and a layer between moves",
            "of elements may join them on the host.",
            "",
            "Made by `python -m benchmarks.operators` on seeded normal numbers.  The tests compare",
            "this page, the integers with PyTorch (the error has at most 1/1000 of the energy of",
            "the result, or 1/300 where averages are small beside their inputs), and refusals word",
            "by word.",
            "",
            "| module or function | on the npu | on the host | refused |",
            "|---|---|---|---|",
            *(_row(case, made) for case, made in rows),
            "",
        )
    )


def _row(case: Case, made: Outcome) -> str:
    refused = "".join(f"{r.reason}{' *' if r.hostable else ''}" for r in made.refusals[:1])
    return f"| {case.name} | {_counted(made.npu)} | {_counted(made.host)} | {refused} |"


def _counted(kinds: Iterable[str]) -> str:
    """Each kind once, and how many there are."""
    counts = Counter(kinds)
    return ", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in counts.items())


def main() -> int:
    """Compile every case and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page((case, outcome(case.name)) for case in CASES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
