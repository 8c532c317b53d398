"""The operators of a workload, each with the exact integers it computes.

Every operator names its tensors; the numbers lie in the workload.  What a compute operator does to
its accumulators (`epilogue`) belongs to its meaning: it rounds once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from intaglio.compiler.calls import Call, Value

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""Top, bottom, left, right, in pixels."""


@dataclass(frozen=True, slots=True)
class Requantise:
    """`y = clamp((acc * m + r * mr + b) >> s, lo, hi)`, rounded once; then `table`, when given.

    `multiplier`, `shift`, `bias` and `residual_multiplier` name constants of shape (K,), one entry
    per output channel (axis 1 of a map, else the last axis), or of shape (1,) for all of them: m
    unsigned 16 bits, 1 <= s <= 36, b signed 48 bits (the bias and the rounding half), mr signed 17
    bits.  `residual` names the activation tensor r (shape of y).  `table` names a constant of 256
    entries indexed by the clamped value modulo 256.
    """

    multiplier: str
    shift: str
    bias: str
    lo: int
    hi: int
    residual: str | None = None
    residual_multiplier: str | None = None
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where an operator comes from: graph nodes it was fused from, and the user's line."""

    nodes: tuple[str, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True)
class Conv2d:
    """acc[n,k,oy,ox] = sum over c,fy,fx of x * w; w is (K, C/groups, FY, FX)."""

    name: str
    input: str
    weight: str
    output: str
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class MatMul:
    """acc[..., n] = sum over k of x[..., k] * w[n, k]; w is constant, PyTorch's (out, in)."""

    name: str
    input: str
    weight: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Pool:
    """Max (padded with the type's minimum) or sum over a window, then the epilogue.

    A max pool has no epilogue; an average is a sum whose epilogue multiplies by the reciprocal.
    """

    name: str
    kind: Literal["max", "average"]
    input: str
    output: str
    kernel: Pair
    stride: Pair
    padding: Padding
    epilogue: Requantise | None
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Eltwise:
    """y = clamp((a * m + b * mr + half) >> s): the epilogue with acc = `input`, r = residual."""

    name: str
    kind: Literal["add", "sub"]
    input: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Rescale:
    """One tensor to another scale, type or through a table: the epilogue with acc = `input`."""

    name: str
    input: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Concat:
    """Join along `axis`; each operand has its own requantisation."""

    name: str
    inputs: tuple[str, ...]
    output: str
    epilogues: tuple[Requantise, ...]
    axis: int = 1
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same row-major order under another shape."""

    name: str
    input: str
    output: str
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor of the model that no input changes: the constant `value`, of the output's shape."""

    name: str
    value: str
    output: str
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class BatchMatMul:
    """acc[..., m, n] = sum over k of x[..., m, k] * w[..., k, n], both operands computed.

    With `transposed` the right operand is stored as w[..., n, k].  Leading axes are equal.
    """

    name: str
    input: str
    other: str
    output: str
    transposed: bool
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Multiply:
    """acc = x * w, element by element; axes of extent 1 stretch, as in PyTorch."""

    name: str
    input: str
    other: str
    output: str
    epilogue: Requantise
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Reduce:
    """The sum or the maximum over `axes`, of which the output keeps or drops the extents of 1.

    A sum has an epilogue (a mean's multiplies by the reciprocal), a maximum has none.
    """

    name: str
    kind: Literal["sum", "max"]
    input: str
    output: str
    axes: tuple[int, ...]
    epilogue: Requantise | None
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Transpose:
    """Axis i of the output is axis `permutation[i]` of the input."""

    name: str
    input: str
    output: str
    permutation: tuple[int, ...]
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Slice:
    """y[i] = x[start + step * i] on every axis; the output's shape says how many."""

    name: str
    input: str
    output: str
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Pad:
    """Zeros ahead of and behind the input on every axis."""

    name: str
    input: str
    output: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Expand:
    """Axes of extent 1, and axes missing in front, repeated to the output's shape."""

    name: str
    input: str
    output: str
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Resize:
    """Linear interpolation over the last axes, one after another, rounded once at the end.

    `factors` holds, for each of them, the scale factor given to PyTorch, or None where it was given
    the size; with `aligned` the outermost elements of input and output coincide.  The taps follow
    from these and the shapes (`numerics.linear_taps`).  Type and scale are the input's.
    """

    name: str
    input: str
    output: str
    factors: tuple[float | None, ...]
    aligned: bool
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Gather:
    """Slices of the input along `axis`, at the indices that `index` holds, clamped to its extent.

    The output's shape is the input's with the extent of `axis` replaced by the shape of `index`.
    """

    name: str
    input: str
    index: str
    output: str
    axis: int
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Softmax:
    """Probabilities along the last axis, as `numerics.softmax` defines them.

    `multiplier` and `shift` are its constants.  Entries where `mask` is 0 are exactly 0 and do not
    count; the shape of the mask stretches to the input's, as in PyTorch.  The output is unsigned
    and its largest code stands for 1.
    """

    name: str
    input: str
    output: str
    multiplier: int
    shift: int
    mask: str | None = None
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer or RMS norm over the last axis, or a group norm, as `numerics.norm` defines them.

    acc is the standardised input with 20 bits below the binary point, of which `epsilon` and
    `fraction` are the constants.  The epilogue holds gamma and beta: one entry for each element of
    the last axis, of a group norm for each channel (axis 1); its multiplier is signed 17 bits.
    """

    name: str
    kind: Literal["layer", "rms", "group"]
    input: str
    output: str
    epsilon: int
    fraction: int
    epilogue: Requantise
    groups: int = 1
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Host:
    """An island: calls of PyTorch without an integer form, which the host computes in float32.

    `inputs` are dequantised, and the constants `numbers` stand beside them, each as PyTorch's type
    in `types`.  `results` are the values that leave, as `outputs`: quantised to the type and scale
    of their tensor, or left as they are where that is `float`.  `macs` counts the products of all
    calls, and `reason` says why it is here.
    """

    name: str
    inputs: tuple[str, ...]
    numbers: tuple[str, ...]
    types: tuple[str, ...]
    calls: tuple[Call, ...]
    results: tuple[Value, ...]
    outputs: tuple[str, ...]
    macs: int
    reason: str
    source: Source = field(default_factory=Source)

    @property
    def output(self) -> str:
        """The first of its outputs; `outputs(op)` has all of any operator."""
        return self.outputs[0]


Op = (
    Conv2d
    | MatMul
    | BatchMatMul
    | Pool
    | Reduce
    | Eltwise
    | Multiply
    | Rescale
    | Softmax
    | Norm
    | Constant
    | Concat
    | Reshape
    | Transpose
    | Slice
    | Pad
    | Expand
    | Resize
    | Gather
    | Host
)
OPERANDS = ("input", "other", "index", "mask")
"""The fields of an operator that may name an activation; `inputs` names several."""
CONSTANTS = ("weight", "value")
"""The fields of an operator that name a constant."""


def epilogues(op: Op) -> tuple[Requantise, ...]:
    """Every requantisation that `op` performs, in operand order."""
    if isinstance(op, Concat):
        return op.epilogues
    epilogue: Requantise | None = getattr(op, "epilogue", None)
    return () if epilogue is None else (epilogue,)


def inputs(op: Op) -> tuple[str, ...]:
    """The activation tensors that `op` reads: operands, then the residual."""
    several = op.inputs if isinstance(op, Concat | Host) else ()
    operands = tuple(getattr(op, name, None) for name in OPERANDS)
    residuals = tuple(e.residual for e in epilogues(op))
    return tuple(name for name in (*several, *operands, *residuals) if name is not None)


def outputs(op: Op) -> tuple[str, ...]:
    """The activation tensors that `op` makes: one, or those of an island."""
    return op.outputs if isinstance(op, Host) else (op.output,)


def constants(op: Op) -> tuple[str, ...]:
    """The constants that `op` reads: its weight and its requantisation arrays."""
    if isinstance(op, Host):
        return op.numbers
    own = tuple(getattr(op, name) for name in CONSTANTS if hasattr(op, name))
    arrays = tuple(
        name
        for e in epilogues(op)
        for name in (e.multiplier, e.shift, e.bias, e.residual_multiplier, e.table)
        if name is not None
    )
    return own + arrays
