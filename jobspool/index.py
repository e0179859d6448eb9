"""The order of what waits: priority, then mtime, then name; and the times when the rest falls due. Pure: no disk, no clock."""

from __future__ import annotations

import heapq


class Index:
    """What is known to wait in pending/ and failed/. Adding an id again replaces what was known of it."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[int, float, str]] = {}  # id: (-priority, from when it may run, id)
        self._failed: dict[str, float] = {}  # id: due
        self._ready: list[tuple[int, float, str]] = []  # heaps; entries that the dictionaries don't confirm are stale
        self._later: list[tuple[float, str]] = []
        self._due: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._pending) + len(self._failed)

    def __contains__(self, id: str) -> bool:
        return id in self._pending

    def add(self, id: str, priority: int, start: float) -> None:
        """Note that the pending job may run from `start` on."""
        key = (-priority, start, id)
        if self._pending.get(id) != key:
            self._pending[id] = key
            heapq.heappush(self._later, (start, id))

    def add_failed(self, id: str, due: float) -> None:
        """Note that the failed job is due again then."""
        if self._failed.get(id) != due:
            self._failed[id] = due
            heapq.heappush(self._due, (due, id))

    def remove(self, id: str) -> None:
        """Forget the pending job, if it is known."""
        self._pending.pop(id, None)

    def remove_failed(self, id: str) -> None:
        """Forget the failed job, if it is known."""
        self._failed.pop(id, None)

    def pending(self) -> set[str]:
        """Return the ids that are known to be pending."""
        return set(self._pending)

    def failed(self) -> set[str]:
        """Return the ids that are known to be failed."""
        return set(self._failed)

    def next(self, now: float) -> str | None:
        """Take out and return the id of the job that runs next, None when none may run yet."""
        self._ripen(now)
        while self._ready:
            key = heapq.heappop(self._ready)
            if self._pending.get(key[2]) == key:
                del self._pending[key[2]]
                return key[2]
        return None

    def take_due(self, now: float) -> list[str]:
        """Take out and return the ids of the failed jobs whose time has come."""
        ids = []
        while self._due and self._due[0][0] <= now:
            due, id = heapq.heappop(self._due)
            if self._failed.get(id) == due:
                del self._failed[id]
                ids.append(id)
        return ids

    def next_time(self, now: float) -> float | None:
        """Return the earliest time at which a job falls due or may run that can't now, None if there is none."""
        self._ripen(now)
        while self._later and not self._confirmed(*self._later[0]):
            heapq.heappop(self._later)
        while self._due and self._failed.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return min((heap[0][0] for heap in (self._later, self._due) if heap), default=None)

    def _ripen(self, now: float) -> None:
        """Move what may run by now to the ready heap."""
        while self._later and self._later[0][0] <= now:
            start, id = heapq.heappop(self._later)
            if self._confirmed(start, id):
                heapq.heappush(self._ready, self._pending[id])

    def _confirmed(self, start: float, id: str) -> bool:
        key = self._pending.get(id)
        return key is not None and key[1] == start
