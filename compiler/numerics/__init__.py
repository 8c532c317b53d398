"""The one integer meaning: what every reference, kernel, simulator and circuit must agree with.

| module | meaning |
|---|---|
| `border` | floats to integers and back; rounding is half up everywhere: floor(v + 1/2) |
| `requantisation` | accumulator to output, its constants, and proofs that nothing overflows |
| `exact` | constants that round every reachable accumulator exactly |
| `tables` | unary functions as tables, interpolated above 8 bits |
| `softmax` | probabilities of a row, masked or not |
| `norm` | layer norm, RMS norm and group norm |
| `resize` | nearest and linear resizing |
| `bits` | counting bits |

Integer arrays are numpy int64, shifts are arithmetic, and nothing that runs on activations
computes in floating point: floats make constants, once.
"""

from __future__ import annotations

from intaglio.compiler.numerics.bits import bit_length
from intaglio.compiler.numerics.border import (
    Floats,
    Ints,
    dequantise,
    quantise,
    round_half_up,
    values_of,
)
from intaglio.compiler.numerics.exact import (
    FEW,
    exact_constants,
    exact_for_few,
    exact_reciprocal,
)
from intaglio.compiler.numerics.norm import (
    MAX_NORM_COUNT,
    NORM_FRACTION,
    NORM_MULTIPLIER,
    NormConstants,
    choose_norm,
    group_norm,
    norm_error_bound,
    normalise,
    reciprocal_root,
    standardise,
)
from intaglio.compiler.numerics.requantisation import (
    ACCUMULATOR,
    BIAS,
    MAX_SHIFT,
    MIN_SHIFT,
    MULTIPLIER,
    RESIDUAL_MULTIPLIER,
    SHIFT,
    SUM_LIMIT,
    Requantiser,
    accumulator_bound,
    bias_constant,
    choose_multiplier,
    choose_requantiser,
    choose_shared_shift,
    choose_threshold,
    prove_accumulator,
    prove_requantiser,
    requantise,
    snap_scale,
)
from intaglio.compiler.numerics.resize import (
    MAX_WEIGHT_BITS,
    WEIGHT_BITS,
    LinearTaps,
    linear_taps,
    nearest_indices,
    resize_error_bound,
    resize_linear,
    resize_nearest,
)
from intaglio.compiler.numerics.softmax import (
    EXPONENTIAL,
    MAX_SOFTMAX_ENTRIES,
    SOFTMAX_MULTIPLIER,
    SOFTMAX_SHIFT,
    SoftmaxConstants,
    choose_softmax,
    exponential,
    softmax,
    softmax_error_bound,
    softmax_scale,
)
from intaglio.compiler.numerics.tables import (
    KNOT,
    KNOT_FRACTION,
    TABLE_ENTRIES,
    InterpolatedTable,
    interpolate,
    interpolated_table,
    look_up,
    unary_table,
)

__all__ = [
    "ACCUMULATOR",
    "BIAS",
    "EXPONENTIAL",
    "FEW",
    "KNOT",
    "KNOT_FRACTION",
    "MAX_NORM_COUNT",
    "MAX_SHIFT",
    "MAX_SOFTMAX_ENTRIES",
    "MAX_WEIGHT_BITS",
    "MIN_SHIFT",
    "MULTIPLIER",
    "NORM_FRACTION",
    "NORM_MULTIPLIER",
    "RESIDUAL_MULTIPLIER",
    "SHIFT",
    "SOFTMAX_MULTIPLIER",
    "SOFTMAX_SHIFT",
    "SUM_LIMIT",
    "TABLE_ENTRIES",
    "WEIGHT_BITS",
    "Floats",
    "InterpolatedTable",
    "Ints",
    "LinearTaps",
    "NormConstants",
    "Requantiser",
    "SoftmaxConstants",
    "accumulator_bound",
    "bias_constant",
    "bit_length",
    "choose_multiplier",
    "choose_norm",
    "choose_requantiser",
    "choose_shared_shift",
    "choose_softmax",
    "choose_threshold",
    "dequantise",
    "exact_constants",
    "exact_for_few",
    "exact_reciprocal",
    "exponential",
    "group_norm",
    "interpolate",
    "interpolated_table",
    "linear_taps",
    "look_up",
    "nearest_indices",
    "norm_error_bound",
    "normalise",
    "prove_accumulator",
    "prove_requantiser",
    "quantise",
    "reciprocal_root",
    "requantise",
    "resize_error_bound",
    "resize_linear",
    "resize_nearest",
    "round_half_up",
    "snap_scale",
    "softmax",
    "softmax_error_bound",
    "softmax_scale",
    "standardise",
    "unary_table",
    "values_of",
]
