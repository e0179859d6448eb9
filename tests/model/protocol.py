"""The protocol apart from the code: which steps may come next, of workers, recovery and all others.

A step is what one process does in one instant that others can see: mostly one system call. explore.py goes through every order
of them, promises.py says what must hold after each. Side by side with the code:

    a worker     opens                  claim._open                    open(2)
                 locks                  claim._take                    flock(2), the link count, one name: names.keep_one
                 stamps                 claim._rename                  no such name in processing/ nor in workers/ (roster.runs),
                                                                       the file still in pending/: utimensat(2)
                 renames                claim._rename                  renameat2(2) NOREPLACE, then claim.Claim.holds
                 opens another, ...     claim._put_back                else: open(2), flock(2), renameat2(2)
                 starts it              worker.Worker._start           the attempt into workers/, posix_spawn: the job has the lock
                 notes it               worker.Worker.run              its process group into workers/
                 has its job end        worker.Worker._attend          by itself, or ended: timeout, stop --now, moved away
                 renames it back, ...   claim.give_back                its logs can't be opened, ...: renameat2(2), utimensat(2)
    its record   writes                 claim.Claim.write              write(2) to a file in tmp/, locked since claim.Claim.reserve;
                                                                       utimensat(2) with its mark
                 sees it there          claim.Recorded.change_places   claim.Claim.holds
                 exchanges              claim.Recorded.change_places   renameat2(2) EXCHANGE: the claimed file must come out
                 exchanges back         claim.Recorded.change_places   else; what has come instead goes back: claim._discard
                 renames                claim.Recorded.move_on         a look, renameat2(2) NOREPLACE; what it meets is set aside
    recovery     plans                  recovery.plan                  names in processing/, but of jobs whose group lives
                 opens, locks           claim.adopt                    open(2), flock(2)
                 sees it there          claim.adopt                    claim.Claim.holds
                 finishes               claim.finish                   its mtime is the mark of its last attempt: as a record
                 sees it live           recovery._mend_orphan          roster.runs, or by environment (looked for once a mending)
                 writes, ...            recovery._lost                 a lost attempt, recorded as above
                 ends                   recovery.Leftovers.end         a dead worker's job, at its time or when moved away
    a noter      opens ... drops it     claim.note_dead                in dead/: a record as above, which stays there
    supervisor   renames what is due    claim.due_again                renameat2(2) NOREPLACE from failed/ to pending/
                 takes a name away      recovery.keep_one             names.keep_one
    a person     moves, removes, drops a new job; tells a worker to stop. And kill -9, of any process at any step.

Left out, as nobody else can see it or it changes only times: what is synced (crash/test_power_model.py has that), priorities,
the clock, logs, and files that are no jobs.

GAPS are the instants between a look and what relies on it, where no system call does both. Where a world has no such gap,
the look and the act are one step: so what a gap costs is seen, and that nothing else does. Without renameat2's flags, a
look and a rename stand for NOREPLACE and EXCHANGE, and these gaps are always there.
"""

from __future__ import annotations

from collections.abc import Iterator

from model import world
from model.world import DEAD, ENDS, FAILED, IDLE, ONE, PENDING, PROCESSING, STATE_OF, Actor, Child, File, State, Step, World

from jobspool.states import STATES

# claim: before and behind the rename to processing/. note: between a job's start and the note of its group. record: between the
# look and the exchange. move: between the look and the move out of processing/.
GAPS = ("claim", "note", "record", "move")

Deed = tuple[str, State, Actor]  # what an actor does, the state without it, and what it has come to


class Protocol:
    """The steps in a world. `bugs` are what the program forgets: MUTANTS in test_model.py has them."""

    def __init__(self, given: World, bugs: tuple[str, ...] = ()) -> None:
        self.world = given
        self.bugs = frozenset(bugs)

    def start(self) -> State:
        """Return how it begins."""
        return world.begin(self.world)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield what the program, and its jobs, may do next."""
        for group, first in (("workers", self._work), ("recoveries", self._recover), ("noters", self._note)):
            actors = getattr(state, group)
            for number, actor in enumerate(actors):
                deeds = first(state) if actor.at == "idle" else getattr(self, f"_{actor.at}")(state, actor)
                for what, after, now in deeds:
                    yield f"{ONE[group]} {number} {what}", after._replace(**{group: world.put(actors, number, now)})
        yield from self._orphans(state)
        yield from self._supervisor(state)

    def faults(self, state: State) -> Iterator[Step]:
        """Yield what a person, or kill -9, may do next."""
        if state.kills:
            yield from world.kills(state)
        if state.moves:
            yield from world.hands(state)
        if state.drops and state.places[PENDING] is None:
            yield "hands drop a new job", world.dropped(state)
        for number, actor in enumerate(state.workers):
            if state.stops and actor.child:
                after = world.with_worker(state, number, actor._replace(child=None, verdict="interrupted"))
                yield f"worker {number} is told to stop", after._replace(stops=state.stops - 1)
            if state.troubles and actor.at == "claimed":
                after = world.with_worker(state, number, actor._replace(at="giving"))
                yield f"worker {number} can't open the logs", after._replace(troubles=state.troubles - 1)

    def _forgets(self, *bugs: str) -> bool:
        return not self.bugs.isdisjoint(bugs)

    def _has_gap(self, name: str) -> bool:
        return name in self.world.gaps

    # ---- a worker claims

    def _work(self, state: State) -> Iterator[Deed]:
        if state.places[PENDING] is not None:
            yield "opens", state, Actor("opened", state.places[PENDING])

    def _opened(self, state: State, actor: Actor) -> Iterator[Deed]:
        if self._forgets("a claim's lock", "a claim's lock before the rename"):
            yield "takes no lock", state, actor._replace(at="locked")
        elif world.is_locked(state, actor.file):
            yield "sees it locked", state, IDLE
        elif not world.is_named(state, actor.file):
            yield "sees it gone", state, IDLE
        else:
            yield "locks", world.with_one_name(state, actor.file), actor._replace(at="locked", locks=(actor.file,))

    def _locked(self, state: State, actor: Actor) -> Iterator[Deed]:
        if state.places[PROCESSING] is not None and not self._forgets("a claim's look for its name"):
            yield "sees its name run", state, IDLE
        elif self._runs(state) and not self._forgets("a claim's look who lives"):
            yield "sees its name live", state, IDLE
        elif not self._is_pending(state, actor):
            yield "sees it gone", state, IDLE
        else:
            after = state if self._forgets("a claim's stamp") else world.stamped(state, actor.file, False)
            yield "stamps", after, actor._replace(at="claiming", marked=state.files[actor.file].marked)

    def _is_pending(self, state: State, actor: Actor) -> bool:
        return state.places[PENDING] == actor.file or self._forgets("a claim's look behind the lock")

    def _claiming(self, state: State, actor: Actor) -> Iterator[Deed]:
        if not self._has_gap("claim") and not self._is_pending(state, actor):
            yield "sees it gone", state, IDLE
            return
        for how, after, now in self._rename(state, actor, PENDING, PROCESSING):
            if how == "renames":
                after, now = world.claimed(state, after, actor.file), now._replace(at="renamed")
                yield from [(how, after, now)] if self._has_gap("claim") else self._renamed(after, now)
            elif how == "meets another":
                yield "sees its name run", world.stamped(after, actor.file, actor.marked), IDLE
            else:
                yield how, after, now

    def _renamed(self, state: State, actor: Actor) -> Iterator[Deed]:
        there = state.places[PROCESSING]
        if self._forgets("a claim's lock before the rename"):
            if world.is_locked(state, actor.file):
                yield "sees it locked", state, IDLE
                return
            actor = actor._replace(locks=(actor.file,))
        if there == actor.file or self._forgets("a claim's look behind the rename"):
            yield "has claimed it", state, actor._replace(at="claimed")
        elif self._forgets("the lock to put another back"):
            yield "sees another", state, actor._replace(at="putting")
        elif there is None:
            yield "sees it gone", state, IDLE
        else:
            yield "opens another", state, actor._replace(at="another", record=there)

    def _another(self, state: State, actor: Actor) -> Iterator[Deed]:
        if world.is_locked(state, actor.record):
            yield "sees another locked", state, IDLE
        else:
            yield "locks another", state, actor._replace(at="putting", locks=(*actor.locks, actor.record))

    def _putting(self, state: State, actor: Actor) -> Iterator[Deed]:
        for how, after, now in self._rename(state, actor, PROCESSING, PENDING):
            yield f"{how}, back to pending", after, now if how == "looks" else IDLE

    # ---- a worker runs the job, or gives it back

    def _claimed(self, state: State, actor: Actor) -> Iterator[Deed]:
        file = state.files[actor.file]
        taken = state.places[PROCESSING] != actor.file
        lock = actor.file if actor.file in actor.locks and not self._forgets("the job's lock") else None
        child = Child(file.job, lock, len(file.attempts) + 1, not self._has_gap("note"), taken)
        after = state if taken else world.with_job(state, file.job, runs=state.jobs[file.job].runs + 1)
        yield "starts it", after, actor._replace(at="started" if self._has_gap("note") else "running", child=child)

    def _started(self, state: State, actor: Actor) -> Iterator[Deed]:
        yield "notes it", state, actor._replace(at="running", child=actor.child and actor.child._replace(noted=True))
        yield from self._job(state, actor)

    def _running(self, state: State, actor: Actor) -> Iterator[Deed]:
        if actor.child:
            yield from self._job(state, actor)
            yield "ends it at its time", state, actor._replace(child=None, verdict="fail")
            if state.places[PROCESSING] != actor.file:
                yield "ends it, as it was moved away", state, IDLE
        else:
            for verdict in (actor.verdict,) if actor.verdict else ("done", "fail"):
                yield from self._write(state, actor, verdict)

    def _job(self, state: State, actor: Actor) -> Iterator[Deed]:
        child = actor.child
        if child and not self.world.hangs:
            yield "has its job end", state, actor._replace(child=None)
        if child and self.world.closes and child.file is not None:
            yield "has its job close the lock", state, actor._replace(child=child._replace(file=None))

    def _giving(self, state: State, actor: Actor) -> Iterator[Deed]:
        if state.places[PROCESSING] != actor.file:
            yield "sees it moved away", state, IDLE
        elif self._forgets("to rename before the stamp back"):
            yield "stamps it back", world.stamped(state, actor.file, actor.marked), actor._replace(at="putting")
        else:
            for how, after, now in self._rename(state, actor, PROCESSING, PENDING):
                if how == "meets another":
                    yield "sets aside", world.set_aside(after, PENDING), now
                elif how == "renames":
                    yield "renames it back", after, now._replace(at="given")
                else:
                    yield how, after, now

    def _given(self, state: State, actor: Actor) -> Iterator[Deed]:
        yield "stamps it back", world.stamped(state, actor.file, actor.marked), IDLE

    # ---- the record: of a worker's attempt, of one that recovery found lost, or of a death that hands decided

    def _write(self, state: State, actor: Actor, verdict: str, attempts: tuple | None = None) -> Iterator[Deed]:
        file = state.files[actor.file]
        if verdict == "fail":
            verdict = judge(file.attempts, self.world.retries)
        marked = actor.place != DEAD and not self._forgets("the record's mark")
        record = len(state.files)
        after = state._replace(files=(*state.files, File(file.job, attempts or (*file.attempts, verdict), marked)))
        locks = actor.locks if self._forgets("the record's lock") else (*actor.locks, record)
        yield f"writes {verdict}", after, Actor("written", actor.file, record, record, locks, actor.place)

    def _written(self, state: State, actor: Actor) -> Iterator[Deed]:
        forgets = self._forgets("the look before the exchange")
        if state.places[actor.place] != actor.file and not forgets:
            yield "sees it moved away", state, IDLE
        elif self._has_gap("record") or forgets:
            yield "sees it there", state, actor._replace(at="sure")
        else:
            yield from self._sure(state, actor)

    def _sure(self, state: State, actor: Actor) -> Iterator[Deed]:
        there = state.places[actor.place]
        if there is None:
            yield "sees it moved away", state, IDLE
        elif not self.world.flags:
            yield "looks", state, actor._replace(at="replacing", free=there == actor.file)
        else:
            after, now = world.laid(state, actor.place, actor.record), actor._replace(spare=there)
            if there == actor.file or self._forgets("the look at what came out"):
                yield "exchanges", world.recorded(after, now.record), now._replace(at="entered")
            else:
                yield "exchanges another", after, now._replace(at="foreign")

    def _foreign(self, state: State, actor: Actor) -> Iterator[Deed]:
        if state.places[actor.place] is None:
            yield "can't exchange back", state, actor._replace(at="dropping")
        else:
            now = actor._replace(at="dropping", spare=state.places[actor.place])
            yield "exchanges back", world.laid(state, actor.place, actor.spare), now

    def _dropping(self, state: State, actor: Actor) -> Iterator[Deed]:
        if actor.spare in (actor.file, actor.record):
            yield "drops it", state, IDLE
        elif state.places[actor.place] is None:
            yield "puts another back", world.laid(state, actor.place, actor.spare), IDLE
        else:
            yield "sets aside", world.set_aside(state, actor.place), actor

    def _replacing(self, state: State, actor: Actor) -> Iterator[Deed]:
        """Without EXCHANGE."""
        yield "renames over it", world.laid(state, actor.place, actor.record), actor._replace(at="replaced", spare=None)

    def _replaced(self, state: State, actor: Actor) -> Iterator[Deed]:
        if not actor.free:
            yield "gives up", state, IDLE
        elif world.is_named(state, actor.file):
            yield "sees that hands were quicker", state, actor._replace(at="undoing")
        else:
            yield "has replaced it", world.recorded(state, actor.record), actor._replace(at="entered", free=False)

    def _undoing(self, state: State, actor: Actor) -> Iterator[Deed]:
        yield "removes the record", world.laid(state, actor.place, None), IDLE

    def _entered(self, state: State, actor: Actor) -> Iterator[Deed]:
        if actor.place == DEAD:
            yield "drops it", state, IDLE
        elif state.places[PROCESSING] != actor.record and not self._forgets("the look before the move"):
            yield "sees it moved away", state, IDLE
        elif self._has_gap("move"):
            yield "sees it there", state, actor._replace(at="moving")
        else:
            yield from self._moving(state, actor)

    def _moving(self, state: State, actor: Actor) -> Iterator[Deed]:
        to = STATE_OF[state.files[actor.record].attempts[-1]]
        for how, after, now in self._rename(state, actor, PROCESSING, to):
            if how == "meets another":
                yield "sets aside", world.set_aside(after, to), now._replace(at="entered")
            else:
                yield f"{how} to {STATES[to]}", after, now if how == "looks" else IDLE

    # ---- recovery

    def _recover(self, state: State) -> Iterator[Deed]:
        if state.places[PROCESSING] is not None and not any(map(self._is_seen, state.orphans)):
            yield "plans", state, Actor("planned")

    def _planned(self, state: State, actor: Actor) -> Iterator[Deed]:
        if state.places[PROCESSING] is None:
            yield "sees it gone", state, IDLE
        else:
            yield "opens", state, actor._replace(at="found", file=state.places[PROCESSING])
        if self.world.closes and actor.saw is None:
            yield "looks who lives, for another orphan", state, actor._replace(saw=self._environments(state))

    def _found(self, state: State, actor: Actor) -> Iterator[Deed]:
        if self._forgets("recovery's lock"):
            yield "takes no lock", state, actor._replace(at="held")
        elif world.is_locked(state, actor.file):
            yield "sees it locked", state, IDLE
        else:
            yield "locks", world.with_one_name(state, actor.file), actor._replace(at="held", locks=(actor.file,))

    def _held(self, state: State, actor: Actor) -> Iterator[Deed]:
        if state.places[PROCESSING] == actor.file or self._forgets("recovery's look behind the lock"):
            yield "sees it there", state, actor._replace(at="adopted")
        else:
            yield "sees it gone", state, IDLE

    def _adopted(self, state: State, actor: Actor) -> Iterator[Deed]:
        if state.files[actor.file].marked:
            yield "finishes", state, actor._replace(at="entered", record=actor.file)
        elif self._lives(state, actor):
            yield "sees it live", state, IDLE
        elif self._forgets("the lost attempt"):
            yield "puts it back", state, actor._replace(at="putting")
        else:
            yield from self._write(state, actor, "fail")

    # ---- who lives

    def _is_seen(self, child: Child) -> bool:
        """Tell whether workers/ shows these processes: by their group, or by the attempt, which is in their environment."""
        return child.noted or not (self.world.clears or self._forgets("what was being started"))

    def _runs(self, state: State) -> bool:
        """Tell whether a job of this name runs, of a living worker or a dead one's."""
        return any(map(self._is_seen, world.children(state)))

    def _lives(self, state: State, actor: Actor) -> bool:
        """Tell whether the orphan's attempt has processes that hold no lock."""
        if self._runs(state) and not self._forgets("the look who lives behind the lock"):
            return True
        saw = self._environments(state) if actor.saw is None else actor.saw
        return len(state.files[actor.file].attempts) + 1 in saw

    def _environments(self, state: State) -> frozenset[int]:
        hidden = self.world.clears or self._forgets("the environments")
        return frozenset() if hidden else frozenset(child.number for child in world.children(state))

    # ---- those who note deaths, jobs without a worker, and the supervisor

    def _note(self, state: State) -> Iterator[Deed]:
        there = state.places[DEAD]
        if there is not None and world.has_tries_to_lose(state.files[there]):
            yield "opens", state, Actor("dying", there, place=DEAD)

    def _dying(self, state: State, actor: Actor) -> Iterator[Deed]:
        if world.is_locked(state, actor.file):
            yield "sees it locked", state, IDLE
        else:
            yield "locks", world.with_one_name(state, actor.file), actor._replace(at="died", locks=(actor.file,))

    def _died(self, state: State, actor: Actor) -> Iterator[Deed]:
        file = state.files[actor.file]
        if state.places[DEAD] == actor.file and world.has_tries_to_lose(file):
            yield from self._write(state, actor, "dead", (*file.attempts[:-1], "dead"))
        else:
            yield "sees it gone", state, IDLE

    def _orphans(self, state: State) -> Iterator[Step]:
        for number, child in enumerate(state.orphans):
            rest = state._replace(orphans=(*state.orphans[:number], *state.orphans[number + 1 :]))
            if not self.world.hangs:
                yield "an orphan ends", rest
            elif self._may_be_ended(state, child):
                yield "recovery ends an orphan", rest
            if self.world.closes and child.file is not None:
                yield "an orphan closes its lock", rest._replace(orphans=(*rest.orphans, child._replace(file=None)))

    def _may_be_ended(self, state: State, child: Child) -> bool:
        """Tell whether recovery ends it: at its time, or because hands moved it away."""
        there = state.places[PROCESSING] is not None
        return self._is_seen(child) and (there or not self._forgets("those that were moved away"))

    def _supervisor(self, state: State) -> Iterator[Step]:
        for place in (PENDING, FAILED, DEAD):
            if state.places[place] is not None and state.places.count(state.places[place]) > 1:
                yield "supervisor takes a name away", world.with_one_name(state, state.places[place])
                return
        for how, after, now in self._rename(state, Actor(free=state.due), FAILED, PENDING):
            if how in ("renames", "looks") or state.due:
                yield f"supervisor {how} what is due", after._replace(due=now.free)

    # ---- any rename of the program

    def _rename(self, state: State, actor: Actor, source: int, target: int) -> Iterator[Deed]:
        """Rename what lies in `source`; yields how it went: renames, meets another, sees it gone. Without NOREPLACE: looks first."""
        replaces = self._forgets("NOREPLACE of a claim" if target == PROCESSING else "NOREPLACE of a move")
        meets = state.places[target] is not None and not replaces
        if state.places[source] is None:
            yield "sees it gone", state, IDLE
        elif actor.free:
            yield "renames", world.renamed(state, source, target), actor._replace(free=False)
        elif meets:
            yield "meets another", state, actor
        elif self.world.flags or replaces:
            yield "renames", world.renamed(state, source, target), actor
        else:
            yield "looks", state, actor._replace(free=True)


def judge(attempts: tuple[str, ...], retries: int) -> str:
    """Return the verdict on a failure, as retry.judge() does."""
    used = 0
    for verdict in reversed(attempts):
        if verdict in ENDS:
            break
        used += verdict == "failed"
    return "failed" if used < retries else "dead"
