"""Time for event-driven models: a queue of actions in the order of their cycles."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Events:
    """Runs actions in the order of their time, and of their arrival where times are equal."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Action]] = []
        self._serial = 0

    def at(self, time: float, action: Action) -> None:
        """Run `action` at `time`, or now when that is past."""
        self._serial += 1
        heapq.heappush(self._heap, (max(time, self.now), self._serial, action))

    def run(self) -> None:
        """Run until nothing is left to do."""
        heap = self._heap
        while heap:
            self.now, _, action = heapq.heappop(heap)
            action()
