"""Graph rewrites, grouping and quantisation: mechanism only, each pass a frozen dataclass."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import GraphModule

from intaglio.compiler.passes.canonicalize import Canonicalize
from intaglio.compiler.passes.compose_functions import ComposeFunctions
from intaglio.compiler.passes.compose_norms import ComposeNorms
from intaglio.compiler.passes.decompose import Decompose
from intaglio.compiler.passes.find_signs import FindSigns
from intaglio.compiler.passes.fold_batch_norm import FoldBatchNorm
from intaglio.compiler.passes.fold_constants import FoldConstants
from intaglio.compiler.passes.lift_constants import LiftConstants
from intaglio.compiler.passes.norms import SplitNorms
from intaglio.compiler.passes.raise_functions import RaiseFunctions
from intaglio.compiler.passes.take_quantisers import TakeQuantisers
from intaglio.compiler.passes.volumes import SplitVolumes

Pass = Callable[[GraphModule], GraphModule]

PASSES: tuple[Pass, ...] = (
    FoldConstants(),
    FindSigns(),
    ComposeNorms(),
    ComposeFunctions(),
    Decompose(),
    ComposeFunctions(),
    Canonicalize(),
    FoldConstants(),
    FoldBatchNorm(),
    SplitVolumes(),
    RaiseFunctions(),
    FoldConstants(),
    SplitNorms(),
    LiftConstants(),
    TakeQuantisers(),
)
"""What every captured graph goes through, in this order, before it is grouped and quantised."""
