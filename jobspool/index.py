"""The order of what waits: priority, then mtime, then name; and the times when the rest falls due. Pure: no disk, no clock.

Jobs that need what is used up are set apart, in a line for each that need the same: none of them is looked at until some of that
may be had again, and nobody waits behind them. Where groups have shares, each has a line too, and the one goes first that has had
least for its weight.
"""

from __future__ import annotations

import heapq
import math

from jobspool.admission import GROUP, earliest, rank

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
        self.aging: float | None = None  # seconds of waiting that make up for one of priority
        self.weights: dict[str, float] = {}  # of groups that have a share, by the names of needs; of others it is 1
        self._pending: dict[str, tuple[float, float, str]] = {}  # id: its rank
        self._needs: dict[str, tuple[str, ...]] = {}  # what a pending job needs beside a worker
        self._since: dict[str, float] = {}  # when those came that could not run from their start on
        self._failed = Times()  # due
        self._apart: dict[tuple[str, ...], list[tuple[float, float, str]]] = {}  # heaps, by what they need
        self._full: dict[str, float] = {}  # what is used up: until when it isn't tried again
        self._active: set[str] = set()  # groups that have had something to run
        self._had: dict[str, float] = {}  # what groups have had for their weight
        self._ready: list[tuple[int, float, str]] = []  # heaps; entries that the dictionaries don't confirm are stale
        self._later: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._pending) + len(self._failed)

    def __contains__(self, id: str) -> bool:
        return id in self._pending

    def waiting(self) -> int:
        """Return how many pending jobs are known."""
        return len(self._pending)

    def add(self, id: str, priority: int, start: float, needs: tuple[str, ...] = (), since: float | None = None) -> None:
        """Note that the pending job may run from `start` on, when what it needs can be had; and since when it waits, if later."""
        if since is None or since == start:
            self._since.pop(id, None)
        else:
            self._since[id] = since
        key = rank(priority, start, id, self.aging)
        if self._needs.get(id, ()) != needs:
            self._pending.pop(id, None)
            self._needs[id] = needs
        if self._pending.get(id) != key:
            self._pending[id] = key
            heapq.heappush(self._later, (start, id))
            if len(self._later) + len(self._ready) + sum(map(len, self._apart.values())) > 2 * len(self._pending) + FEW:
                self._later = sorted((start, id) for _, start, id in self._pending.values())
                self._ready, self._apart = [], {}

    def add_failed(self, id: str, due: float) -> None:
        """Note that the failed job is due again then."""
        self._failed[id] = due

    def remove(self, id: str) -> None:
        """Forget the pending job, if it is known."""
        self._since.pop(id, None)
        self._pending.pop(id, None)
        self._needs.pop(id, None)

    def remove_failed(self, id: str) -> None:
        """Forget the failed job, if it is known."""
        self._failed.remove(id)

    def pending(self) -> set[str]:
        """Return the ids that are known to be pending."""
        return set(self._pending)

    def oldest(self, now: float) -> float | None:
        """Return from when the pending job may run that could have for longest, None where none may. Looks at all of them."""
        since = self._since
        return min((since.get(id, start) for _, start, id in self._pending.values() if start <= now), default=None)

    def next_due(self) -> float | None:
        """Return when the next failed job is due, None where none is."""
        return self._failed.next()

    def failed(self) -> set[str]:
        """Return the ids that are known to be failed."""
        return self._failed.ids()

    def next(self, now: float) -> str | None:
        """Take out and return the id of the job that runs next, None when none may run yet."""
        self._ripen(now)
        if self._full or self._apart or self.weights:
            self._set_apart(now)
            heap = self._first(now)
        else:  # as nearly always
            heap = self._ready if self._confirms(self._ready) else None
        if heap is None:
            return None
        id = heapq.heappop(heap)[2]
        self._count(self._needs.get(id, ()))
        self.remove(id)
        return id

    def _set_apart(self, now: float) -> None:
        """Let the next that is ready be one that may run: those before it that may not stand in the lines of what they need."""
        while self._confirms(self._ready):
            needs = self._needs.get(self._ready[0][2], ())
            if not needs or not (self.weights or self._is_full(needs, now)):
                return
            heapq.heappush(self._apart.setdefault(needs, []), heapq.heappop(self._ready))

    def full(self, name: str, until: float = math.inf) -> None:
        """Note that what is needed by that name is used up, and isn't tried again before `until`, or free()."""
        self._full[name] = until

    def free(self, names: object = None) -> None:
        """Note that some of what has these names may be had again, also by who needs several; of all, without names."""
        for name in [name for name in self._full if names is None or name.partition("*")[0] in names]:
            del self._full[name]

    def barred(self) -> int:
        """Return how many pending jobs need what is used up for as long as nobody says otherwise."""
        lines = [needs for needs in self._apart if any(self._full.get(name) == math.inf for name in needs)]
        return len({key[2] for needs in lines for key in self._apart[needs] if self._pending.get(key[2]) == key})

    def _is_full(self, needs: tuple[str, ...], now: float) -> bool:
        return bool(self._full) and any(self._full.get(name, 0.0) > now for name in needs)

    def _first(self, now: float) -> list | None:
        """Return the heap whose first is the next job, None where there is none."""
        heaps = {(): self._ready, **{needs: heap for needs, heap in self._apart.items() if not self._is_full(needs, now)}}
        heaps = {needs: heap for needs, heap in heaps.items() if self._confirms(heap)}
        if self.weights:
            self._welcome(set(map(_group, heaps)))
        heads = [(*self._place(heap[0], needs), heap[0], needs) for needs, heap in heaps.items()]
        self._apart = {needs: heap for needs, heap in self._apart.items() if heap}
        return heaps[min(heads)[3]] if heads else None

    def _confirms(self, heap: list) -> bool:
        """Tell whether anything is left of the heap once what is stale at its head is gone."""
        while heap and self._pending.get(heap[0][2]) != heap[0]:
            heapq.heappop(heap)
        return bool(heap)

    def _place(self, key: tuple, needs: tuple[str, ...]) -> tuple[float, float]:
        """Return what comes before a head's rank: its priority, and what its group has had; where ranks age, that first."""
        share = self._had.get(_group(needs), 0.0) if self.weights else 0.0
        return (key[0], share) if self.aging is None else (share, key[0])

    def _count(self, needs: tuple[str, ...]) -> None:
        """Count a job for its group."""
        if self.weights:
            name = _group(needs)
            self._had[name] = self._had.get(name, 0.0) + 1 / self.weights.get(name, 1.0)

    def _welcome(self, lines: set[str]) -> None:
        """Let groups that had nothing to run until now begin where the others are: they have saved nothing up."""
        if new := lines - self._active:
            least = min((self._had.get(name, 0.0) for name in lines & self._active), default=0.0)
            self._had.update({name: max(self._had.get(name, 0.0), least) for name in new})
        self._active = lines

    def take_due(self, now: float, most: int | None = None) -> list[str]:
        """Take out and return the ids of the failed jobs whose time has come, no more than `most`."""
        return self._failed.take(now, most)

    def next_time(self, now: float) -> float | None:
        """Return the earliest time at which a job falls due or may run that can't now, None if there is none."""
        self._ripen(now)
        while self._later and not self._confirmed(*self._later[0]):
            heapq.heappop(self._later)
        waited_for = {name for needs in self._apart for name in needs} if self._full else ()
        again = [until for name, until in self._full.items() if name in waited_for and until > now]  # else a worker is waited for
        return earliest([self._later[0][0] if self._later else None, self._failed.next(), *again])

    def _ripen(self, now: float) -> None:
        """Move what may run by now to the ready heap."""
        while self._later and self._later[0][0] <= now:
            start, id = heapq.heappop(self._later)
            if self._confirmed(start, id):
                heapq.heappush(self._ready, self._pending[id])

    def _confirmed(self, start: float, id: str) -> bool:
        key = self._pending.get(id)
        return key is not None and key[1] == start


def _group(needs: tuple[str, ...]) -> str:
    """Return the name of the group among what is needed, "" for none: its needs come first."""
    return needs[0] if needs and needs[0].startswith(GROUP) else ""
