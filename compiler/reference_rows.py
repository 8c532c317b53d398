"""The integer reference of operators that work on whole rows: softmax and the norms."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.compiler import numerics
from intaglio.compiler.numerics import Ints
from intaglio.compiler.reference_tensors import merged, per_image, stretchable
from intaglio.compiler.workload import Norm, Softmax, Workload

Values = Mapping[str, Ints]


def probabilities(workload: Workload, op: Softmax, values: Values) -> Ints:
    """Softmax along the last axis, every image under its own mask."""
    output = workload.tensor(op.output)
    x = per_image(workload, op.input, values)
    mask = None
    if op.mask is not None:
        mask = stretchable(per_image(workload, op.mask, values), output.shape)
    bits = output.element.bits
    made = numerics.softmax(x, op.multiplier, op.shift, bits, mask=mask)
    return merged(made, output.shape)


def normalised(workload: Workload, op: Norm, values: Values) -> Ints:
    """Layer and RMS norm over the last axis, group norm over the parts of axis 1."""
    x = values[op.input]
    names = (op.epilogue.multiplier, op.epilogue.shift, op.epilogue.bias)
    multiplier, shift, bias = (workload.constants[name] for name in names)
    numbers = op.epsilon, op.fraction, multiplier, shift, bias, op.epilogue.lo, op.epilogue.hi
    if op.kind == "group":
        return numerics.group_norm(x, op.groups, *numbers)
    return numerics.normalise(x, (x.ndim - 1,), *numbers, centred=op.kind == "layer")
