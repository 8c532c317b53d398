"""A detector of digits: convolutions on the accelerator, boxes and their order on the host.

`python -m intaglio.examples.detector` trains it on scenes of two real digits, compiles it, verifies
the convolutions in RTL and the decoding as compiled kernels, and tells how many digits of held-out
scenes are found by the float network and by the compiled one.  It needs the extras data, rtl, tvm.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio import api
from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.examples.mnist import Digits, load_digits, one_thread
from intaglio.progress import Callback, bars
from intaglio.templates.npu.design import NpuDesign

SIZE, STRIDE, CELLS = 64, 8, 8
"""Pixels of a scene, of a cell, and cells of a scene, on each side."""
DIGITS, KEPT, CLASSES = 2, 4, 10
"""Digits in a scene, boxes that the network returns, and kinds of digits."""
USUAL = 20.0
"""Pixels of a digit, about."""
STEPS, BATCH, PEAK_RATE = 400, 32, 1e-2
HELD_OUT_SCENES, CALIBRATION_SCENES = 200, 32


@dataclass(frozen=True, slots=True)
class Scenes:
    """Images (N, 1, 64, 64), boxes (N, 2, 4) as x0, y0, x1, y1 in pixels, and labels (N, 2)."""

    images: Tensor
    boxes: Tensor
    labels: Tensor


class Detector(nn.Module):
    """Four convolutions and a head: for each cell whether a digit's centre is in it, where, which.

    Returns the best boxes (1, 4, 4) in pixels, their scores (1, 4) and their labels (1, 4).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 8, 2), (8, 16, 2), (16, 32, 2), (32, 32, 1)):
            convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(32, 5 + CLASSES, 1)
        steps = torch.arange(CELLS)
        corners = torch.cartesian_prod(steps, steps).flip(1)[None]
        self.corners = nn.Buffer(corners.float())

    def cells(self, images: Tensor) -> Tensor:
        """What the head says of every cell, (N, 64, 15)."""
        said: Tensor = self.head(self.body(images)).flatten(2).transpose(1, 2)
        return said

    def decoded(self, cells: Tensor) -> Tensor:
        """The boxes (N, 64, 4) that cells stand for."""
        middle = (torch.sigmoid(cells[..., 1:3]) + self.corners) * STRIDE
        half = torch.exp(cells[..., 3:5]) * (USUAL / 2)
        return torch.cat([middle - half, middle + half], -1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels, the best first."""
        cells = self.cells(images)
        kinds = torch.softmax(cells[..., 5:], -1) * torch.sigmoid(cells[..., :1])
        scores, labels = kinds.max(-1)
        best, places = torch.topk(scores, KEPT)
        boxes = torch.gather(self.decoded(cells), 1, places[..., None].expand(-1, -1, 4))
        return boxes, best, torch.gather(labels, 1, places)


def scenes(images: Tensor, labels: Tensor, count: int, seed: int) -> Scenes:
    """`count` scenes of two digits side by side, drawn from `seed`."""
    random = torch.Generator().manual_seed(seed)
    background = float(images.min())
    canvas = torch.full((count, 1, SIZE, SIZE), background)
    boxes = torch.zeros(count, DIGITS, 4)
    chosen = torch.randint(len(images), (count, DIGITS), generator=random)
    down = torch.randint(SIZE - 28, (count, DIGITS), generator=random)
    right = torch.randint(SIZE // 2 - 28, (count, DIGITS), generator=random)
    for scene in range(count):
        for digit in range(DIGITS):
            pixels = images[chosen[scene, digit], 0]
            y, x = int(down[scene, digit]), int(right[scene, digit]) + digit * SIZE // 2
            canvas[scene, 0, y : y + 28, x : x + 28] = pixels
            rows, columns = torch.nonzero(pixels > background + 1.0, as_tuple=True)
            edges = (x + columns.min(), y + rows.min(), x + columns.max(), y + rows.max())
            boxes[scene, digit] = torch.stack([torch.as_tensor(edge) for edge in edges]).float()
    return Scenes(canvas, boxes, labels[chosen])


def train(digits: Digits, progress: Callback, *, steps: int = STEPS, seed: int = 0) -> Detector:
    """A trained detector in eval mode; AdamW under a one-cycle learning rate."""
    with torch.random.fork_rng(devices=()), one_thread():
        torch.manual_seed(seed)
        network = Detector()
        optimiser = torch.optim.AdamW(network.parameters(), PEAK_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
        for step in range(steps):
            progress("train", step, steps)
            seen = scenes(digits.train_images, digits.train_labels, BATCH, seed=1000 + step)
            loss = _loss(network, seen)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        progress("train", steps, steps)
    return network.eval()


def _loss(network: Detector, seen: Scenes) -> Tensor:
    """Whether, where and which: the last two at the cells that hold a digit's centre."""
    cells = network.cells(seen.images)
    middle = (seen.boxes[..., :2] + seen.boxes[..., 2:]) / 2
    column, row = (middle / STRIDE).long().clamp(max=CELLS - 1).unbind(-1)
    own = (torch.arange(len(cells))[:, None], row * CELLS + column)
    there = torch.zeros(cells.shape[:2])
    there[own] = 1.0
    found = functional.binary_cross_entropy_with_logits(cells[..., 0], there, reduction="sum")
    placed = functional.smooth_l1_loss(
        network.decoded(cells)[own] / STRIDE, seen.boxes / STRIDE, reduction="sum"
    )
    named = functional.cross_entropy(cells[own][..., 5:].flatten(0, 1), seen.labels.flatten())
    return (found + placed) / len(cells) + named


def found(boxes: Tensor, labels: Tensor, truth: Scenes) -> float:
    """The share of digits that a returned box covers (IoU above 1/2) with the right label."""
    wanted = truth.boxes[:, :, None]
    given = boxes[:, None]
    low = torch.maximum(wanted[..., :2], given[..., :2])
    high = torch.minimum(wanted[..., 2:], given[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    sizes = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (wanted, given)]
    overlap = shared / (sizes[0] + sizes[1] - shared)
    right = (overlap > 0.5) & (truth.labels[:, :, None] == labels[:, None])
    return float(right.any(-1).float().mean())


def compiled_results(workload: Workload, images: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes and labels that the compiled network returns, by the reference."""
    floats = {workload.inputs[0]: images.numpy()}
    values = reference.run(workload, reference.quantise_inputs(workload, floats))
    boxes, _, labels = (torch.from_numpy(np.ascontiguousarray(values[n])) for n in workload.outputs)
    return boxes, labels


@dataclass(frozen=True, slots=True)
class Result:
    """What came out: digits found, cycles of one scene, words compared, and the host's part."""

    found_float: float
    found_compiled: float
    cycles_rtl: int
    words_compared: int
    mismatches: int
    host_microseconds: float
    machine: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        scenes = f"digits of {HELD_OUT_SCENES} held-out scenes found"
        return "\n".join(
            (
                f"{scenes}, float:    {self.found_float:.1%}",
                f"{scenes}, compiled: {self.found_compiled:.1%}",
                f"cycles a scene, measured in RTL: {self.cycles_rtl}; {self.words_compared} words "
                f"compared, {self.mismatches} differ",
                f"decoding on the host: {self.host_microseconds:.1f} us measured on {self.machine}",
            )
        )


def run(
    folder: Path, *, steps: int = STEPS, design: NpuDesign | None = None, progress: Callback
) -> Result:
    """Train the detector, compile it into `folder`, verify it, and look for digits."""
    digits = load_digits()
    network = train(digits, progress, steps=steps)
    seen = scenes(digits.train_images, digits.train_labels, CALIBRATION_SCENES, seed=1)
    artifact = api.compile(
        network,
        (seen.images[:1],),
        design=design,
        calibration={"images": seen.images.numpy()},
        output=folder,
        name="detector",
        allow_host=True,
        progress=progress,
    )
    held_out = scenes(digits.test_images, digits.test_labels, HELD_OUT_SCENES, seed=2)
    data = {"images": held_out.images.numpy()}
    proof = api.verify(artifact, data=data, host=True, progress=progress)
    with torch.no_grad():
        boxes, _, labels = network(held_out.images)
    return Result(
        found(boxes, labels, held_out),
        found(*compiled_results(artifact.workload, held_out.images), held_out),
        proof.cycles_rtl,
        proof.words_compared,
        proof.mismatches + sum(run.mismatches for run in proof.kernels),
        sum(run.microseconds for run in proof.kernels),
        proof.machine,
    )


def main() -> int:
    """Run it all; returns 1 when a word or a result of the host differs."""
    with bars() as progress, tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder) / "detector", progress=progress)
    print(result)
    return int(result.mismatches > 0)


if __name__ == "__main__":
    sys.exit(main())
