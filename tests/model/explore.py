"""Go through every order of the steps in a world, and find a shortest way to each promise that is broken.

    PYTHONPATH=.:tests python tests/model/explore.py kills=2 moves=1 drops=1 recoveries=2 gaps=claim,record

prints how many states there are, and how what is broken comes about. World in world.py has the words; bugs=... plants some.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque, namedtuple

from model.promises import NO_REST, broken
from model.protocol import Protocol
from model.world import IDLE, Actor, Child, State, World, is_at_rest

# states: how many there are. violations: for each promise that was broken, the steps of a shortest way to it.
Found = namedtuple("Found", "states violations")


def explore(protocol: Protocol, until: str | None = None) -> Found:
    """Visit each state that can be reached, or as many as it takes to break the promise `until`.

    What comes after a broken promise isn't looked at.
    """
    gc.disable()  # there are no cycles in what is seen, and there is much of it
    try:
        return _explore(protocol, _Search(protocol.start()), until)
    finally:
        gc.enable()


def _explore(protocol: Protocol, search: _Search, until: str | None) -> Found:
    while search.waiting and until not in search.violations:
        number, state = search.waiting.popleft()
        if is_at_rest(state):
            search.well.append(number)
        for what, after in protocol.steps(state):
            search.goes(number, what, after, by_itself=True)
        for what, after in protocol.faults(state):
            search.goes(number, what, after, by_itself=False)
    if not search.waiting and (restless := search.restless()) is not None:
        search.violations[NO_REST] = search.way(restless)
    return Found(len(search.came), search.violations)


class _Search:
    """What was seen. Each state has a number; those that differ only in the numbers of files or workers are the same."""

    def __init__(self, start: State) -> None:
        self.numbers = {same(start): 0}  # by what is the same of a state, and by the state itself, which is quicker found
        self.came = [(0, "")]  # by number: from which state, by which step
        self.before = [[]]  # by number: from where the program gets there by itself
        self.waiting = deque([(0, start)])
        self.well = []  # those at rest, and those where a promise breaks: that is told already
        self.violations = {}

    def goes(self, number: int, what: str, after: State, by_itself: bool) -> None:
        """Take a step from the state of that number."""
        known = self.numbers.get(after)
        if known is None:
            key = same(after)
            known = self.numbers.get(key)
            if known is None:
                known = self.numbers[key] = self._add(number, what, after)
            self.numbers[after] = known
        if by_itself:
            self.before[known].append(number)

    def _add(self, number: int, what: str, after: State) -> int:
        known = len(self.came)
        self.came.append((number, what))
        self.before.append([])
        wrong = list(broken(after))
        for promise in wrong:
            self.violations.setdefault(promise, self.way(known))
        if wrong:
            self.well.append(known)
        else:
            self.waiting.append((known, after))
        return known

    def way(self, number: int) -> list[str]:
        """Return the steps to the state of that number."""
        steps = []
        while number:
            number, what = self.came[number]
            steps.append(what)
        return steps[::-1]

    def restless(self) -> int | None:
        """Return the first state from which the program alone can't come to rest, None if it always can."""
        good, waiting = set(self.well), list(self.well)
        while waiting:
            new = set(self.before[waiting.pop()]) - good
            good |= new
            waiting += new
        return next((number for number in range(len(self.came)) if number not in good), None)


def same(state: State) -> tuple:
    """Return what is equal for states that differ only in the numbers of files, or in which worker is which."""
    order = {None: None}

    def known(file: int | None) -> int | None:
        return order.setdefault(file, len(order))

    def child(it: Child | None) -> tuple | None:
        return it and (it.job, known(it.file), *it[2:])

    def actor(it: Actor) -> tuple:
        if it is IDLE:
            return it
        files = known(it.file), known(it.record), known(it.spare)
        return it.at, *files, tuple(map(known, it.locks)), it.place, child(it.child), *it[7:]

    def rank(it: Actor) -> tuple:
        return it.at, it.verdict or "", () if it.file is None else state.files[it.file], () if it.child is None else it.child[2:]

    places = tuple(map(known, state.places))
    aside = tuple((place, known(file)) for place, file in state.aside)
    groups = [tuple(map(actor, sorted(group, key=rank))) for group in (state.workers, state.recoveries, state.noters)]
    orphans = tuple(map(child, state.orphans))
    left = tuple(order[file] for file in state.left if file in order)
    contents = tuple(state.files[file] for file in order if file is not None)
    return places, aside, *groups, orphans, left, contents, state.jobs, *state[9:]


def world_of(words: list[str]) -> tuple[World, tuple[str, ...]]:
    """Return the world, and the bugs, that words like kills=2 name."""
    given = dict(word.split("=", 1) for word in words)
    bugs = tuple(filter(None, given.pop("bugs", "").split(",")))
    gaps = tuple(filter(None, given.pop("gaps", "").split(",")))
    return World(gaps=gaps, **{word: int(value) for word, value in given.items()}), bugs


def main(words: list[str]) -> int:
    """Print what there is in the world that the words name; 1 if a promise is broken."""
    begun = time.monotonic()
    found = explore(Protocol(*world_of(words)))
    print(f"{found.states} states in {time.monotonic() - begun:.1f} s, all of them")
    for promise, steps in found.violations.items():
        print(f"\n{promise}:\n  " + "\n  ".join(steps))
    return bool(found.violations)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
