"""The table of ONNX operators: each one in terms of functions of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.compiler.onnx_import.node import Builder
from intaglio.compiler.onnx_import.operators.arithmetic import ARITHMETIC
from intaglio.compiler.onnx_import.operators.integer_layers import INTEGER_LAYERS
from intaglio.compiler.onnx_import.operators.layers import LAYERS
from intaglio.compiler.onnx_import.operators.moves import MOVES, SHAPES
from intaglio.compiler.onnx_import.operators.quantisers import QUANTISERS
from intaglio.compiler.onnx_import.operators.recurrent import RECURRENT
from intaglio.compiler.onnx_import.operators.resize import RESIZES
from intaglio.compiler.onnx_import.operators.windows import POOLS

OPERATORS: Mapping[str, Builder] = {
    **ARITHMETIC,
    **INTEGER_LAYERS,
    **LAYERS,
    **MOVES,
    **POOLS,
    **QUANTISERS,
    **RECURRENT,
    **RESIZES,
}
"""What each operator computes, by its name: ONNX's own, and the quantisers of QONNX."""

KNOWN = SHAPES | {"IsNaN"}
"""Operators whose result is known although their input is not."""

__all__ = ["INTEGER_LAYERS", "KNOWN", "OPERATORS", "QUANTISERS"]
