"""What must hold after every step: the promises of queuectl-spool(5), in the words of the model."""

from __future__ import annotations

from collections.abc import Iterator

from model.world import DEAD, DONE, FAILED, PENDING, PROCESSING, STATE_OF, Actor, File, Job, State, children, everybody

NOWHERE = "a job is nowhere"
TWICE = "a job is in two places"
OVERLAP = "two runs of one job overlap"
SAME_NAME = "two jobs of one name run at once"
AGAIN = "a job whose end was recorded goes on"
FORGOTTEN = "what was recorded is gone"
UNRECORDED = "a run is not on record"
INVENTED = "an attempt is on record that never was"
UNJUDGED = "a job was put where no verdict put it"
NO_REST = "it never comes to rest"  # explore.py looks for that: from each state, without more trouble, all can be done or dead

# The instants in which a record and the job's file may both have a name, or the record has taken another job's place.
BETWEEN = ("foreign", "dropping", "replacing", "replaced", "undoing")


def broken(state: State) -> Iterator[str]:
    """Yield the promises that are not kept."""
    places = _places(state)
    between = [actor for actor in everybody(state) if actor.at in BETWEEN]
    for number, job in enumerate(state.jobs):
        yield from _of_a_job(state, number, job, places.get(number, []), between)
    yield from _of_runs(state)


def _places(state: State) -> dict[int, list[tuple[int, File]]]:
    """Return where each job lies: (state, file), a file that has two names once."""
    found = {}
    for place, file in {file: place for place, file in enumerate(state.places) if file is not None}.items():
        found.setdefault(state.files[place].job, []).append((file, state.files[place]))
    for place, file in state.aside:
        found.setdefault(state.files[file].job, []).append((place, state.files[file]))
    return found


def _of_a_job(state: State, number: int, job: Job, there: list, between: list[Actor]) -> Iterator[str]:
    if not there:
        if not job.removed and not any(_has(state, actor.spare, number) for actor in between):
            yield NOWHERE
    elif len(there) > 1:
        if not any(_has(state, actor.record, number) for actor in between):
            yield TWICE
    else:
        yield from _of_a_file(job, *there[0])


def _of_a_file(job: Job, place: int, file: File) -> Iterator[str]:
    tries = len(file.attempts)
    if job.runs > tries + (place == PROCESSING):
        yield UNRECORDED
    if tries < job.kept:
        yield FORGOTTEN
    if job.final and (tries != job.final or place in (PENDING, FAILED)):
        yield AGAIN
    if job.invented:
        yield INVENTED
    judged = tries > job.asked and file.attempts and STATE_OF[file.attempts[-1]] == place
    if place in (DONE, FAILED, DEAD) and not job.by_hand and not judged:
        yield UNJUDGED


def _of_runs(state: State) -> Iterator[str]:
    running = children(state)
    jobs = [child.job for child in running]
    if len(set(jobs)) < len(jobs):
        yield OVERLAP
    if sum(not child.taken for child in running) > 1:
        yield SAME_NAME
    if any(state.jobs[child.job].final and not child.taken for child in running):
        yield AGAIN


def _has(state: State, file: int | None, job: int) -> bool:
    return file is not None and state.files[file].job == job
