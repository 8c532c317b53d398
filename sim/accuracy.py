"""How well the integer network does: against labels, or against the float network's own outputs.

The integers are those of the reference, which TVM's kernels and the RTL equal word for word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.execution import COMPUTED_BY, Engine, Progress, Run, chosen, runner
from intaglio.compiler.numerics import Floats, Ints
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from intaglio.sim.stimulus import stimulus

CONFIDENT_MARGIN = 0.1
"""Float outputs count as confident when the likelier of two classes leads by more than this."""
IMAGES_AT_ONCE = 8
NORMAL_95 = 1.959964
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `total` images, at least one, with the 95 % interval of Wilson (1927).

    The interval takes images as independent: crops of one photograph are not, and it is then too
    narrow.
    """

    hits: int
    total: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The share is inside with a confidence of 95 %."""
        z2 = NORMAL_95**2
        centre = (self.hits + z2 / 2) / (self.total + z2)
        spread = self.total * self.share * (1 - self.share) + z2 / 4
        half = NORMAL_95 * math.sqrt(spread) / (self.total + z2)
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        low, high = self.interval
        return {**asdict(self), "share": self.share, "low": low, "high": high}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.4f} ({low:.4f} to {high:.4f}; {self.hits} of {self.total})"


@dataclass(frozen=True, slots=True)
class Closeness:
    """Integer outputs beside float ones.

    `agreement` counts images whose largest output is the same, `confident` does so where the float
    network's likeliest class leads by more than 0.1.  `cosine` is the mean of the images, and
    `decibels` is the power of the float outputs over that of the difference.
    """

    agreement: Share
    confident: Share | None
    cosine: float
    lowest_cosine: float
    decibels: float

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; outputs that do not differ at all have no `decibels`."""
        return {
            "agreement": self.agreement.to_dict(),
            "agreement_where_confident": self.confident.to_dict() if self.confident else None,
            "cosine": self.cosine,
            "lowest_cosine": self.lowest_cosine,
            "decibels": self.decibels if math.isfinite(self.decibels) else None,
        }

    def rows(self) -> Iterator[tuple[str, object]]:
        """What a person reads."""
        yield "same top class as float", self.agreement
        if self.confident is not None:
            yield f"the same, float margin over {CONFIDENT_MARGIN:g}", self.confident
        yield "cosine of the outputs, mean", f"{self.cosine:.5f}"
        yield "cosine of the outputs, lowest", f"{self.lowest_cosine:.5f}"
        yield "signal over difference", f"{self.decibels:.1f} dB"


@dataclass(frozen=True, slots=True)
class AccuracyReport:
    """What the integer network made of `images` images, computed by `engine`.

    `top1` is there with labels, `top1_float` with float outputs too, `closeness` with the latter.
    """

    name: str
    images: int
    engine: Engine
    top1: Share | None
    top1_float: Share | None
    closeness: Closeness | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "images": self.images,
            "computed_by": COMPUTED_BY[self.engine],
            "top1": self.top1.to_dict() if self.top1 else None,
            "top1_float": self.top1_float.to_dict() if self.top1_float else None,
            **(self.closeness.to_dict() if self.closeness else {}),
        }

    def __str__(self) -> str:
        rows: list[tuple[str, object]] = []
        if self.top1 is not None:
            rows.append(("top-1, integer", self.top1))
        if self.top1_float is not None:
            rows.append(("top-1, float", self.top1_float))
        if self.closeness is not None:
            rows += self.closeness.rows()
        lines = [f"  {what:34s} {value}" for what, value in rows]
        by = COMPUTED_BY[self.engine]
        title = f"{self.name}: the integer network on {self.images} images, computed by: {by}"
        return "\n".join((title, *lines))


def measure(
    workload: Workload,
    data: Mapping[str, NDArray[np.floating]],
    *,
    labels: NDArray[np.generic] | None = None,
    reference_outputs: NDArray[np.generic] | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> AccuracyReport:
    """Run `workload` on every image of `data` and compare its outputs, (images, classes).

    `data` maps input names to real arrays with images along axis 0, `labels` are (images,) class
    numbers, `reference_outputs` what the float network makes of the same images.  `engine` is
    what `execution.chosen` takes for this work, unless it is named; both compute the same integers.
    Raises UsageError when something does not fit, and ToolError when the engine is not installed.
    """
    classes = _classes(workload)
    if labels is None and reference_outputs is None:
        raise UsageError(
            "accuracy needs something to compare with; give labels or the float network's outputs"
        )
    images = max((len(array) for array in data.values() if array.ndim), default=0)
    integers = stimulus(workload, images, data, seed=0)
    truth = None if labels is None else _checked_labels(labels, images, classes)
    floats = (
        None if reference_outputs is None else _checked_floats(reference_outputs, images, classes)
    )
    used = chosen(workload, images, engine)
    outputs = _outputs(workload, integers, images, runner(workload, used, progress), progress)
    return AccuracyReport(
        workload.name,
        images,
        used,
        None if truth is None else _top1(outputs, truth),
        None if truth is None or floats is None else _top1(floats, truth),
        None if floats is None else closeness(floats, outputs),
    )


def closeness(floats: Floats, outputs: Floats) -> Closeness:
    """Integer outputs beside float ones, both (images, classes)."""
    same = floats.argmax(1) == outputs.argmax(1)
    sure = _margins(floats) > CONFIDENT_MARGIN
    norms = np.linalg.norm(floats, axis=1) * np.linalg.norm(outputs, axis=1)
    cosines = np.where(norms > 0, (floats * outputs).sum(1) / np.where(norms > 0, norms, 1), 0.0)
    noise = float(np.square(floats - outputs).sum())
    ratio = float(np.square(floats).sum()) / noise if noise else math.inf
    return Closeness(
        Share(int(same.sum()), len(same)),
        Share(int(same[sure].sum()), int(sure.sum())) if sure.any() else None,
        float(cosines.mean()),
        float(cosines.min()),
        10 * math.log10(ratio) if ratio else -math.inf,
    )


def _margins(logits: Floats) -> Floats:
    """By how much the likeliest class leads the next, as softmax probabilities; (images,)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    ordered = np.sort(powers / powers.sum(1, keepdims=True), axis=1)
    lead: Floats = ordered[:, -1] - ordered[:, -2]
    return lead


def _top1(outputs: Floats, labels: Ints) -> Share:
    return Share(int((outputs.argmax(1) == labels).sum()), len(labels))


def _classes(workload: Workload) -> int:
    """How many classes the network tells apart.  Raises UsageError when it is no classifier."""
    shapes = [workload.tensor(name).shape for name in workload.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] < 2:
        raise UsageError(
            f"'{workload.name}' has outputs of shape {', '.join(map(str, shapes))}; accuracy needs "
            "one output of (1, classes)"
        )
    return shapes[0][1]


def _checked_labels(labels: NDArray[np.generic], images: int, classes: int) -> Ints:
    if labels.shape != (images,) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"labels have shape {labels.shape} and hold {labels.dtype}; give one integer for each "
            f"of the {images} images"
        )
    numbers: Ints = labels.astype(np.int64)
    if images and not 0 <= int(numbers.min()) <= int(numbers.max()) < classes:
        raise UsageError(
            f"labels run from {numbers.min()} to {numbers.max()}, the network has the classes 0 to "
            f"{classes - 1}; renumber them"
        )
    return numbers


def _checked_floats(outputs: NDArray[np.generic], images: int, classes: int) -> Floats:
    if outputs.shape != (images, classes) or outputs.dtype.kind not in "fiu":
        raise UsageError(
            f"float outputs have shape {outputs.shape} and hold {outputs.dtype}; the network makes "
            f"({images}, {classes}) real numbers of these images"
        )
    numbers: Floats = outputs.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise UsageError("float outputs hold a value that is not a finite number; make them again")
    return numbers


def _outputs(
    workload: Workload,
    integers: Mapping[str, Ints],
    images: int,
    run: Run,
    progress: Progress | None,
) -> Floats:
    """The real outputs of every image, a few images at a time."""
    tell = progress or (lambda step, done, total: None)
    parts = []
    for start in range(0, images, IMAGES_AT_ONCE):
        tell("run the integer network", start, images)
        some = {name: array[start : start + IMAGES_AT_ONCE] for name, array in integers.items()}
        values = run(some)
        made = reference.dequantise_outputs(workload, values)
        parts.append(made[workload.outputs[0]])
    tell("run the integer network", images, images)
    return np.concatenate(parts)
