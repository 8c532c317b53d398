"""Dot products that processors do in one instruction, for TVM to put in place of a loop.

`acc[l] += sum over i < depth of x[i] * w[l, i]` on `lanes` accumulators of 32 bits at once.  Any
processor has the last of the table, which is no instruction: LLVM makes what it can of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import TensorIntrin
from tvm.script.ir_builder import IRBuilder
from tvm.target import Target, codegen
from tvm.tirx.script import builder as build

from intaglio.compiler.workload import ElementType


@dataclass(frozen=True, slots=True)
class Dot:
    """One instruction: what the processor must have, its shape and types, LLVM's name for it.

    With `accumulates` the instruction takes the accumulators as its first operand.
    """

    feature: str
    lanes: int
    depth: int
    input: ElementType
    weight: ElementType
    intrinsic: str
    accumulates: bool

    @property
    def name(self) -> str:
        """The name under which TVM knows it."""
        return f"intaglio.{self.intrinsic}"

    @property
    def unsigned(self) -> bool:
        """Whether it takes inputs from 0 upwards only."""
        return self.input.encoding == "unsigned"


U8, I8, I16 = ElementType(8, "unsigned"), ElementType(8), ElementType(16)
DOTS = (
    Dot("avx512vnni", 16, 4, U8, I8, "llvm.x86.avx512.vpdpbusd.512", accumulates=True),
    Dot("avxvnni", 8, 4, U8, I8, "llvm.x86.avx512.vpdpbusd.256", accumulates=True),
    Dot("avx512bw", 16, 2, I16, I16, "llvm.x86.avx512.pmaddw.d.512", accumulates=False),
    Dot("avx2", 8, 2, I16, I16, "llvm.x86.avx2.pmadd.wd", accumulates=False),
)
"""Fastest first.  A pair of 16-bit products cannot overflow unless all four are -2^15."""


@cache
def register(dot: Dot) -> str:
    """Make `dot` known to TVM; returns its name."""
    TensorIntrin.register(dot.name, _function(dot, fast=False), _function(dot, fast=True))
    return dot.name


def _function(dot: Dot, fast: bool) -> tirx.PrimFunc:
    """The loop that the instruction stands for, or the instruction."""
    x_type, w_type = (_type(element) for element in (dot.input, dot.weight))
    with IRBuilder() as made, build.prim_func(s_tir=True):
        build.func_name("dot")
        x = build.arg("x", build.buffer((dot.depth,), x_type, offset_factor=1))
        w = build.arg("w", build.buffer((dot.lanes, dot.depth), w_type, offset_factor=1))
        acc = build.arg("acc", build.buffer((dot.lanes,), "int32", offset_factor=1))
        with build.sblock("root"):
            build.reads(acc[0 : dot.lanes], x[0 : dot.depth], w[0 : dot.lanes, 0 : dot.depth])
            build.writes(acc[0 : dot.lanes])
            (_instruction if fast else _loop)(dot, x, w, acc)
    return made.get()


def _loop(dot: Dot, x: tirx.Buffer, w: tirx.Buffer, acc: tirx.Buffer) -> None:
    with build.grid(dot.lanes, dot.depth) as (lane, place), build.sblock("update"):
        at, i = build.axis.remap("SR", [lane, place])
        product = x[i].astype("int32") * w[at, i].astype("int32")
        build.buffer_store(acc, acc[at] + product, [at])


def _instruction(dot: Dot, x: tirx.Buffer, w: tirx.Buffer, acc: tirx.Buffer) -> None:
    """Every lane gets the same `depth` inputs, which are 32 bits together."""
    sums = f"int32x{dot.lanes}"
    weights = f"{_type(dot.weight)}x{dot.lanes * dot.depth}"
    word = _reinterpreted(x.vload([0], f"{_type(dot.input)}x{dot.depth}"), "int32")
    operands = (
        _reinterpreted(tirx.Broadcast(word, dot.lanes), weights),
        w.vload([0, 0], weights),
    )
    before = acc.vload([0], sums)
    if dot.accumulates:
        after = tirx.call_llvm_pure_intrin(sums, dot.intrinsic, before, *operands)
    else:
        after = before + tirx.call_llvm_pure_intrin(sums, dot.intrinsic, *operands)
    lanes = tirx.Ramp(tirx.const(0, "int32"), tirx.const(1, "int32"), dot.lanes)
    build.buffer_store(acc, after, [lanes])


def _reinterpreted(value: Expr, dtype: str) -> Expr:
    return tirx.call_intrin(dtype, "tirx.reinterpret", value)


def _type(element: ElementType) -> str:
    return f"{'uint' if element.encoding == 'unsigned' else 'int'}{element.bits}"


def available(target: Target) -> tuple[Dot, ...]:
    """The instructions that `target` has, fastest first."""
    return tuple(dot for dot in DOTS if codegen.llvm_cpu_has_features(dot.feature, target))
