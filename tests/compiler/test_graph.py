"""Helpers on FX graphs: lines, names, origins."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from torch import nn

from intaglio.compiler.graph import (
    argument,
    deepest_line,
    insert_call,
    insert_parameter,
    module_path,
    origins,
    parameter,
    quiet,
    replace,
    shape,
    single_user,
    user_line,
)
from tests.compiler.models import Calls, Residual, graph_of, images, line_of, seeded

aten = torch.ops.aten


def test_the_deepest_line_outside_torch_is_quoted() -> None:
    trace = (
        'File "/home/user/net.py", line 7, in forward\n    y = self.block(x)\n'
        'File "/home/user/block.py", line 12, in forward\n    return self.conv(x)\n'
        f'File "{torch.nn.__path__[0]}/modules/conv.py", line 1, in forward\n    return f(x)\n'
    )
    assert deepest_line(trace) == "block.py:12: return self.conv(x)"
    assert deepest_line("") == ""


def test_names_follow_the_modules() -> None:
    module = graph_of(seeded(Residual), images(1, 3, 8, 8))
    made = {n.name: module_path(n) for n in module.graph.nodes if n.op == "call_function"}
    assert made["conv2d"] == "stem.0"
    assert made["relu"] == "stem.2"
    assert made["conv2d_3"] == "shortcut"
    assert made["add"] == "add"
    inner = Calls(lambda m, x: m.inner(x), inner=Calls(lambda m, x: x + x))
    (call,) = [n for n in graph_of(inner, images(1, 4)).graph.nodes if n.op == "call_function"]
    assert module_path(call) == "inner.add"


def test_a_node_knows_its_line_and_shape() -> None:
    module = graph_of(seeded(Residual), images(1, 3, 8, 8))
    head = module.graph.find_nodes(op="call_function", target=aten.linear.default)[0]
    assert user_line(head) == line_of(Residual.forward, "self.head")
    assert shape(head) == (1, 5)
    assert argument(head, 2, "bias") is not None
    assert argument(head, 3, "other", 4) == 4


def test_a_replaced_node_is_remembered() -> None:
    module = graph_of(Calls(lambda m, x: x.relu().tanh()), images(1, 4))
    (relu,) = module.graph.find_nodes(op="call_function", target=aten.relu.default)
    tanh = single_user(relu)
    assert tanh is not None
    made = insert_call(tanh, aten.sigmoid.default, (relu,), tanh, (1, 4))
    replace(tanh, made)
    assert origins(made) == ("tanh",)
    assert shape(made) == (1, 4)
    module.recompile()
    torch.testing.assert_close(module(images(1, 4)), images(1, 4).relu().sigmoid())


def test_a_new_parameter_can_be_fetched() -> None:
    module = graph_of(nn.Linear(4, 3), images(1, 4))
    (call,) = [n for n in module.graph.nodes if n.op == "call_function"]
    node = insert_parameter(module, call, "extra", torch.arange(6.0).reshape(2, 3))
    assert shape(node) == (2, 3)
    assert torch.equal(parameter(module, node), torch.arange(6.0).reshape(2, 3))


def test_quiet_hides_warnings_and_log_lines_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with quiet():
        warnings.warn("hidden", stacklevel=1)
        logging.getLogger("noise").error("hidden")
    logging.getLogger("noise").error("shown")
    assert caplog.messages == ["shown"]
