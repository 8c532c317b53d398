"""Values that no input changes: computed once, and lifted where they are operands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import Interpreter

from intaglio.compiler.capture import capture
from intaglio.compiler.passes.fold_constants import FoldConstants
from intaglio.compiler.passes.lift_constants import LiftConstants, lifted
from tests.compiler.models import calls


class Positions(nn.Module):
    """Adds a computed table of positions, and the same parameter twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(4.0).unsqueeze(1) * 2
        made: Tensor = self.fc(x * self.shift + positions) * self.shift
        return made


def test_what_depends_on_no_input_is_computed_once() -> None:
    x = torch.randn(1, 4, 3)
    module = FoldConstants()(capture(Positions().eval(), (x,)).module)
    assert calls(module) == ["mul", "add", "linear", "mul"]
    [folded] = [n for n in module.graph.find_nodes(op="get_attr") if "folded" in str(n.target)]
    assert getattr(module, str(folded.target)).equal(torch.arange(4.0).unsqueeze(1) * 2)


def test_operands_become_placeholders_and_weights_stay() -> None:
    x = torch.randn(1, 4, 3)
    model = Positions().eval()
    module = LiftConstants()(FoldConstants()(capture(model, (x,)).module))
    constants = lifted(module)
    assert [tuple(value.shape) for value in constants.values()] == [(3,), (4, 1)]
    assert [str(n.target) for n in module.graph.find_nodes(op="get_attr")] == [
        "fc.weight",
        "fc.bias",
    ]
    placeholders = [node.name for node in module.graph.find_nodes(op="placeholder")]
    assert placeholders[0] == "x"
    with torch.no_grad():
        made = Interpreter(module).run(x, *(constants[name] for name in placeholders[1:]))[0]
        assert torch.equal(made, model(x))
