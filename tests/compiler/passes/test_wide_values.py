"""Which values are wide, how many bits they have, and that no accumulator can overflow for it."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Bits, Precision, Wide
from intaglio.compiler.workload import Workload
from intaglio.errors import UnsupportedError
from tests.compiler.models import Calls, images, line_of

EVERY: tuple[Wide, ...] = get_args(Wide)


class Mobile(nn.Module):
    """A stem, a separable convolution, a bottleneck that is moved and pooled, and two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.project = nn.Conv2d(8, 4, 1)
        self.expand = nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.depthwise(functional.relu6(self.stem(x))))
        y = functional.max_pool2d(self.project(y), 2)
        scores: Tensor = self.head(functional.relu6(self.expand(y)).flatten(1))
        return scores


def types(workload: Workload) -> dict[str, str]:
    """The types of all values that do not have 8 bits."""
    made = {tensor.name: tensor.element for tensor in workload.activations()}
    return {name: str(element) for name, element in made.items() if element.bits != 8}


def mobile(precision: Precision) -> dict[str, str]:
    torch.manual_seed(0)
    return types(to_workload(Mobile().eval(), (images(1, 3, 10, 10),), precision=precision))


BOTTLENECK = {"project": "i16", "max_pool2d": "i16"}


@pytest.mark.parametrize(
    ("wide", "found"),
    [
        ((), {}),
        (("sums",), {}),
        (("norms",), {}),
        (("outputs",), {"head": "i16"}),
        (("bottlenecks",), BOTTLENECK),
        (("stem",), {"stem": "u15"}),
        (EVERY, {"stem": "u15", **BOTTLENECK, "head": "i16"}),
    ],
)
def test_a_name_makes_its_values_wide(wide: tuple[Wide, ...], found: dict[str, str]) -> None:
    assert mobile(Precision(wide_values=wide)) == found


def test_as_many_bits_as_are_asked_for() -> None:
    twelve = {
        name: f"{kind[0]}12" for name, kind in {"stem": "u", **BOTTLENECK, "head": "i"}.items()
    }
    assert mobile(Precision(8, 8, 12, wide_values=EVERY)) == twelve
    assert mobile(Precision(8, 8, 8, wide_values=EVERY)) == {}
    own = {"project": Bits(activations=10), "stem": Bits(activations=16)}
    assert mobile(Precision(layers=own)) == {
        "stem": "u15",
        "project": "i10",
        "max_pool2d": "i10",
    }


def test_norms_are_wide_where_layers_read_them_and_tables_never_read_wide_values() -> None:
    first, second, norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = norm(first(x))
        made: Tensor = functional.gelu(second(y)) + torch.tanh(norm(y)) * first(x)
        return made

    model = Calls(forward, first=first, second=second, norm=norm).eval()
    made = types(to_workload(model, (images(2, 6)[:1],), precision=Precision(wide_values=EVERY)))
    assert made == {"norm": "i16", "add": "i16"}


def chain(inputs: int, weight: float) -> nn.Module:
    """Two products, the second of `inputs` equal weights."""
    first, second = nn.Linear(4, inputs), nn.Linear(inputs, 3)
    with torch.no_grad():
        second.weight.fill_(weight)
    return Calls(lambda m, x: second(first(x)), first=first, second=second).eval()


@pytest.mark.parametrize("inputs", [500, 520, 2000, 4000])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_no_weights_can_make_the_readers_of_wide_values_overflow(
    inputs: int, weight_bits: int
) -> None:
    """One more bit overflows, where 16 do not fit, since all weights are the largest there are."""
    largest = (1 << (weight_bits - 1)) - 1
    bits = min(16, 1 + math.floor(math.log2((2**31 - 1) / (inputs * largest))))
    model, x = chain(inputs, 1.0), (images(1, 4),)
    precision = Precision(weight_bits, wide_values=("bottlenecks",))
    made = to_workload(model, x, precision=precision)
    assert made.tensor("first").element.bits == bits
    if bits < 16:
        own = {"first": Bits(activations=bits + 1)}
        with pytest.raises(UnsupportedError) as caught:
            to_workload(model, x, precision=Precision(weight_bits, layers=own))
        line = line_of(Calls, "self.function(")
        assert str(caught.value) == (
            f"second ({line}): channel 0 can accumulate {inputs * largest << bits}, 32 bits hold "
            "2147483647; use fewer weight or activation bits, or split the layer"
        )


def test_products_of_two_wide_values_fit_their_accumulators() -> None:
    """What attention multiplies, the longest row of it, reaches both ends."""
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    third = nn.Linear(64, 2)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        a, b = first(x), second(x)
        made: Tensor = third(a) + third(b) + third(a @ b.transpose(1, 2))
        return made

    model = Calls(forward, first=first, second=second, third=third).eval()
    made = to_workload(model, (images(1, 64, 64),), precision=Precision(wide_values=EVERY))
    assert made.tensor("first").element.bits == made.tensor("second").element.bits == 13
    assert 64 * 4096**2 < 2**31 <= 64 * 8192**2


def test_a_table_of_a_wide_value_is_refused() -> None:
    fc = nn.Linear(4, 4)
    model = Calls(lambda m, x: torch.tanh(fc(x)), fc=fc).eval()
    with pytest.raises(UnsupportedError) as caught:
        to_workload(
            model, (images(1, 4),), precision=Precision(layers={"fc": Bits(activations=12)})
        )
    line = line_of(Calls, "self.function(")
    assert str(caught.value) == (
        f"tanh ({line}): its table has 256 entries and reads 'fc' of 12 bits; give that at most 8 "
        "bits of activations"
    )
