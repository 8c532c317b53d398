"""Moments of what layers read, gathered while a graph runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from intaglio.compiler.passes.layer_inputs import POSITIONS, Moments, Watch, patches
from tests.compiler.models import Calls, graph_of, images, seeded

LAYERS = {
    "plain": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "depthwise": nn.Conv2d(4, 8, (3, 2), padding=(1, 0), dilation=2, groups=4),
    "grouped": nn.Conv2d(4, 6, 1, groups=2),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_times_patches_are_the_layer(kind: str) -> None:
    layer = LAYERS[kind]
    module = graph_of(Calls(lambda m, x: layer(x), layer=layer), images(1, 4, 7, 9))
    node = next(n for n in module.graph.nodes if "conv" in n.name and n.op == "call_function")
    x = images(1, 4, 7, 9, seed=3)
    made = patches(node, x, tuple(layer.weight.shape))
    rows = layer.weight.detach().flatten(1).reshape(made.shape[0], -1, made.shape[1])
    expected = (layer(x) - layer(torch.zeros_like(x))).detach()
    torch.testing.assert_close((rows @ made).reshape(expected.shape), expected)


def test_a_product_reads_rows() -> None:
    fc = nn.Linear(5, 3)
    module = graph_of(Calls(lambda m, x: fc(x), fc=fc), torch.zeros(1, 5))
    node = module.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)[0]
    x = torch.arange(10.0).reshape(2, 5)
    assert torch.equal(patches(node, x, (3, 5)), x.T[None])


def test_moments_are_those_of_all_data() -> None:
    moments = Moments(second=True)
    data = torch.randn(2, 3, 120, generator=torch.Generator().manual_seed(0)).double()
    for part in data.split(40, dim=2):
        moments.add(part)
    torch.testing.assert_close(moments.mean, data.mean(2))
    for group in range(2):
        expected = torch.cov(data[group], correction=0)
        torch.testing.assert_close(moments.covariance[group], expected)


def test_the_second_moment_samples_large_images() -> None:
    moments = Moments(second=True)
    moments.add(torch.ones(1, 2, 5000))
    assert (moments.count, moments.sampled) == (5000, POSITIONS)
    assert float(moments.covariance.abs().max()) == 0
    first = Moments(second=False)
    first.add(torch.ones(1, 2, 5000))
    assert (first.sampled, first.mean.tolist()) == (0, [[1.0, 1.0]])


def test_a_watched_graph_computes_the_same() -> None:
    conv = seeded(lambda: nn.Conv2d(4, 4, 3))
    x = images(1, 4, 6, 6)
    module = graph_of(Calls(lambda m, x: conv(x).relu(), conv=conv), x)
    name = module.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default)[0].name
    moments = {name: Moments(second=False)}
    made = Watch(module, moments).run(x)
    torch.testing.assert_close(made[0] if isinstance(made, tuple) else made, conv(x).relu())
    assert moments[name].count == 16
    expected = nn.functional.unfold(x, 3).mean(2).double()
    torch.testing.assert_close(moments[name].mean, expected)
