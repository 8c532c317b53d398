"""CAN bus traffic with and without attacks, drawn from a seed: a generator, no recording of a car.

A vehicle sends 24 messages of 11-bit identifiers (CAN 2.0A) at fixed periods with jitter.  Bytes of
a payload are a rolling counter, sensors that wander, constants, and a checksum.  Frames that wait
for the bus are sent by priority, the lowest identifier first, and none is interrupted.  Attacks are
those of the Car-Hacking data (Song, Woo and Kim, 2020): DoS floods the bus with identifier 0,
fuzzing sends random identifiers and payloads, spoofing a known identifier with forged sensors.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Attack = Literal["none", "DoS", "fuzzing", "spoofing"]
ATTACKS: tuple[Attack, ...] = get_args(Attack)
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

IDENTIFIERS = 1 << 11
PAYLOAD = 8
"""Bytes of the longest frame."""
FRAME_BITS = 47
"""Of a frame without data and stuffing, the three bits to the next one included (ISO 11898-1)."""
PERIODS = {0.010: 8, 0.020: 6, 0.050: 4, 0.100: 6}
"""Seconds from frame to frame, and how many messages of the vehicle have that period."""
JITTER = 0.02
"""Standard deviation of the time of a frame, as a share of its period."""
INJECTED_EVERY: dict[Attack, tuple[float, float]] = {
    "DoS": (0.0003, 0.0003),
    "fuzzing": (0.0004, 0.0008),
    "spoofing": (0.001, 0.005),
}
"""Least and most seconds between two injected frames."""


@dataclass(frozen=True, slots=True)
class Message:
    """A periodic message: its first byte counts, `sensors` pairs wander, the last byte checks."""

    identifier: int
    period: float
    length: int
    sensors: int
    constants: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Frames:
    """F frames: identifiers, lengths and attacks (F,), payloads (F, 8), times in seconds (F,).

    `attack` is the index in `ATTACKS` of what injected a frame, 0 of what the vehicle sent; `bits`
    counts stuffing and the gap behind.  `start` and `end` are times on the bus.
    """

    identifier: Ints
    length: Ints
    payload: NDArray[np.uint8]
    attack: Ints
    bits: Ints
    start: Floats
    end: Floats

    def __len__(self) -> int:
        return len(self.identifier)


def vehicle(seed: int = 0) -> tuple[Message, ...]:
    """The messages of one vehicle; short periods have low identifiers, which win the bus."""
    random = np.random.default_rng(seed)
    count = sum(PERIODS.values())
    identifiers = np.sort(random.choice(np.arange(0x80, 0x700), count, replace=False))
    periods = np.repeat(list(PERIODS), list(PERIODS.values()))
    messages = []
    for identifier, period in zip(identifiers, periods, strict=True):
        length = int(random.choice([4, 6, 8, 8, 8]))
        constants = tuple(int(value) for value in random.integers(0, 256, PAYLOAD))
        sensors = int(random.integers(1, (length - 2) // 2 + 1))
        messages.append(Message(int(identifier), float(period), length, sensors, constants))
    return tuple(messages)


def traffic(
    attack: Attack = "none", *, seed: int = 0, seconds: float = 4.0, bit_rate: float = 1e6
) -> Frames:
    """Traffic of the vehicle, a fourth of the time under `attack`, in two stretches."""
    random = np.random.default_rng([seed, ATTACKS.index(attack)])
    parts = [_sent(message, seconds, random) for message in vehicle()]
    if attack != "none":
        for begin in (0.25, 0.625):
            first = (begin + random.uniform(0, 0.1)) * seconds
            parts.append(_injected(attack, first, first + seconds / 8, random))
    wishes = _Wishes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return _arbitrated(wishes, bit_rate)


Part = tuple[Floats, Ints, Ints, NDArray[np.uint8], Ints]
"""Times at which frames are to be sent, identifiers, lengths, payloads, attacks."""


@dataclass(frozen=True, slots=True)
class _Wishes:
    """Frames ahead of the bus, in any order."""

    time: Floats
    identifier: Ints
    length: Ints
    payload: NDArray[np.uint8]
    attack: Ints


def _sent(message: Message, seconds: float, random: np.random.Generator) -> Part:
    """What the vehicle wants to send of one message."""
    count = int(seconds / message.period)
    time = (np.arange(count) + random.uniform()) * message.period
    time = time + random.normal(0, JITTER * message.period, count)
    payload = np.tile(np.array(message.constants, np.uint8), (count, 1))
    payload[:, 0] = (message.constants[0] & 0xF0) | (np.arange(count) + random.integers(16)) % 16
    for sensor in range(message.sensors):
        walk = 30000 + np.cumsum(random.normal(0, 60, count)) + random.normal(0, 8000)
        payload[:, 1 + 2 * sensor : 3 + 2 * sensor] = _two_bytes(walk)
    return _part(0, time, np.full(count, message.identifier), message.length, payload)


def _injected(attack: Attack, first: float, last: float, random: np.random.Generator) -> Part:
    """What an attacker wants to send from `first` to `last`."""
    gaps = random.uniform(*INJECTED_EVERY[attack], int((last - first) / INJECTED_EVERY[attack][0]))
    time = first + np.cumsum(gaps)
    time = time[time < last]
    count, index = len(time), ATTACKS.index(attack)
    if attack == "DoS":
        payload = np.zeros((count, PAYLOAD), np.uint8)
        return _part(index, time, np.zeros(count, np.int64), PAYLOAD, payload)
    if attack == "fuzzing":
        payload = random.integers(0, 256, (count, PAYLOAD), np.uint8)
        return _part(index, time, random.integers(0, IDENTIFIERS, count), PAYLOAD, payload)
    target = random.choice(np.array(vehicle(), object))
    payload = np.tile(np.array(target.constants, np.uint8), (count, 1))
    payload[:, 0] = (target.constants[0] & 0xF0) | random.integers(16, size=count)
    forged = random.uniform(0, 1 << 16) + random.normal(0, 60, (target.sensors, count))
    for sensor, values in enumerate(forged):
        payload[:, 1 + 2 * sensor : 3 + 2 * sensor] = _two_bytes(values)
    return _part(index, time, np.full(count, target.identifier), target.length, payload)


def _two_bytes(values: Floats) -> NDArray[np.uint8]:
    """Numbers as two bytes each, the high one first, (F, 2)."""
    whole = np.clip(values, 0, (1 << 16) - 1).astype(np.int64)
    return np.stack([whole >> 8, whole & 0xFF], 1).astype(np.uint8)


def _part(
    attack: int, time: Floats, identifier: Ints, length: int, payload: NDArray[np.uint8]
) -> Part:
    """Frames of one length, their last byte the exclusive or of the others."""
    payload[:, length:] = 0
    if attack in (0, ATTACKS.index("spoofing")):
        payload[:, length - 1] = np.bitwise_xor.reduce(payload[:, : length - 1], axis=1)
    sizes = np.full(len(time), length)
    return time, identifier, sizes, payload, np.full(len(time), attack)


def _arbitrated(wishes: _Wishes, bit_rate: float) -> Frames:
    """The frames as the bus carries them: whenever it is free, the lowest identifier that waits."""
    bits = frame_bits(wishes.identifier, wishes.length, wishes.payload)
    duration = bits / bit_rate
    arrivals = [int(index) for index in np.argsort(wishes.time, kind="stable")]
    waiting: list[tuple[int, int]] = []
    sent, start, now, arrived = list[int](), list[float](), 0.0, 0
    while arrived < len(arrivals) or waiting:
        if not waiting:
            now = max(now, float(wishes.time[arrivals[arrived]]))
        while arrived < len(arrivals) and wishes.time[arrivals[arrived]] <= now:
            heapq.heappush(waiting, (int(wishes.identifier[arrivals[arrived]]), arrivals[arrived]))
            arrived += 1
        _, index = heapq.heappop(waiting)
        sent.append(index)
        start.append(now)
        now += float(duration[index])
    order, begun = np.array(sent), np.array(start)
    return Frames(
        wishes.identifier[order],
        wishes.length[order],
        wishes.payload[order],
        wishes.attack[order],
        bits[order],
        begun,
        begun + duration[order],
    )


def frame_bits(identifier: Ints, length: Ints, payload: NDArray[np.uint8]) -> Ints:
    """Bits of each frame on the bus, (F,): 47 + 8 bits a byte, and one after five equal ones.

    Stuffing runs from the start of the frame to the end of its checksum.
    """
    total = FRAME_BITS + 8 * length
    for size in np.unique(length):
        rows = np.flatnonzero(length == size)
        head = [np.zeros((len(rows), 1)), _binary(identifier[rows], 11), np.zeros((len(rows), 3))]
        data = np.unpackbits(payload[rows, :size], axis=1)
        body = np.concatenate([*head, _binary(length[rows], 4), data], 1).astype(np.int64)
        total[rows] += _stuffed(np.concatenate([body, _binary(_checksum(body), 15)], 1))
    return total


def _binary(values: Ints, bits: int) -> Ints:
    """The bits of values, the highest first, (F, bits)."""
    return values[:, None] >> np.arange(bits - 1, -1, -1) & 1


def _checksum(bits: Ints) -> Ints:
    """CAN's CRC of 15 bits, of polynomial 0x4599, of rows of bits."""
    crc = np.zeros(len(bits), np.int64)
    for column in bits.T:
        crc = (crc << 1 & 0x7FFF) ^ np.where(column ^ crc >> 14, 0x4599, 0)
    return crc


def _stuffed(bits: Ints) -> Ints:
    """How many bits stuffing adds to each row: the opposite one after five equal ones."""
    last, run, added = np.full(len(bits), -1), np.zeros(len(bits), np.int64), 0
    for column in bits.T:
        run = np.where(column == last, run + 1, 1)
        full = run == 5
        added = added + full
        last, run = np.where(full, 1 - column, column), np.where(full, 1, run)
    return np.asarray(added, np.int64)
