"""The CAN bus example: frames on the bus, features, what the detector finds, and its RTL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler.pipeline import to_workload
from intaglio.examples.can_bus import (
    FEATURES,
    detector,
    features,
    finding,
    latency,
    table,
)
from intaglio.examples.can_traffic import ATTACKS, FRAME_BITS, Frames, frame_bits, traffic
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim.verify import Bench, verify
from intaglio.templates.deployment import whole
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.schedule import schedule
from tests.templates.npu.networks import SMALL


def counted(identifier: int, data: list[int]) -> int:
    """The bits of a frame, one after another."""
    text = f"0{identifier:011b}000{len(data):04b}" + "".join(f"{byte:08b}" for byte in data)
    crc = 0
    for bit in map(int, text):
        crc = (crc << 1 & 0x7FFF) ^ (0x4599 if bit ^ crc >> 14 else 0)
    sent = ""
    for digit in f"{text}{crc:015b}":
        sent += digit
        if sent[-5:] in ("00000", "11111"):
            sent += "10"[int(digit)]
    return len(sent) + 10 + 3


def test_frames_take_their_bits_on_the_bus() -> None:
    random = np.random.default_rng(2)
    for size in (0, 1, 4, 8):
        payload = random.choice(np.array([0, 1, 31, 255], np.uint8), (20, 8))
        payload[:, size:] = 0
        identifier = random.choice([0, 1, 0x7FF, 0x2A5], 20)
        rows = zip(identifier.tolist(), payload[:, :size].tolist(), strict=True)
        wanted = [counted(*row) for row in rows]
        assert frame_bits(identifier, np.full(20, size), payload).tolist() == wanted
        assert min(wanted) >= FRAME_BITS + 8 * size
    empty = np.zeros((1, 8), np.uint8)
    assert frame_bits(np.zeros(1, np.int64), np.zeros(1, np.int64), empty).tolist() == [53]


@pytest.mark.parametrize("bit_rate", [1e6, 5e5])
def test_one_frame_at_a_time_and_the_same_for_a_seed(bit_rate: float) -> None:
    frames, again = (traffic("DoS", seed=3, seconds=1.0, bit_rate=bit_rate) for _ in range(2))
    np.testing.assert_array_equal(frames.payload, again.payload)
    assert (frames.start[1:] >= frames.end[:-1]).all()
    np.testing.assert_allclose(frames.end - frames.start, frames.bits / bit_rate)
    flood = frames.attack == ATTACKS.index("DoS")
    assert 0.3 < flood.mean() < 0.7
    assert not frames.identifier[flood].any()
    # The highest priority waits for one frame at most, lower ones for more.
    apart = np.diff(frames.start[flood])
    assert apart[apart < 0.05].max() <= 0.0003 + frames.bits.max() / bit_rate + 1e-9


def test_features_are_zeros_and_ones_of_the_past() -> None:
    frames = traffic("fuzzing", seed=1, seconds=0.5)
    made = features(frames)
    assert made.shape == (len(frames), FEATURES)
    assert set(np.unique(made)) == {0, 1}
    arrays = (getattr(frames, name)[:200] for name in Frames.__slots__)
    np.testing.assert_array_equal(features(Frames(*arrays)), made[:200])


def test_attacks_are_found_and_few_others() -> None:
    workload = to_workload(*detector())
    kinds = [str(workload.tensor(op.output).element) for op in workload.ops]
    assert kinds == ["u2", "u2", "i8"]
    found = [finding(workload, a, [traffic(a, seed=200, seconds=2.0)]) for a in ATTACKS]
    assert [one.attack for one in found] == list(ATTACKS)
    assert all(one.correct > 0.97 and one.false_alarms < 0.02 for one in found)
    recalls = [one.recall for one in found[1:]]
    assert min(recalls[:2]) > 0.98
    assert recalls[2] > 0.7
    assert len(table(found).splitlines()) == 6


def test_the_latency_is_compared_with_the_line() -> None:
    assert latency(1500) == (
        "1500 cycles are 7.50 us at 200 MHz (assumed), within 10 us; frames end at least 47 us "
        "apart at 1 Mb/s: keeps up with the line"
    )
    assert latency(12000, 100.0, 5e5) == (
        "12000 cycles are 120.00 us at 100 MHz (assumed), beyond 10 us; frames end at least 94 us "
        "apart at 0.5 Mb/s: falls behind the line"
    )


@pytest.mark.rtl
def test_the_detector_in_rtl(model_cache: Path) -> None:
    workload = to_workload(*detector(), name="can_bus")
    hardware = Model(rtl_sources("npu"), "npu_top", DRIVER, tuple(parameters(SMALL).items()))
    bench = Bench(whole(workload, schedule(workload, SMALL)), hardware)
    rows = {"input": features(traffic("spoofing", seed=5, seconds=0.5))[-4:]}
    report = verify(bench, images=4, data=rows, cache=model_cache)
    assert report.passed, str(report)
