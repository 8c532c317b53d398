"""The integer network compiled by TVM with LLVM: the reference's words, at machine speed.

| module | what it holds |
|---|---|
| `network` | `compile_network` and what it returns: `run` from inputs to outputs |
| `operators` | the table of operators: one TE definition each, and its schedule |
| `moves`, `products`, `rows`, `resizing` | definitions of operators, by kind |
| `contractions` | convolutions and products on packed operands, and their schedule |
| `dots` | the dot products that processors do in one instruction |
| `definition` | what definitions share: arguments, the epilogue, types in memory |
| `schedules` | loops of kernels that are nothing special |
| `memory` | arrays on TVM's side |
| `library` | kernels built by LLVM, each kept on disk under a hash of its content |

Only this package imports TVM, and only when a network is compiled.
"""

from __future__ import annotations

from intaglio.compiler.kernels.network import Network, compile_network

__all__ = ["Network", "compile_network"]
