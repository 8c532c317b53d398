"""Intrusion detection on a CAN bus: traffic, features, a network of 2 bits, hardware.

    intaglio compile examples/can_bus.py:detector -o can

`python -m intaglio.examples.can_bus` trains it on generated traffic (examples/can_traffic.py), with
the rounding of its integers, and prints how it does on traffic of other seeds.  The trained network
lies beside this file.  The traffic is synthetic, so the shares say how well such traffic is told
apart, not how well a car is guarded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Workload
from intaglio.examples.can_traffic import (
    ATTACKS,
    FRAME_BITS,
    PAYLOAD,
    Attack,
    Floats,
    Frames,
    Ints,
    traffic,
)
from intaglio.examples.low_bit import TRAINED, Perceptron
from intaglio.examples.low_bit_layers import QuantInput, QuantReLU, load_trained, save_trained
from intaglio.examples.mnist import Digits, Recipe, train
from intaglio.examples.networks import Model
from intaglio.progress import Callback, bars

WINDOW = 32
"""How many frames the share of the bus is taken over."""
RECENT = 16
"""In how many frames those of the same identifier are counted."""
BEFORE = 3
"""How many earlier frames show their identifiers."""
PERIODS_MS = (0.5, 1, 2, 4, 6, 8, 9, 11, 15, 18, 22, 45, 55, 90, 110)
IDLE_US = (5, 50, 150, 400, 1000, 3000)
LOADS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8)
COUNTS = (1, 2, 4, 8)
FEATURES = 11 * (1 + BEFORE) + 4 + 2 * 8 * PAYLOAD
FEATURES += len(PERIODS_MS) + len(IDLE_US) + len(LOADS) + len(COUNTS)
TRAINING, HELD_OUT = range(4), range(100, 102)
"""Seeds of the recordings, of each attack one for each seed."""
LATENCY_GOAL_US = 10.0
SAVED = TRAINED / "can_bus.safetensors"


def features(frames: Frames) -> NDArray[np.float32]:
    """What the network sees of each frame when it ends: zeros and ones, (F, FEATURES).

    identifiers of the frame and of the 3 before it (4 x 11 bits), its length (4) and payload (64);
    payload bits that differ from the last frame of that identifier (64); and as thermometers, a one
    for each threshold reached: the time since that frame, the idle time of the bus ahead of this
    one, the share of time that the bus was busy in 32 frames, frames of that identifier in the last
    16.  Hardware keeps the time and the payload of each identifier: 2048 words.
    """
    identifiers = np.stack([_earlier(frames.identifier, step) for step in range(1 + BEFORE)], 1)
    codes = identifiers[:, :, None] >> np.arange(10, -1, -1) & 1
    lengths = frames.length[:, None] >> np.arange(3, -1, -1) & 1
    payload = np.unpackbits(frames.payload, axis=1)
    gap, changed = _since_the_last(frames, payload)
    idle = frames.start - np.append(frames.start[:1], frames.end[:-1])
    recent = [_earlier(frames.identifier, step, -1) for step in range(1, RECENT)]
    count = np.sum([frames.identifier == earlier for earlier in recent], axis=0)
    parts = (codes.reshape(len(frames), -1), lengths, payload, changed)
    gauges = (
        _thermometer(1e3 * gap, PERIODS_MS),
        _thermometer(1e6 * idle, IDLE_US),
        _thermometer(_load(frames), LOADS),
        _thermometer(count, COUNTS),
    )
    return np.concatenate([*parts, *gauges], axis=1).astype(np.float32)


def _earlier(values: Ints, steps: int, missing: int = 0) -> Ints:
    """The values of the frames `steps` before."""
    return np.concatenate([np.full(steps, missing), values[: len(values) - steps]])


def _since_the_last(frames: Frames, payload: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.uint8]]:
    """Seconds since the last frame of the same identifier (infinite), payload bits that differ."""
    order = np.argsort(frames.identifier, kind="stable")
    same = np.diff(frames.identifier[order], prepend=-1) == 0
    earlier = np.where(same, np.append(order[:1], order[:-1]), order)
    gap, changed = np.empty(len(frames)), np.empty_like(payload)
    gap[order] = np.where(same, frames.start[order] - frames.start[earlier], np.inf)
    changed[order] = payload[order] ^ payload[earlier]
    return gap, changed


def _load(frames: Frames) -> Floats:
    """The share of time in which the bus was busy, since the start of the frame 31 before."""
    busy = np.cumsum(frames.end - frames.start)
    first = np.maximum(np.arange(len(frames)) - WINDOW + 1, 0)
    before = np.append(0.0, busy)[first]
    return np.asarray((busy - before) / (frames.end - frames.start[first]), np.float64)


def _thermometer(values: ArrayLike, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """A one for each threshold that a value reaches, (F, thresholds)."""
    return np.asarray(values)[:, None] >= np.asarray(thresholds)


class Detector(Perceptron):
    """FEATURES-64-32-4 of 2 bits: binary features to a score for none and for each attack."""

    def __init__(self) -> None:
        entry = QuantInput(1, 1.0, signed=False)
        super().__init__((FEATURES, 64, 32, len(ATTACKS)), 2, entry, lambda: QuantReLU(2))


def detector() -> Model:
    """The trained network, and the features of one frame of a vehicle without an attacker."""
    row = torch.from_numpy(features(traffic(seconds=0.2))[-1:])
    return load_trained(Detector(), SAVED), (row,)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one kind of traffic was judged, by the exact integer network, frame by frame.

    correct      the share of frames named none, or their attack
    precision    of the frames that were flagged, the share that was injected
    recall       of the frames that were injected, the share that was flagged
    false_alarms of the vehicle's own frames, the share that was flagged
    """

    attack: Attack
    frames: int
    injected: int
    correct: float
    precision: float
    recall: float
    false_alarms: float

    def __str__(self) -> str:
        shares = (self.correct, self.precision, self.recall, self.false_alarms)
        named = " | ".join("" if np.isnan(share) else f"{share:.4f}" for share in shares)
        return f"| {self.attack} | {self.frames} | {self.injected} | {named} |"


def finding(workload: Workload, attack: Attack, recordings: Sequence[Frames]) -> Finding:
    """How the network judges recordings of one attack."""
    (name,) = workload.inputs
    rows = np.concatenate([features(frames) for frames in recordings])
    values = reference.run(workload, reference.quantise_inputs(workload, {name: rows}))
    named = values[workload.outputs[0]].argmax(1)
    truth = np.concatenate([frames.attack for frames in recordings])
    flagged, injected = named > 0, truth > 0

    def share(found: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
        return float(found[among].mean()) if among.any() else float("nan")

    return Finding(
        attack,
        len(truth),
        int(injected.sum()),
        float((named == truth).mean()),
        share(injected, flagged) if injected.any() else float("nan"),
        share(flagged, injected),
        share(flagged, ~injected),
    )


def table(findings: Sequence[Finding]) -> str:
    """The findings in Markdown."""
    head = "| traffic | frames | injected | correct | precision | recall | false alarms |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *map(str, findings)])


def latency(cycles: int, clock_mhz: float = 200.0, bit_rate: float = 1e6) -> str:
    """What a core of `cycles` a frame means on a bus: its own latency, and the shortest frame's.

    The shortest frame has no data and no stuffing, and 3 bits before the next: 47.
    """
    core, shortest = cycles / clock_mhz, 1e6 * FRAME_BITS / bit_rate
    pace = "keeps up with" if core <= shortest else "falls behind"
    goal = "within" if core <= LATENCY_GOAL_US else "beyond"
    return (
        f"{cycles} cycles are {core:.2f} us at {clock_mhz:g} MHz (assumed), {goal} "
        f"{LATENCY_GOAL_US:g} us; frames end at least {shortest:.0f} us apart at "
        f"{bit_rate / 1e6:g} Mb/s: {pace} the line"
    )


def train_detector(progress: Callback, epochs: int = 4) -> None:
    """Train on all recordings of training, and keep the network."""
    recordings = [traffic(attack, seed=seed) for attack in ATTACKS for seed in TRAINING]
    rows = torch.from_numpy(np.concatenate([features(frames) for frames in recordings]))
    truth = torch.from_numpy(np.concatenate([frames.attack for frames in recordings]))
    # `train` takes pictures and their labels; nothing of them is held out here.
    data = Digits(rows, truth, rows[:0], truth[:0])
    save_trained(train(Recipe(Detector, epochs, 1e-2, 128), data, progress), SAVED)


def measure() -> list[Finding]:
    """The integer network on traffic of other seeds."""
    workload = to_workload(*detector(), name="can_bus")
    return [
        finding(workload, attack, [traffic(attack, seed=seed) for seed in HELD_OUT])
        for attack in ATTACKS
    ]


def main() -> int:
    """Train, and print how the network does on held-out traffic."""
    with bars() as progress:
        train_detector(progress)
    print(table(measure()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
