"""The order of what waits: priority, then mtime, then name; and the times when the rest falls due. Pure: no disk, no clock."""

from __future__ import annotations

import heapq

FEW = 1000  # stale entries that are kept, whatever they weigh


class Times:
    """A time for each of many ids; the earliest are found without looking at all. Setting an id again replaces its time."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # what the dictionary doesn't confirm is stale

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, id: str) -> bool:
        return id in self._times

    def __setitem__(self, id: str, when: float) -> None:
        if self._times.get(id) != when:
            self._times[id] = when
            heapq.heappush(self._heap, (when, id))
            if len(self._heap) > 2 * len(self._times) + FEW:  # one was set again and again
                self._heap = sorted((when, id) for id, when in self._times.items())

    def remove(self, id: str) -> None:
        """Forget the id, if it is known."""
        self._times.pop(id, None)

    def ids(self) -> set[str]:
        """Return the ids that have a time."""
        return set(self._times)

    def next(self) -> float | None:
        """Return the earliest time, None if there is none."""
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float, most: int | None = None) -> list[str]:
        """Take out and return the ids whose time has come, the earliest first and no more than `most`."""
        ids = []
        while len(ids) != most and (when := self.next()) is not None and when <= now:
            _, id = heapq.heappop(self._heap)
            del self._times[id]
            ids.append(id)
        return ids


class Index:
    """What is known to wait in pending/ and failed/. Adding an id again replaces what was known of it."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[int, float, str]] = {}  # id: (-priority, from when it may run, id)
        self._failed = Times()  # due
        self._ready: list[tuple[int, float, str]] = []  # heaps; entries that the dictionaries don't confirm are stale
        self._later: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._pending) + len(self._failed)

    def __contains__(self, id: str) -> bool:
        return id in self._pending

    def waiting(self) -> int:
        """Return how many pending jobs are known."""
        return len(self._pending)

    def add(self, id: str, priority: int, start: float) -> None:
        """Note that the pending job may run from `start` on."""
        key = (-priority, start, id)
        if self._pending.get(id) != key:
            self._pending[id] = key
            heapq.heappush(self._later, (start, id))
            if len(self._later) + len(self._ready) > 2 * len(self._pending) + FEW:
                self._later = sorted((start, id) for _, start, id in self._pending.values())
                self._ready = []

    def add_failed(self, id: str, due: float) -> None:
        """Note that the failed job is due again then."""
        self._failed[id] = due

    def remove(self, id: str) -> None:
        """Forget the pending job, if it is known."""
        self._pending.pop(id, None)

    def remove_failed(self, id: str) -> None:
        """Forget the failed job, if it is known."""
        self._failed.remove(id)

    def pending(self) -> set[str]:
        """Return the ids that are known to be pending."""
        return set(self._pending)

    def failed(self) -> set[str]:
        """Return the ids that are known to be failed."""
        return self._failed.ids()

    def next(self, now: float) -> str | None:
        """Take out and return the id of the job that runs next, None when none may run yet."""
        self._ripen(now)
        while self._ready:
            key = heapq.heappop(self._ready)
            if self._pending.get(key[2]) == key:
                del self._pending[key[2]]
                return key[2]
        return None

    def take_due(self, now: float, most: int | None = None) -> list[str]:
        """Take out and return the ids of the failed jobs whose time has come, no more than `most`."""
        return self._failed.take(now, most)

    def next_time(self, now: float) -> float | None:
        """Return the earliest time at which a job falls due or may run that can't now, None if there is none."""
        self._ripen(now)
        while self._later and not self._confirmed(*self._later[0]):
            heapq.heappop(self._later)
        times = (self._later[0][0] if self._later else None, self._failed.next())
        return min((when for when in times if when is not None), default=None)

    def _ripen(self, now: float) -> None:
        """Move what may run by now to the ready heap."""
        while self._later and self._later[0][0] <= now:
            start, id = heapq.heappop(self._later)
            if self._confirmed(start, id):
                heapq.heappush(self._ready, self._pending[id])

    def _confirmed(self, start: float, id: str) -> bool:
        key = self._pending.get(id)
        return key is not None and key[1] == start
