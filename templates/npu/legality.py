"""Whether the tokens of a program can stop it, from the encoded instructions.

In the order of the program no instruction may take a token that none before it gave, and no counter
may pass its limit.  Then the oldest instruction that has not retired can always go on, whatever
takes how long: docs/formal.md, "No deadlock of tokens".
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from intaglio.templates.npu.isa import HEADER, TOKEN_LIMIT, UNIT_BITS, Unit


def stop(instructions: NDArray[np.uint32]) -> str | None:
    """The first fault in the order of a program, of shape (count, 16), in words; None if legal."""
    opcode, pop, push = (
        instructions[:, HEADER[name].word] >> HEADER[name].lsb & ((1 << HEADER[name].width) - 1)
        for name in ("opcode", "pop", "push")
    )
    unit = opcode & ((1 << UNIT_BITS) - 1)
    for giver, taker in permutations(Unit, 2):
        gives = (unit == giver) & (push >> taker & 1 == 1)
        takes = (unit == taker) & (pop >> giver & 1 == 1)
        tokens = np.cumsum(gives, dtype=np.int64) - np.cumsum(takes, dtype=np.int64)
        pair = f"{giver.name.lower()} for {taker.name.lower()}"
        wrong = np.flatnonzero((tokens < 0) | (tokens > TOKEN_LIMIT))
        if wrong.size:
            first = int(wrong[0])
            if tokens[first] < 0:
                return f"instruction {first} takes a token of {pair} that none before it gives"
            return f"instruction {first} gives token {tokens[first]} of {pair}, {TOKEN_LIMIT} fit"
    return None
