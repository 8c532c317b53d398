"""npu_control by itself: its ports by name, a clock, and an AXI4-Lite master that can be slow."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model, build

_DRIVER = Path(__file__).parent / "control_driver.cpp"
_LIMIT = 1000


def build_control(cache: Path) -> Path:
    """The library of npu_control with 4 lanes and 8 columns."""
    names = ("npu_isa_pkg", "npu_control")
    sources = tuple(path for path in rtl_sources("npu") if path.stem in names)
    return build(
        Model(sources, "npu_control", (_DRIVER,), (("Cols", 8), ("Lanes", 4))), cache=cache
    )


class Control:
    """Ports by name: assign inputs through `inputs`, read what they lead to with `peek`."""

    def __init__(self, library: Path, seed: int = 0, delay: float = 0.0) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.control_create.restype = ctypes.c_void_p
        for function in (self._library.control_inputs, self._library.control_outputs):
            function.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p(self._library.control_create())
        self._rng = np.random.default_rng(seed)
        self._delay = delay
        self._outputs = self._library.control_outputs().decode().split()
        self.inputs = dict.fromkeys(self._library.control_inputs().decode().split(), 0)
        self.step(3)
        self.inputs["rst_ni"] = 1

    def close(self) -> None:
        """Ends the model."""
        self._library.control_destroy(self._handle)

    def _call(self, edge: int) -> dict[str, int]:
        inputs = (ctypes.c_uint64 * len(self.inputs))(*self.inputs.values())
        outputs = (ctypes.c_uint64 * len(self._outputs))()
        self._library.control_step(self._handle, inputs, outputs, edge)
        return dict(zip(self._outputs, outputs, strict=True))

    def peek(self, name: str) -> int:
        """An output, as the inputs are now."""
        return self._call(0)[name]

    def step(self, cycles: int = 1) -> dict[str, int]:
        """Clocks; the outputs are those before the last edge."""
        outputs: dict[str, int] = {}
        for _ in range(cycles):
            outputs = self._call(1)
        return outputs

    def _later(self) -> int:
        return int(self._rng.geometric(1 - self._delay)) - 1

    def write(self, address: int, value: int, strobes: int = 0xF) -> int:
        """Writes a register, address and data each when it pleases; the response."""
        waits = {"aw": self._later(), "w": self._later(), "b": self._later()}
        payload = {"awaddr_i": address, "wdata_i": value, "wstrb_i": strobes}
        self.inputs.update(payload)
        for _ in range(_LIMIT):
            for channel in ("aw", "w"):
                self.inputs[f"{channel}valid_i"] = int(waits.get(channel, 1) == 0)
            self.inputs["bready_i"] = int(waits["b"] == 0)
            seen = self.step()
            for channel in ("aw", "w"):
                if self.inputs[f"{channel}valid_i"] and seen[f"{channel}ready_o"]:
                    waits.pop(channel)
            waits = {channel: max(wait - 1, 0) for channel, wait in waits.items()}
            if seen["bvalid_o"] and self.inputs["bready_i"]:
                assert set(waits) == {"b"}, "a response before its write"
                self.inputs["bready_i"] = 0
                return seen["bresp_o"]
        raise AssertionError("the write is not answered")

    def read(self, address: int) -> tuple[int, int]:
        """Data and response of a read."""
        self.inputs.update(araddr_i=address, arvalid_i=1)
        wait = self._later()
        for _ in range(_LIMIT):
            self.inputs["rready_i"] = int(wait == 0)
            seen = self.step()
            if self.inputs["arvalid_i"] and seen["arready_o"]:
                self.inputs["arvalid_i"] = 0
            if seen["rvalid_o"] and self.inputs["rready_i"]:
                self.inputs["rready_i"] = 0
                return seen["rdata_o"], seen["rresp_o"]
            wait = max(wait - 1, 0)
        raise AssertionError("the read is not answered")

    def value(self, address: int) -> int:
        """A register that must be there."""
        data, response = self.read(address)
        assert response == 0
        return data

    def wide(self, address: int) -> int:
        """A counter of 64 bits."""
        return self.value(address) | self.value(address + 4) << 32
