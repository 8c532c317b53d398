"""The npu's datapath in Verilator, and what docs/npu.md says it computes, in numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intaglio.hw.verilator import Model, build
from intaglio.templates.npu.isa import RECORD_WORDS, Instruction, Opcode, encode

HERE = Path(__file__).parent
RTL = HERE.parent.parent / "hw" / "rtl"
SOURCES = (
    RTL / "npu" / "npu_isa_pkg.sv",
    RTL / "common" / "delay_line.sv",
    RTL / "common" / "fifo.sv",
    RTL / "common" / "ram_1r1w.sv",
    RTL / "common" / "ram_2p.sv",
    RTL / "common" / "register_slice.sv",
    *(
        RTL / "npu" / f"npu_{name}.sv"
        for name in (
            "act_buffer", "weight_buffer", "accumulators", "dot", "array", "compute", "lane",
            "taps", "window", "reads", "vector", "gather",
        )
    ),
    HERE / "datapath_bench.sv",
)  # fmt: skip
NO_TRAFFIC = (0, 0)


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters of a datapath; sizes in words, `acc_words` of one half."""

    lanes: int
    groups: int
    window_columns: int = 5
    act_words: int = 256
    weight_words: int = 512
    acc_words: int = 64

    @property
    def cols(self) -> int:
        """Columns of the array."""
        return self.lanes * self.groups

    def __str__(self) -> str:
        return f"{self.lanes}x{self.cols}"


@dataclass
class State:
    """Contents of the buffers.

    activations  uint8 (act_words, lanes)
    weights      uint8 (weight_words, lanes)
    sums         int32 (2 * acc_words, cols)
    """

    activations: np.ndarray
    weights: np.ndarray
    sums: np.ndarray

    @classmethod
    def random(cls, shape: Shape, rng: np.random.Generator) -> State:
        """Every byte and sum drawn uniformly."""
        info = np.iinfo(np.int32)
        return cls(
            rng.integers(0, 256, (shape.act_words, shape.lanes), dtype=np.uint8),
            rng.integers(0, 256, (shape.weight_words, shape.lanes), dtype=np.uint8),
            rng.integers(info.min, info.max, (2 * shape.acc_words, shape.cols), dtype=np.int32),
        )

    def copy(self) -> State:
        """An independent copy."""
        return State(self.activations.copy(), self.weights.copy(), self.sums.copy())


@dataclass(frozen=True, slots=True)
class Cycles:
    """The cycles in which instructions were accepted and retired, in order."""

    accepted: tuple[int, ...]
    retired: tuple[int, ...]

    @property
    def latencies(self) -> list[int]:
        """Cycles from acceptance to retirement of each instruction."""
        return [end - start for start, end in zip(self.accepted, self.retired, strict=True)]


class Bench:
    """One Verilated datapath of a given shape."""

    def __init__(self, shape: Shape) -> None:
        parameters = {
            "Lanes": shape.lanes,
            "Groups": shape.groups,
            "ActWords": shape.act_words,
            "WeightWords": shape.weight_words,
            "AccWords": shape.acc_words,
            "WindowColumns": shape.window_columns,
        }
        driver = HERE / "datapath_driver.cpp"
        model = Model(SOURCES, "datapath_bench", (driver,), tuple(parameters.items()))
        self.shape = shape
        self._library = ctypes.CDLL(str(build(model)))
        self._library.bench_new.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._library.bench_new(shape.lanes, shape.groups))

    def close(self) -> None:
        """Frees the model."""
        self._library.bench_delete(self._handle)

    def reset(self) -> None:
        """Holds the reset for a few cycles."""
        self._library.bench_reset(self._handle)

    def load(self, state: State) -> None:
        """Writes every buffer."""
        weights = np.ascontiguousarray(state.weights)
        self.write_activations(0, state.activations)
        self._library.bench_write_weights(self._handle, 0, _pointer(weights), len(weights))
        sums = np.ascontiguousarray(state.sums)
        self._library.bench_write_sums(self._handle, _pointer(sums), len(sums))

    def write_activations(self, address: int, words: np.ndarray) -> None:
        """Writes words from `address` on."""
        data = np.ascontiguousarray(words)
        self._library.bench_write_activations(self._handle, address, _pointer(data), len(data))

    def activations(self) -> np.ndarray:
        """The whole activation buffer."""
        words = np.zeros((self.shape.act_words, self.shape.lanes), dtype=np.uint8)
        self._library.bench_read_activations(self._handle, 0, _pointer(words), len(words))
        return words

    def sums(self) -> np.ndarray:
        """All accumulators."""
        words = np.zeros((2 * self.shape.acc_words, self.shape.cols), dtype=np.int32)
        self._library.bench_read_sums(self._handle, _pointer(words), len(words))
        return words

    def run(
        self,
        compute: Sequence[Instruction] = (),
        vector: Sequence[Instruction] = (),
        *,
        jitter: int = 0,
        traffic: tuple[int, int] = NO_TRAFFIC,
        background: np.ndarray | None = None,
        limit: int = 200_000,
    ) -> tuple[Cycles, Cycles]:
        """Runs both units' instructions; the traffic owns `traffic` = (first word, words).

        `background` holds the traffic's words before the run and, afterwards, what it wrote.
        """
        queues = [np.ascontiguousarray(encode(queue)) for queue in (compute, vector)]
        stamps = [np.zeros((2, len(queue)), dtype=np.uint64) for queue in queues]
        words = np.zeros((0,), dtype=np.uint8) if background is None else background
        errors = self._library.bench_run(
            self._handle,
            _pointer(queues[0]), len(compute), _pointer(stamps[0]),
            _pointer(queues[1]), len(vector), _pointer(stamps[1]),
            jitter, *traffic, _pointer(words), jitter + 1, limit,
        )  # fmt: skip
        assert errors == 0, (
            "the instructions did not end" if errors < 0 else "a store read is wrong"
        )
        first, second = (Cycles(*(tuple(map(int, row)) for row in stamp)) for stamp in stamps)
        return first, second

    def start(self, compute: Instruction, vector: Instruction, cycles: int) -> None:
        """Offers the same instructions for `cycles` and stops amid them."""
        queues = [np.ascontiguousarray(encode([item])) for item in (compute, vector)]
        self._library.bench_start(self._handle, _pointer(queues[0]), _pointer(queues[1]), cycles)

    def busy(self) -> int:
        """Bit 0: an instruction is in the compute unit; bit 1: in the vector unit."""
        return int(self._library.bench_busy(self._handle))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _bytes(words: np.ndarray, signed: bool) -> np.ndarray:
    return words.view(np.int8 if signed else np.uint8).astype(np.int64)


def unpacked(words: np.ndarray, bits: int) -> np.ndarray:
    """Bytes (words, cols), each of 8 / bits rows from the lowest bits on, as int64 (rows, cols)."""
    shares = [words.astype(np.int64) >> bits * share for share in range(8 // bits)]
    rows = np.stack(shares, axis=1).reshape(-1, words.shape[1]) & (1 << bits) - 1
    return np.where(rows >> bits - 1, rows - (1 << bits), rows)


def compute(state: State, item: Instruction) -> None:
    """COMPUTE on `state`: for every tile in order, vectors times weights into the accumulators."""
    lanes, cols = state.activations.shape[1], state.sums.shape[1]
    elements = _bytes(state.activations.reshape(-1), bool(item["input_signed"]))
    bits, tile_bytes = 8 >> item["packing"], lanes * cols >> item["packing"]
    pixels = [(y, x) for y in range(item["y"]) for x in range(item["x"])]
    tile_address = item["weight_address"] * lanes
    overwrite = not item["accumulate"]
    for block in range(item["blocks"]):
        for fy in range(item["fy"]):
            for fx in range(item["fx"]):
                raw = state.weights.reshape(-1)[tile_address : tile_address + tile_bytes]
                tile = unpacked(raw.reshape(-1, cols), bits)
                if item["fill_columns"]:
                    tile = tile.reshape(lanes, -1, lanes).transpose(2, 1, 0).reshape(lanes, cols)
                tile_address += tile_bytes
                base = item["act_address"] + block * item["block_stride"]
                base += fy * item["fy_stride"] + fx * item["fx_stride"]
                for p, (y, x) in enumerate(pixels):
                    start = base + y * item["y_stride"] + x * item["x_stride"]
                    vector = elements[(start + np.arange(lanes)) % len(elements)]
                    word = state.sums[item["acc_address"] + p]
                    before = 0 if overwrite else word.astype(np.int64)
                    sums = vector @ tile << 8 * item["input_high"]
                    word[:] = (before + sums).astype(np.int32)
                overwrite = False


@dataclass(frozen=True, slots=True)
class Records:
    """Requantisation of `lanes` channels: int64 arrays b, m, mr (with its sign) and s."""

    b: np.ndarray
    m: np.ndarray
    mr: np.ndarray
    s: np.ndarray

    def words(self) -> np.ndarray:
        """Their 12 words of the weight buffer, uint8 (12, lanes)."""
        words = np.zeros((RECORD_WORDS, len(self.b)), dtype=np.uint8)
        for lane, (b, m, mr, s) in enumerate(zip(self.b, self.m, self.mr, self.s, strict=True)):
            record = int(b).to_bytes(6, "little", signed=True) + int(m).to_bytes(3, "little")
            record += abs(int(mr)).to_bytes(2, "little") + bytes([int(s) | (int(mr) < 0) << 6])
            words[:, lane] = list(record)
        return words


def _gather(state: State, item: Instruction, y: int, x: int, lanes: int) -> np.ndarray:
    """The sum of output (y, x) before requantisation, int64 (lanes,)."""
    if item.opcode is Opcode.DRAIN:
        word = state.sums[item["source_address"] + y * item["x"] + x]
        return np.asarray(word[item["group"] * lanes :][:lanes].astype(np.int64))
    window = [(wy, wx) for wy in range(item["window_y"]) for wx in range(item["window_x"])]
    start = item["source_address"] + y * item["source_y_stride"] + x * item["source_x_stride"]
    offsets = [wy * item["window_y_stride"] + wx * item["window_x_stride"] for wy, wx in window]
    source = _bytes(state.activations, bool(item["input_signed"]))
    values = source[[(start + offset) % len(source) for offset in offsets]]
    if item.opcode is Opcode.WINDOW_MAX:
        return np.asarray(values.max(axis=0))
    if item.opcode is Opcode.WINDOW_MAC:
        values = values * _bytes(state.weights, signed=True)[item["tap_address"] :][: len(window)]
    return np.asarray(values.sum(axis=0))


def _residual(state: State, item: Instruction, word: int) -> np.ndarray:
    """The residual whose bytes, or low bytes, are in `word`, int64 (lanes,)."""
    if not item["residual_wide"]:
        return _bytes(state.activations[word], bool(item["residual_signed"]))
    high = (word + item["residual_high_offset"]) % len(state.activations)
    return np.asarray(256 * _bytes(state.activations[high], signed=True) + state.activations[word])


def vector(state: State, item: Instruction, records: Records) -> None:
    """A vector instruction on `state`, with the records that its `record_address` points to."""
    lanes = state.activations.shape[1]
    source = state.copy()
    table = state.weights.reshape(-1)[item["table_address"] * lanes :][:256]
    for y in range(item["y"]):
        for x in range(item["x"]):
            total = _gather(source, item, y, x, lanes) * records.m + records.b
            if item["residual"]:
                row = item["residual_address"] + y * item["residual_row_stride"] + x
                total += _residual(source, item, row) * records.mr
            shifted = total >> records.s + 8 * item["output_high"]
            result = np.clip(shifted, item["lo"], item["hi"]) & 255
            if item["table"]:
                result = table[result]
            state.activations[item["output_address"] + y * item["output_row_stride"] + x] = result


def random_conv(shape: Shape, rng: np.random.Generator, *, pixels: int = 8) -> Instruction:
    """Up to 8 tiles of up to pixels**2 pixels, at any element and with any stride."""
    fields = {name: int(rng.integers(1, 3)) for name in ("blocks", "fy", "fx")}
    fields |= {name: int(rng.integers(1, pixels + 1)) for name in ("y", "x")}
    for name in ("act_address", "block_stride", "fy_stride", "fx_stride", "y_stride", "x_stride"):
        fields[name] = int(rng.integers(0, shape.act_words * shape.lanes))
    tiles = shape.weight_words // (shape.lanes * shape.groups)
    spare = tiles - fields["blocks"] * fields["fy"] * fields["fx"]
    fields["weight_address"] = int(rng.integers(0, spare + 1)) * shape.lanes * shape.groups
    half = int(rng.integers(0, 2)) * shape.acc_words
    room = shape.acc_words - fields["y"] * fields["x"]
    fields["acc_address"] = half + int(rng.integers(0, room + 1))
    fields["accumulate"] = int(rng.integers(0, 2))
    fields["input_signed"] = int(rng.integers(0, 2))
    fields["input_high"] = int(rng.integers(0, 2))
    fields["packing"] = int(rng.integers(0, 3))
    return Instruction(Opcode.COMPUTE, fields)


def random_records(lanes: int, rng: np.random.Generator, *, top: int) -> Records:
    """Records whose sums stay below 2^47 for accumulators of magnitude `top`.

    Shifts leave 5 to 10 bits, so that most results are inside the clamp; the residual weighs as
    much as the accumulator where its multiplier allows it.
    """
    m = rng.integers(0, 1 << 16, lanes)
    m[0] = 65535
    mr = np.minimum(rng.integers(0, 2 * m * top // 255 + 2), 65535) * rng.choice([-1, 1], lanes)
    mr[-1] = -65535
    largest = top * m + 255 * np.abs(mr)
    s = np.clip(np.ceil(np.log2(largest + 2)).astype(int) - rng.integers(5, 10, lanes), 1, 47)
    bound = np.minimum((1 << 47) - 1 - largest, largest)
    return Records(rng.integers(-bound, bound + 1), m, mr, s)
