"""Every operator of islands as a compiled kernel, beside PyTorch's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("tvm", reason="needs the extra tvm")

from intaglio.compiler import islands
from intaglio.compiler.calls import GETITEM, OPERATORS, Argument, Call, TypeName, Value
from intaglio.compiler.kernels.floats import ABSOLUTE, RELATIVE, imported, island_kernel
from intaglio.compiler.passes.hostable import type_name
from intaglio.compiler.workload import ElementType, Host, Workload
from intaglio.compiler.workload import Tensor as Activation
from intaglio.errors import UnsupportedError

FLOAT, WHOLE, TRUTH = ElementType(32, "float"), ElementType(32), ElementType(1, "unsigned")
ELEMENTS = {"float32": FLOAT, "int64": WHOLE, "bool": TRUTH}
RANDOM = torch.Generator().manual_seed(0)
END = 2**63 - 1


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=RANDOM)


X, Y = drawn(1, 4, 6, 5), drawn(1, 4, 6, 5)
POSITIVE, INSIDE = X.abs() + 0.5, torch.tanh(X)
COARSE, OTHER = torch.round(X * 2) / 2, torch.round(Y * 2) / 2
PLACES = torch.randint(0, 4, X.shape, generator=RANDOM)
COUNTS = torch.randint(1, 5, X.shape, generator=RANDOM)
ABOVE, BELOW = X > 0, Y < 0
GRID = INSIDE[:, :2].permute(0, 2, 3, 1).contiguous()
ROWS, COLUMNS = torch.tensor([2, 0, -1]), torch.tensor([1, 5, 3])
Case = tuple[object, ...]

PLAIN = (
    "abs asinh atan ceil celu clone cos cosh elu erf exp expm1 floor gelu hardsigmoid hardswish"
    " hardtanh isfinite isinf isnan leaky_relu relu round selu sigmoid sign silu sin sinh softplus"
    " tan tanh trunc"
)
ROOTS = ("log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sqrt")
ARITHMETIC = ("add", "sub", "mul", "fmod", "remainder")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
CASES: tuple[Case, ...] = (
    *((f"{name}.default", X) for name in PLAIN.split()),
    *((f"{name}.default", INSIDE) for name in ("acos", "asin", "atanh")),
    *((f"{name}.default", POSITIVE) for name in ROOTS),
    *((f"{name}.Tensor", X, POSITIVE) for name in (*ARITHMETIC, "div")),
    *((f"{name}.Scalar", X, 0.7) for name in (*ARITHMETIC, *COMPARISONS, "rsub")),
    *((f"{name}.Tensor", COARSE, OTHER) for name in COMPARISONS),
    *((f"logical_{name}.default", ABOVE, BELOW) for name in ("and", "or", "xor")),
    *((f"bitwise_{name}.Tensor", ABOVE, BELOW) for name in ("and", "or", "xor")),
    ("acosh.default", POSITIVE + 1),
    ("atan2.default", X, Y),
    ("add.Tensor", X, Y, {"alpha": 2}),
    ("sub.Tensor", X, 3.0),
    ("amax.default", X, (1,), True),
    ("amin.default", X, (1, 2)),
    ("any.dim", ABOVE, 1),
    ("argmax.default", COARSE, 1),
    ("argmin.default", COARSE, 2, True),
    ("bitwise_not.default", ABOVE),
    ("bmm.default", X[0], Y[0].transpose(1, 2).contiguous()),
    ("cat.default", (X, Y), 1),
    ("_cdist_forward.default", X[0], Y[0], 2.0, None),
    ("_cdist_forward.default", X[0], Y[0], 1.0, None),
    ("clamp.default", X, -0.5, 0.5),
    ("clamp.default", X, None, 0.5),
    ("clamp.Tensor", X, Y - 0.5, Y + 0.5),
    ("clamp_min.default", X, 0.1),
    ("constant_pad_nd.default", X, (1, 2, 0, 1), 2.0),
    ("conv1d.default", X[0], drawn(3, 6, 3)),
    ("conv2d.default", X, drawn(8, 4, 3, 3), None, (1, 1), (1, 1)),
    ("conv3d.default", X[None], drawn(2, 1, 3, 3, 3)),
    ("copy.default", X, Y),
    ("cumprod.default", X, 1),
    ("cumsum.default", X, 1),
    ("cumsum.default", PLACES, 1),
    ("div.Tensor_mode", X, POSITIVE, {"rounding_mode": "floor"}),
    ("div.Tensor_mode", X, POSITIVE, {"rounding_mode": "trunc"}),
    ("div.Tensor_mode", PLACES, 3, {"rounding_mode": "floor"}),
    ("expand.default", X[:, :1].contiguous(), (1, 4, 6, 5)),
    ("gather.default", X, 1, PLACES),
    ("grid_sampler_2d.default", X, GRID, 0, 0, False),
    ("grid_sampler_2d.default", X, GRID, 1, 0, True),
    ("group_norm.default", X, 2, drawn(4), drawn(4)),
    ("index.Tensor", X, (None, ROWS)),
    ("index.Tensor", X, (None, ROWS, COLUMNS)),
    ("index_select.default", X, 1, COLUMNS[:1]),
    ("layer_norm.default", X, (5,)),
    ("linalg_vector_norm.default", X, 2, (1,), True),
    ("linear.default", X, drawn(7, 5)),
    ("_log_softmax.default", X, 1, False),
    ("logical_not.default", ABOVE),
    ("matmul.default", drawn(1, 2, 12, 9), drawn(1, 2, 9, 32)),
    ("max.dim", COARSE, 1),
    ("maximum.default", X, Y),
    ("mean.dim", X, (1,), True),
    ("min.dim", COARSE, 1, True),
    ("minimum.default", X, Y),
    ("mm.default", X[0, 0], Y[0, 0].t().contiguous()),
    ("permute.default", X, (0, 2, 1, 3)),
    ("pow.Scalar", 2.0, X),
    ("pow.Tensor_Scalar", POSITIVE, 1.5),
    ("pow.Tensor_Tensor", POSITIVE, X),
    ("prod.dim_int", X, 1),
    ("remainder.Scalar", PLACES, 3),
    ("reshape.default", X, (1, 24, 5)),
    ("scatter.src", X, 1, PLACES[:, :1].contiguous(), Y),
    ("scatter.value", X, 1, PLACES[:, :1].contiguous(), 3.0),
    ("slice.Tensor", X, 1, 0, END, 2),
    ("slice.Tensor", X, 2, -3, END),
    ("slice_scatter.default", X, Y[:, :2].contiguous(), 1, 1, 3),
    ("_softmax.default", X, 1, False),
    ("softmax.int", X, 1),
    ("sort.stable", COARSE, {"stable": True, "dim": 1, "descending": True}),
    ("sort.stable", COARSE, {"stable": True, "dim": -1, "descending": False}),
    ("sum.dim_IntList", X, (1, 2)),
    ("_to_copy.default", ABOVE, {"dtype": torch.float32}),
    ("_to_copy.default", X, {"dtype": torch.int64}),
    ("var.correction", X, (1,), {"correction": 1}),
    ("where.self", ABOVE, X, Y),
)
SEVERAL = {"max.dim": 2, "min.dim": 2, "sort.stable": 2}


class Recorder:
    """One island of all cases, its inputs each once."""

    def __init__(self) -> None:
        self.given: dict[int, Tensor] = {}
        for case in CASES:
            self._note(case)
        self.places = {key: Value(index) for index, key in enumerate(self.given)}
        self.calls: list[Call] = []
        self.results: list[Value] = []
        self.sources: list[str] = []
        for operator, *arguments in CASES:
            assert isinstance(operator, str)
            self._call(operator, arguments)

    def _note(self, part: object) -> None:
        if isinstance(part, Tensor):
            self.given.setdefault(id(part), part)
        elif isinstance(part, tuple):
            for entry in part:
                self._note(entry)

    def _argument(self, part: object) -> Argument:
        if isinstance(part, torch.dtype):
            return TypeName(str(part).removeprefix("torch."))
        if isinstance(part, tuple):
            return tuple(map(self._argument, part))
        if isinstance(part, Tensor):
            return self.places[id(part)]
        assert part is None or isinstance(part, bool | int | float | str)
        return part

    def _call(self, operator: str, arguments: list[object]) -> None:
        options = arguments.pop() if isinstance(arguments[-1], dict) else {}
        assert isinstance(options, dict)
        named = tuple((key, self._argument(value)) for key, value in options.items())
        made = self._add(Call(operator, tuple(map(self._argument, arguments)), named))
        parts = SEVERAL.get(operator, 0)
        found = [self._add(Call(GETITEM, (made, index))) for index in range(parts)] or [made]
        self.results += found
        self.sources += [operator] * len(found)

    def _add(self, call: Call) -> Value:
        self.calls.append(call)
        return Value(len(self.given) + len(self.calls) - 1)


def island_of_all() -> tuple[Workload, Host, Recorder, list[np.ndarray]]:
    record = Recorder()
    arrays = [tensor.numpy() for tensor in record.given.values()]
    inputs = tuple(f"x{index}" for index in range(len(arrays)))
    types = tuple(type_name(tensor) for tensor in record.given.values())
    outputs = tuple(f"y{index}" for index in range(len(record.results)))
    host = Host(
        "all", inputs, (), types, tuple(record.calls), tuple(record.results), outputs, 0, "tests"
    )
    made = islands.evaluate(host, arrays)
    tensors = {
        name: Activation(name, array.shape, ELEMENTS[str(array.dtype)])
        for name, array in zip((*inputs, *outputs), (*arrays, *made), strict=True)
    }
    return Workload("all", inputs, outputs, (host,), tensors), host, record, arrays


def test_the_cases_are_all_operators() -> None:
    assert {case[0] for case in CASES} | {GETITEM} == OPERATORS


@pytest.mark.slow
def test_every_operator_is_close_to_pytorch(model_cache: Path) -> None:
    workload, host, record, arrays = island_of_all()
    kernel = island_kernel(workload, host, model_cache)
    values = dict(zip(host.inputs, arrays, strict=True))
    found = kernel.compute(values, 0)
    expected = islands.evaluate(host, arrays)
    wrong = [
        source
        for source, got, want in zip(record.sources, found, expected, strict=True)
        if got.dtype != want.dtype
        or got.shape != want.shape
        or not np.allclose(got, want, RELATIVE, ABSOLUTE, equal_nan=True)
    ]
    assert not wrong


def test_what_tvm_does_not_take_is_refused() -> None:
    apart = Call("index.Tensor", (Value(0), (Value(1), None, Value(1))))
    inputs = Activation("x", (1, 4, 3), FLOAT), Activation("i", (2,), WHOLE)
    made = Activation("y", (2, 4), FLOAT)
    host = Host(
        "picked", ("x", "i"), (), ("float32", "int64"), (apart,), (Value(2),), ("y",), 0, "tests"
    )
    tensors = {tensor.name: tensor for tensor in (*inputs, made)}
    with pytest.raises(UnsupportedError) as caught:
        imported(Workload("apart", ("x", "i"), ("y",), (host,), tensors), host)
    assert str(caught.value) == (
        "picked: TVM has no kernel for it (indices of axes that are apart); use the reference"
    )
