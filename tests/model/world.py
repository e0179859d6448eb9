"""The small world of the model: one name, a few jobs, and everybody who is at them; what is so in it, and what changes.

A state of the world is a value. What changes it returns another; protocol.py says who does what when.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator

from jobspool.states import STATES

PENDING, PROCESSING, DONE, FAILED, DEAD = range(len(STATES))
STATE_OF = {"done": DONE, "failed": FAILED, "dead": DEAD, "interrupted": PENDING}
ENDS = ("done", "dead")
STAYS = (PENDING, DEAD, DONE, FAILED)  # as in names.py

# What a person types; nobody moves into processing/: states.may_put().
MOVES = (
    (PROCESSING, DEAD),
    (PROCESSING, PENDING),
    (PENDING, DONE),
    (DONE, PENDING),
    (DEAD, PENDING),
    (FAILED, PENDING),
    (FAILED, DEAD),
)

# What there is. flags: of renameat2. gaps: see protocol.py. kills, moves, drops, stops, troubles: how often that may happen (moves:
# mv and rm; stops: stop --now; troubles: logs that can't be opened). retries: of each job. closes: jobs may close their lock.
# clears: they have cleared their environment. hangs: they end only when they are ended. lies: in which states the first job lies,
# in two after a power cut. record: its attempts.
World = namedtuple(
    "World",
    "workers recoveries noters flags gaps kills moves drops stops troubles retries closes clears hangs lies record",
    defaults=(2, 1, 0, True, (), 0, 0, 0, 0, 0, 0, False, False, False, (PENDING,), ()),
)

# A file's content, and its mtime: marked tells that it is the one that the last attempt names.
File = namedtuple("File", "job attempts marked")

# What is remembered of a job to judge by, and lies nowhere in the spool. runs: how many that hands didn't take away. kept: attempts
# whose record took its place. final: as many, when the last of them was an end, else 0. claimed: since the last of them. invented:
# one was recorded without a claim. asked: attempts when hands put it into pending/, -1: elsewhere. by_hand: it lies where hands
# put it. removed: by hands.
Job = namedtuple(
    "Job", "runs kept final claimed invented asked by_hand removed", defaults=(0, 0, 0, False, False, 0, True, False)
)

# A job's processes. file: whose lock they hold, None once closed. number: of the attempt. noted: workers/ has their group, not only
# the attempt that was to be started. taken: hands took the file away.
Child = namedtuple("Child", "job file number noted taken")

# A process of the program. file: claimed. record: written. spare: what lies under its name in tmp/. locks: what it has locked.
# place: where the file lies. verdict: of an attempt that was ended. marked: the file, before it was stamped. free: the target was
# seen to be. saw: the numbers of living attempts, looked for too early.
Actor = namedtuple(
    "Actor",
    "at file record spare locks place child verdict marked free saw",
    defaults=("idle", None, None, None, (), PROCESSING, None, None, False, False, None),
)
IDLE = Actor()
ONE = {"workers": "worker", "recoveries": "recovery", "noters": "noter"}

# places: what lies in each state under the name. aside: (state, file) of what was set aside. left: in tmp/, of dead processes.
# orphans: jobs whose worker is dead. due: the supervisor saw that pending/ is free. kills...: how many may still come.
State = namedtuple("State", "places aside left files jobs workers recoveries noters orphans due kills moves drops stops troubles")

Step = tuple[str, State]


def begin(world: World) -> State:
    """Return how it begins: one job lies there, nobody is at work."""
    places = tuple(0 if place in world.lies else None for place in range(len(STATES)))
    actors = tuple((IDLE,) * count for count in (world.workers, world.recoveries, world.noters))
    tries = len(world.record)
    job = Job(runs=tries, kept=tries, claimed=PROCESSING in world.lies)
    budget = (world.kills, world.moves, world.drops, world.stops, world.troubles)
    return State(places, (), (), (File(0, world.record, bool(world.record)),), (job,), *actors, (), False, *budget)


# ---- what is so


def everybody(state: State) -> tuple[Actor, ...]:
    """Return the processes of the program."""
    return state.workers + state.recoveries + state.noters


def children(state: State) -> list[Child]:
    """Return the jobs that run, whether their workers live or not."""
    return [*(actor.child for actor in state.workers if actor.child), *state.orphans]


def is_locked(state: State, file: int) -> bool:
    """Tell whether a process or a job holds the file's lock."""
    return any(file in actor.locks for actor in everybody(state)) or any(child.file == file for child in children(state))


def is_named(state: State, file: int) -> bool:
    """Tell whether the file has a name anywhere: its link count is not 0."""
    if file in state.places or file in state.left or any(other == file for _, other in state.aside):
        return True
    return any(actor.spare == file for actor in everybody(state))


def is_at_rest(state: State) -> bool:
    """Tell whether nothing is left to do: each job is done or dead, and nobody is at work."""
    waits = any(state.places[place] is not None for place in (PENDING, PROCESSING, FAILED))
    return not waits and not state.orphans and all(actor.at == "idle" for actor in everybody(state))


def has_tries_to_lose(file: File) -> bool:
    """Tell whether a job in dead/ doesn't say that it is dead."""
    return bool(file.attempts) and file.attempts[-1] not in ENDS


# ---- what changes


def put(items: tuple, number: int, item: object) -> tuple:
    """Return the items with another in that place."""
    return (*items[:number], item, *items[number + 1 :])


def laid(state: State, place: int, file: int | None) -> State:
    """Let the name in `place` be the file's, or nobody's."""
    return state._replace(places=put(state.places, place, file))


def renamed(state: State, source: int, target: int) -> State:
    """Let the program rename what lies in `source`."""
    file = state.places[source]
    after = laid(laid(state, target, file), source, None)
    return with_job(after, state.files[file].job, by_hand=False)


def set_aside(state: State, place: int) -> State:
    """Let what lies there have another name."""
    aside = tuple(sorted((*state.aside, (place, state.places[place]))))
    return laid(state._replace(aside=aside), place, None)


def stamped(state: State, file: int, marked: bool) -> State:
    """Let the file have another mtime."""
    return state._replace(files=put(state.files, file, state.files[file]._replace(marked=marked)))


def with_job(state: State, job: int, **changes: object) -> State:
    """Let something else be remembered of the job."""
    return state._replace(jobs=put(state.jobs, job, state.jobs[job]._replace(**changes)))


def with_worker(state: State, number: int, worker: Actor) -> State:
    """Let that worker have come so far."""
    return state._replace(workers=put(state.workers, number, worker))


def claimed(before: State, after: State, file: int) -> State:
    """Remember that the file was claimed, if it was the one that was renamed."""
    return with_job(after, before.files[file].job, claimed=True) if before.places[PENDING] == file else after


def recorded(state: State, record: int) -> State:
    """Remember that the record is in the claimed file's place, unless hands have taken it by now: it counts."""
    file = state.files[record]
    job, tries = state.jobs[file.job], len(file.attempts)
    if record not in state.places or tries == job.kept:
        return state
    final = job.final or (tries if file.attempts[-1] in ENDS else 0)
    invented = job.invented or not job.claimed
    return with_job(state, file.job, kept=tries, final=final, claimed=False, invented=invented)


def with_one_name(state: State, file: int) -> State:
    """Let the file keep one of the names that a power cut left it: names.keep_one()."""
    there = [place for place, other in enumerate(state.places) if other == file]
    if len(there) < 2:
        return state
    kept = next(place for place in STAYS if place in there)
    if PROCESSING in there and not state.files[file].marked:
        kept = PROCESSING
    for place in there:
        state = state if place == kept else laid(state, place, None)
    return state


# ---- a person, and kill -9


def kills(state: State) -> Iterator[Step]:
    """Yield the death of each process that has begun: its locks are free, its job lives on, what it had in tmp/ stays there."""
    for group, one in ONE.items():
        for number, actor in enumerate(getattr(state, group)):
            if actor.at not in ("idle", "planned"):
                after = state._replace(**{group: put(getattr(state, group), number, IDLE)}, kills=state.kills - 1)
                left = state.left if actor.spare is None else (*state.left, actor.spare)
                orphans = (*state.orphans, actor.child) if actor.child else state.orphans
                yield f"kill -9 {one} {number}", after._replace(left=left, orphans=orphans)


def hands(state: State) -> Iterator[Step]:
    """Yield each mv and rm."""
    for source, target in MOVES:
        file = state.places[source]
        if file is not None and state.places[target] is None:
            after = laid(laid(_touched(state, source, target), target, file), source, None)
            yield f"hands move it from {STATES[source]} to {STATES[target]}", after._replace(moves=state.moves - 1)
    for source, file in enumerate(state.places):
        if file is not None:
            after = with_job(_touched(state, source), state.files[file].job, removed=True)
            yield f"hands remove it from {STATES[source]}", laid(after, source, None)._replace(moves=state.moves - 1)


def dropped(state: State) -> State:
    """Let a new job of the name lie in pending/."""
    files = (*state.files, File(len(state.jobs), (), False))
    after = state._replace(files=files, jobs=(*state.jobs, Job()), drops=state.drops - 1)
    return laid(after, PENDING, len(state.files))


def _touched(state: State, source: int, target: int | None = None) -> State:
    """Remember that hands win: no outcome binds what they touch, and a run that they take away is theirs."""
    file = state.files[state.places[source]]
    tries = len(file.attempts)
    after = with_job(state, file.job, kept=tries, final=0, by_hand=True, asked=tries if target == PENDING else -1)
    if source != PROCESSING:
        return after
    workers = tuple(actor._replace(child=_taken(actor.child, file.job)) for actor in state.workers)
    orphans = tuple(_taken(child, file.job) for child in state.orphans)
    return with_job(after, file.job, runs=tries)._replace(workers=workers, orphans=orphans)


def _taken(child: Child | None, job: int) -> Child | None:
    return child._replace(taken=True) if child and child.job == job else child
