"""How the loops of a kernel are arranged when nothing about it is special."""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx import IterVar


def plain(s: Schedule) -> None:
    """Every block for itself: outer loops shared among cores, the innermost left to LLVM."""
    for block in s.get_child_blocks(s.get_sblock("root")):
        share(s, block)


def share(s: Schedule, block: SBlockRV, inner: int = 1) -> None:
    """Sums and maxima outside of the innermost `inner` spatial loops; the others shared."""
    loops = s.get_loops(block)
    kinds = [axis.iter_type for axis in s.get(block).iter_vars]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == IterVar.DataPar]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != IterVar.DataPar]
    inner = min(inner, len(spatial) - 1)
    outer, last = spatial[: len(spatial) - inner], spatial[len(spatial) - inner :]
    s.reorder(*outer, *summed, *last)
    s.parallel(s.fuse(*outer))
    if summed:
        s.decompose_reduction(block, summed[0])
