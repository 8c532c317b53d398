"""How calibration data become scales: the range seen, a percentile, or the least squared error."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from intaglio.compiler.calibration import Method, Observer
from intaglio.compiler.graph import quiet

with quiet():
    from torchao.quantization.pt2e import ObserverBase

SAMPLES_PER_TENSOR = 8192
"""How many values of one tensor a sampling observer keeps, at first."""
SAMPLES = 1 << 16
"""How many values a sampling observer keeps at most."""
SMALLEST_SHARE, CANDIDATES = 0.2, 81
"""The scales that MseObserver tries: from this share of the whole range, evenly spaced."""


class RangeObserver(ObserverBase):  # type: ignore[misc]
    """Scale of a whole tensor from the largest values seen, with zero point 0.

    The scale maps the extremes of the data onto the extremes of the type.
    """

    qscheme = torch.per_tensor_affine

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, **_: object) -> None:
        super().__init__(dtype)
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.lowest = 0.0
        self.highest = 0.0
        self.chosen: float | None = None
        self.found: float | None = None
        self.finite = True

    def forward(self, values: Tensor) -> Tensor:
        """Widen the range to `values`, which pass unchanged; zeros pass for what is not finite.

        So the layers that read them are judged by themselves.  A tensor on the meta device has no
        values to see.
        """
        if values.is_meta:
            return values
        lowest, highest = (float(extreme) for extreme in torch.aminmax(values.detach()))
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            self.finite = False
            values = torch.where(values.isfinite(), values, 0.0)
            lowest, highest = (float(extreme) for extreme in torch.aminmax(values.detach()))
        self.lowest = min(self.lowest, lowest)
        self.highest = max(self.highest, highest)
        self.found = None
        return values

    @property
    def scale(self) -> float:
        """The real value of one step: `chosen`, or from the data (0 to 1 when all is zero)."""
        if self.chosen is not None:
            return self.chosen
        if self.found is None:
            self.found = self._observed()
        return self.found

    def _observed(self) -> float:
        """The smallest scale at which no value seen is clamped."""
        below = self.lowest / self.quant_min if self.quant_min else 0.0
        return max(below, self.highest / self.quant_max) or 1.0 / self.quant_max

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """(scale, zero point), both of one element."""
        return torch.tensor(self.scale, dtype=torch.float64), torch.tensor(0)


class ProbabilityObserver(RangeObserver):
    """The scale of a softmax: the largest code stands for 1, whatever was seen."""

    def _observed(self) -> float:
        return 1.0 / self.quant_max


class SignObserver(RangeObserver):
    """The scale of values that become -1 and +1: the mean of the magnitudes seen.

    That is the scale of least squared error (Rastegari et al., 2016, XNOR-Net, section 3.1).
    """

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, **_: object) -> None:
        super().__init__(dtype, quant_min, quant_max)
        self.total = 0.0
        self.count = 0

    def forward(self, values: Tensor) -> Tensor:
        """Widen the range to `values`, which pass, and add up their magnitudes."""
        passed = super().forward(values)
        if not passed.is_meta:
            self.total += float(passed.detach().double().abs().sum())
            self.count += passed.numel()
        return passed

    def _observed(self) -> float:
        return self.total / max(self.count, 1) or 1.0


class _SamplingObserver(RangeObserver):
    """A RangeObserver that also keeps a sample of the values, of bounded size.

    Every tensor gives equally many values, at positions drawn from a fixed seed.  A full sample
    is thinned to half, and later tensors give half as many.
    """

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, **_: object) -> None:
        super().__init__(dtype, quant_min, quant_max)
        self.sample = torch.zeros(0, dtype=torch.float64)
        self.taken = SAMPLES_PER_TENSOR
        self.random = torch.Generator().manual_seed(0)

    def forward(self, values: Tensor) -> Tensor:
        """Widen the range to `values`, which pass, and sample them."""
        passed = super().forward(values)
        flat = passed.detach().flatten()
        if flat.numel() > self.taken:
            flat = flat[torch.randint(flat.numel(), (self.taken,), generator=self.random)]
        self.sample = torch.cat([self.sample, flat.double()])
        while self.sample.numel() > SAMPLES:
            kept = torch.randperm(self.sample.numel(), generator=self.random)
            self.sample = self.sample[kept[: self.sample.numel() // 2]]
            self.taken = max(self.taken // 2, 1)
        return passed


class PercentileObserver(_SamplingObserver):
    """Scale at which a share of the values, `percentile`, is not clamped."""

    percentile = 99.99

    @classmethod
    def at(cls, percentile: float) -> type[PercentileObserver]:
        """The observer of another share: a class, since PT2E makes observers from classes alone."""
        return type(cls.__name__, (cls,), {"percentile": percentile})

    def _observed(self) -> float:
        """The percentile of the scales at which each value of the sample would just fit."""
        below = self.sample / self.quant_min if self.quant_min else -self.sample
        needed = torch.maximum(self.sample / self.quant_max, below)
        return float(needed.quantile(self.percentile / 100)) or super()._observed()


class MseObserver(_SamplingObserver):
    """Scale of the least squared error of rounding and clamping together.

    Tried are shares of the whole range, and the power of two below it: what was normalised by a
    power of two, as pixels often are, loses nothing there.
    """

    def _observed(self) -> float:
        """The best of the scales tried; the largest of equally good ones."""
        whole = super()._observed()
        shares = torch.linspace(1.0, SMALLEST_SHARE, CANDIDATES, dtype=torch.float64) * whole
        candidates = [*shares.tolist(), 2.0 ** math.floor(math.log2(whole))]
        best: float = min(candidates, key=self._squared_error)
        return best

    def _squared_error(self, scale: float) -> float:
        steps = torch.floor(self.sample / scale + 0.5).clamp(self.quant_min, self.quant_max)
        return float((steps * scale - self.sample).square().sum())


class GivenObserver(RangeObserver):
    """The scale that the model itself gives a value, whatever is seen."""

    given = 1.0

    @classmethod
    def of(cls, scale: float) -> type[GivenObserver]:
        """The observer of one scale: a class, since PT2E makes observers from classes alone."""
        return type(cls.__name__, (cls,), {"given": scale})

    @property
    def scale(self) -> float:
        """The real value of one step."""
        return self.given


class GivenSignObserver(GivenObserver, SignObserver):
    """The scale that the model itself gives signs."""


class PerChannelWeightObserver(ObserverBase):  # type: ignore[misc]
    """Symmetric scales of a weight, one for each output channel (axis 0)."""

    qscheme = torch.per_channel_symmetric
    ch_axis = 0

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, **_: object) -> None:
        super().__init__(dtype)
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.scale = torch.ones(0)

    def forward(self, weight: Tensor) -> Tensor:
        """Take the scales of `weight`, which passes unchanged; nominal ones on the meta device."""
        if weight.is_meta:
            self.scale = torch.full((len(weight),), 1.0 / self.quant_max, dtype=torch.float64)
        elif not self.scale.numel():
            self.scale = self._observed(weight.detach().double().flatten(1))
        return weight

    def _observed(self, rows: Tensor) -> Tensor:
        """The scales (K,) at which no weight of `rows` (K, inputs) is clamped."""
        largest = rows.abs().amax(1)
        fallback = float(largest.max()) or 1.0
        return torch.where(largest > 0, largest, fallback) / self.quant_max

    def integers(self, steps: Tensor) -> Tensor:
        """The integers of weights that are divided by their scales, of any shape."""
        return steps.round().clamp(self.quant_min, self.quant_max)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """(scales, zero points), both of shape (K,)."""
        return self.scale.float(), torch.zeros(len(self.scale), dtype=torch.int64)


class GivenWeightObserver(PerChannelWeightObserver):
    """The scales that the model itself gives a weight, which stay as they are."""

    given = torch.ones(0, dtype=torch.float64)

    @classmethod
    def of(cls, scales: Tensor) -> type[GivenWeightObserver]:
        """The observer of scales (K,) in float64."""
        return type(cls.__name__, (cls,), {"given": scales})

    def _observed(self, rows: Tensor) -> Tensor:
        return self.given


class SignWeightObserver(PerChannelWeightObserver):
    """Scales of weights that become -1 and +1, 0 among the latter: their mean magnitudes.

    Those of least squared error (Rastegari et al., 2016, XNOR-Net, equation 6).
    """

    def _observed(self, rows: Tensor) -> Tensor:
        mean = rows.abs().mean(1)
        return torch.where(mean > 0, mean, float(mean.max()) or 1.0)

    def integers(self, steps: Tensor) -> Tensor:
        """The signs."""
        return torch.where(steps >= 0, 1.0, -1.0).to(steps.dtype)


class GivenSignWeightObserver(GivenWeightObserver, SignWeightObserver):
    """The scales that the model itself gives weights of -1 and +1."""


class MseWeightObserver(PerChannelWeightObserver):
    """Scales of the least squared error of rounding and clamping together, channel by channel."""

    def _observed(self, rows: Tensor) -> Tensor:
        """The best of the shares of the whole range; the largest of equally good ones."""
        whole = super()._observed(rows)
        best, error = whole, torch.full_like(whole, math.inf)
        for share in torch.linspace(1.0, SMALLEST_SHARE, CANDIDATES, dtype=torch.float64):
            scale = (whole * share)[:, None]
            steps = torch.round(rows / scale).clamp(self.quant_min, self.quant_max)
            made = (steps * scale - rows).square().sum(1)
            best = torch.where(made < error, scale[:, 0], best)
            error = torch.minimum(made, error)
        return best


def activation_observer(method: Method) -> type[RangeObserver]:
    """The observer of activations that `method` asks for, to be made by PT2E."""
    made: Mapping[Observer, type[RangeObserver]] = {
        "minmax": RangeObserver,
        "percentile": PercentileObserver.at(method.percentile),
        "mse": MseObserver,
    }
    return made[method.observer]


def weight_observer(method: Method) -> type[PerChannelWeightObserver]:
    """The observer of weights that `method` asks for, to be made by PT2E."""
    return MseWeightObserver if method.weights == "mse" else PerChannelWeightObserver
