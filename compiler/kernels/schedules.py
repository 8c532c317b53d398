"""How the loops of a kernel are arranged: shared among cores, and sums of products in tiles."""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import IterVar, PrimFunc


def plain(s: Schedule) -> None:
    """Every block for itself: outer loops shared among cores, the innermost left to LLVM."""
    for block in s.get_child_blocks(s.get_sblock("root")):
        share(s, block)


VECTOR = 16
"""Elements of the innermost loop of a tile, at most."""
ROWS = 8
"""Rows of a tile: sums that share what they read."""


def loops_are_plain(function: PrimFunc) -> bool:
    """Whether every block of a kernel computes its elements in any order, or sums."""
    root = getattr(function.body, "block", None)
    if root is None or root.name_hint != "root":
        return False
    s, kinds = Schedule(function), (IterVar.DataPar, IterVar.CommReduce)
    blocks = s.get_child_blocks(s.get_sblock("root"))
    return bool(blocks) and all(
        len(s.get(block).iter_vars) == len(s.get_loops(block))
        and any(axis.iter_type == IterVar.DataPar for axis in s.get(block).iter_vars)
        and all(axis.iter_type in kinds for axis in s.get(block).iter_vars)
        for block in blocks
    )


def tiled(s: Schedule) -> None:
    """Every block for itself; sums of products in tiles of registers, all others shared."""
    for block in s.get_child_blocks(s.get_sblock("root")):
        kinds = [axis.iter_type for axis in s.get(block).iter_vars]
        products = len(s.get(block).reads) > 1 and IterVar.CommReduce in kinds
        if products and kinds.count(IterVar.DataPar) > 1:
            tile(s, block)
        else:
            share(s, block)


def tile(s: Schedule, block: SBlockRV) -> None:
    """A tile of sums in registers: some of the last axis side by side, and a few rows of another.

    The rows are those of a matrix, or the channels of a map, which share what they read.
    """
    kinds = [axis.iter_type for axis in s.get(block).iter_vars]
    kept = s.cache_write(block, 0, "local")
    loops = s.get_loops(block)
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == IterVar.DataPar]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != IterVar.DataPar]
    at = 1 if len(spatial) > 3 else len(spatial) - 2
    outer_row, row = s.split(spatial[at], [None, _divisor(s, spatial[at], ROWS)])
    outer_last, last = s.split(spatial[-1], [None, _divisor(s, spatial[-1], VECTOR)])
    outer = [*spatial[:at], outer_row, *spatial[at + 1 : -1], outer_last]
    s.reorder(*outer, *summed, row, last)
    s.reverse_compute_at(kept, outer_last)
    s.parallel(s.fuse(*outer))
    s.unroll(row)
    s.vectorize(last)
    start = s.decompose_reduction(block, summed[0])
    for other in (start, kept):
        s.vectorize(s.get_loops(other)[-1])


def _divisor(s: Schedule, loop: LoopRV, most: int) -> int:
    """The largest divisor of a loop's extent up to `most`."""
    extent = int(s.get(loop).extent)
    return max(size for size in range(1, most + 1) if extent % size == 0)


def share(s: Schedule, block: SBlockRV, inner: int = 1) -> None:
    """Sums and maxima outside of the innermost `inner` spatial loops; the others shared.

    Those of integers along rows of memory stay inside of all, where LLVM may reorder them.
    """
    loops = s.get_loops(block)
    kinds = [axis.iter_type for axis in s.get(block).iter_vars]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == IterVar.DataPar]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != IterVar.DataPar]
    inner = 0 if _sums_rows(s, block) else min(inner, len(spatial) - 1)
    outer, last = spatial[: len(spatial) - inner], spatial[len(spatial) - inner :]
    s.reorder(*outer, *summed, *last)
    s.parallel(s.fuse(*outer))
    if summed:
        s.decompose_reduction(block, summed[0])


def _sums_rows(s: Schedule, block: SBlockRV) -> bool:
    """Whether a block sums integers that are neighbours in memory."""
    made = s.get(block)
    if "float" in str(made.writes[0].source.dtype):
        return False
    summed = [axis.var for axis in made.iter_vars if axis.iter_type != IterVar.DataPar]
    ends = [region.region[-1].min for region in made.reads if len(region.region)]
    return any(end.same_as(var) for end in ends for var in summed)
