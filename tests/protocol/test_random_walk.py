"""Random walks over a real directory: claimants that come and die, recovery, a person's hands, and a clock that moves when told.

Each job carries a token. Whatever happens in whatever order, each token is in exactly one place, whole, until a person removes
it; no job runs twice at once; what has ended stays where it is until hands move it.
"""

import contextlib
import errno
import json
import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from jobspool import Spool, durable, hands, recovery
from jobspool import claim as claims
from jobspool.claim import Claim
from jobspool.errors import JobExists, QueueError, TryAgain
from jobspool.job import parse
from jobspool.retry import Outcome, Verdict, judge
from jobspool.states import DEAD, DONE, FAILED, MOVES, PENDING, PROCESSING, STATES

NAMES = st.sampled_from(["a", "b"])
ANY = st.integers(0, 30)  # one of what there is, by its place in the list
WALK = settings(
    max_examples=600, stateful_step_count=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
BY_PROGRAM = {(move.source, move.target) for move in MOVES if move.who != "dlq retry"} | {(state, state) for state in STATES}
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None  # order is tested, not the disk


class Attempt:
    """A claimant's job: claimed, then written down, then exchanged. Its lock is held until close()."""

    def __init__(self, claim):
        self.claim = claim
        self.token = claim.record["meta"]
        self.recorded = None
        self.stage = "claimed"
        self.disturbed = False  # hands took the running one away


class Walk(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.clock = 4_000_000_000.0  # beyond the mtime of every file that is written meanwhile
        self.spool = Spool.init(f"{self.folder.name}/spool")
        self.spool.now = lambda: self.clock
        self.settings = self.spool.settings()
        self.count = 0
        self.tokens = set()  # those that were added and not removed
        self.places = {}  # token: (state, name), at the end of the last step
        self.ended = {}  # token: the state of the end that was recorded, until hands move it
        self.recorded = set()  # tokens whose last attempt is on record
        self.unsure = set()  # tokens that hands touched since they were claimed, so that recovery may see them either way
        self.touched = set()  # what hands moved in this step
        self.attempts = []  # of the two claimants
        self.ghosts = []  # of dead workers, whose jobs live on

    def teardown(self):
        for attempt in [*self.attempts, *self.ghosts]:
            close(attempt)
        self.folder.cleanup()

    # ---- words

    def files(self, *states):
        """What lies in the states, in order, as (state, id)."""
        return [(state, id) for state in states or STATES for id in sorted(self.spool.names(state))]

    def one_of(self, files, pick):
        return files[pick % len(files)]

    def token_at(self, state, id):
        with open(self.spool.path(state, id), "rb") as file:
            return parse(file.read(), 1 << 20)["meta"]

    def new_token(self):
        self.count += 1
        return self.count

    def held(self):
        """The attempts whose lock is held, by a worker or by the job that it left behind."""
        return [*self.attempts, *self.ghosts]

    def at(self, *stages):
        """The living claimants' attempts at one of these stages."""
        return [attempt for attempt in self.attempts if attempt.stage in stages]

    def by_hand(self, state, id):
        """A person is about to move, remove or touch the file."""
        token = self.token_at(state, id)
        self.touched.add(token)
        self.ended.pop(token, None)
        self.unsure.add(token)
        for attempt in self.held():
            attempt.disturbed |= attempt.token == token

    # ---- the program

    @precondition(lambda self: len(self.files()) < 4)
    @rule(id=NAMES, priority=st.integers(-1, 1))
    def enqueue(self, id, priority):
        token = self.new_token()
        taken = any(name == id for _, name in self.files())
        try:
            self.spool.add("x", id=id, priority=priority, max_retries=1, meta=token)
            self.tokens.add(token)
        except JobExists:
            assert taken
        else:
            assert not taken

    @precondition(lambda self: len(self.attempts) < 2 and self.files(PENDING))
    @rule(pick=ANY)
    def claim(self, pick):
        _, id = self.one_of(self.files(PENDING), pick)
        claim = claims.take(self.spool, id, self.settings)
        if not isinstance(claim, Claim):
            assert claim.kind in ("early", "held", "twin"), claim
            return
        attempt = Attempt(claim)
        assert attempt.token not in self.ended, "a job whose end was recorded was claimed again"
        for other in self.held():
            assert other.claim.id != id or other.disturbed, "two jobs of one name run at once"
            assert other.token != attempt.token or other.stage != "claimed", "one job runs twice at once"
        self.attempts.append(attempt)
        self.recorded.discard(attempt.token)
        self.unsure.discard(attempt.token)

    @precondition(lambda self: self.at("claimed"))
    @rule(pick=ANY, status=st.sampled_from([0, 1, 75, None]), wait=st.integers(0, 3))
    def write(self, pick, status, wait):
        attempt = self.one_of(self.at("claimed"), pick)
        outcome = Outcome(self.clock, self.clock, status, reason="x", interrupted=status is None)
        verdict = judge(attempt.claim.record.get("attempts", []), outcome, self.settings.for_job(attempt.claim.record), 0.0)
        if verdict.due is not None:
            verdict = Verdict(verdict.word, verdict.state, self.clock + wait)
        attempt.verdict = verdict
        attempt.recorded = attempt.claim.write(claims.entry_for(attempt.claim, outcome, verdict, "here:1"), self.settings)
        attempt.stage = "written"

    @precondition(lambda self: self.at("written"))
    @rule(pick=ANY)
    def exchange(self, pick):
        attempt = self.one_of(self.at("written"), pick)
        if attempt.recorded.change_places():
            attempt.stage = "exchanged"
            self.note(attempt)
        else:
            assert attempt.disturbed, "a record was given up though nobody had moved its job"
            attempt.recorded.drop()
            self.attempts.remove(attempt)

    @precondition(lambda self: self.at("written", "exchanged"))
    @rule(pick=ANY)
    def settle(self, pick):
        attempt = self.one_of(self.at("written", "exchanged"), pick)
        self.attempts.remove(attempt)
        if attempt.recorded.settle():
            self.note(attempt)
            assert self.token_at(attempt.verdict.state, attempt.claim.id) == attempt.token
        else:
            assert attempt.disturbed, "a record was given up though nobody had moved its job"

    def note(self, attempt):
        self.recorded.add(attempt.token)
        if attempt.verdict.state in (DONE, DEAD):
            self.ended[attempt.token] = attempt.verdict.state

    @precondition(lambda self: any(not attempt.claim.holds() for attempt in self.at("claimed")))
    @rule()
    def give_up_what_hands_moved_away(self):
        attempt = next(attempt for attempt in self.at("claimed") if not attempt.claim.holds())
        assert attempt.disturbed
        attempt.claim.release()
        self.attempts.remove(attempt)

    @precondition(lambda self: self.attempts)
    @rule(pick=ANY, job_lives_on=st.booleans())
    def kill_9(self, pick, job_lives_on):
        attempt = self.one_of(self.attempts, pick)
        self.attempts.remove(attempt)
        if attempt.recorded:
            os.close(attempt.recorded.descriptor)
            attempt.recorded = None
        if job_lives_on and attempt.stage == "claimed":  # what is written down has ended
            self.ghosts.append(attempt)
        else:
            close(attempt)

    @precondition(lambda self: self.ghosts)
    @rule()
    def a_job_without_a_worker_ends(self):
        close(self.ghosts.pop())

    @precondition(lambda self: self.files(PROCESSING))
    @rule()
    def recover(self):
        before = {token: self.attempts_of(*place) for token, place in self.places.items() if place[0] == PROCESSING}
        recovery.mend(self.spool, recovery.plan(self.spool), self.settings, 0.0)
        held = {attempt.token for attempt in self.held()}
        for token, attempts in before.items():
            state, id = self.find()[token]
            if token in held:
                continue
            assert state != PROCESSING, "an orphan was left"
            assert state == self.ended.get(token, state), "a recorded end was not finished"
            if token not in self.unsure:
                lost = token not in self.recorded
                assert len(self.attempts_of(state, id)) == len(attempts) + lost, "each attempt is recorded once"

    def attempts_of(self, state, id):
        return self.spool.read(state, id).attempts

    @precondition(lambda self: self.files(FAILED))
    @rule(pick=ANY)
    def due_again(self, pick):
        claims.due_again(self.spool, self.one_of(self.files(FAILED), pick)[1], self.clock)

    @precondition(lambda self: self.files(DEAD))
    @rule(pick=ANY)
    def note_dead(self, pick):
        claims.note_dead(self.spool, self.one_of(self.files(DEAD), pick)[1], self.settings)

    # ---- the person

    @precondition(lambda self: self.files())
    @rule(pick=ANY, to=st.sampled_from([PENDING, PENDING, FAILED, DONE, DEAD, PROCESSING]))
    def mv(self, pick, to):
        state, id = self.one_of(self.files(), pick)
        if (to, id) not in self.files(to):  # else mv would ask first, or remove that job
            self.by_hand(state, id)
            os.rename(self.spool.path(state, id), self.spool.path(to, id))

    @precondition(lambda self: len(self.files()) > 3)
    @rule(pick=ANY)
    def rm(self, pick):
        state, id = self.one_of(self.files(), pick)
        self.by_hand(state, id)
        self.tokens.remove(self.token_at(state, id))
        os.unlink(self.spool.path(state, id))

    @precondition(lambda self: self.files(PENDING, FAILED, PROCESSING))
    @rule(pick=ANY, seconds=st.integers(-5, 5))
    def touch(self, pick, seconds):
        state, id = self.one_of(self.files(PENDING, FAILED, PROCESSING), pick)
        self.by_hand(state, id)
        os.utime(self.spool.path(state, id), (self.clock + seconds, self.clock + seconds))

    # ---- the person's commands

    @precondition(lambda self: self.files(PENDING, FAILED))
    @rule(pick=ANY, held=st.booleans())
    def hold_or_release(self, pick, held):
        """In its place, with the same time; not where somebody holds its lock."""
        state, id = self.one_of(self.files(PENDING, FAILED), pick)
        job = self.spool.read(state, id)
        try:
            hands.hold(self.spool, job, "x", self.settings) if held else hands.release(self.spool, job, self.settings)
        except TryAgain:
            assert id in [attempt.claim.id for attempt in self.held()]
            return
        except QueueError:
            assert not held
            return
        after = self.spool.read(state, id)
        assert (abs(after.mtime - job.mtime) < 1e-6, "hold" in after.record) == (True, held)  # times are kept to the microsecond

    @precondition(lambda self: self.files(PENDING, FAILED, DEAD))
    @rule(pick=ANY, reset=st.booleans(), cancels=st.booleans())
    def cancel_or_retry(self, pick, reset, cancels):
        state, id = self.one_of(self.files(PENDING, FAILED, DEAD), pick)
        self.by_hand(state, id)
        with contextlib.suppress(QueueError):
            job = self.spool.read(state, id)
            if cancels:
                hands.cancel(self.spool, job, "by me", self.settings)
            else:
                hands.retry(self.spool, job, self.settings, reset)

    @precondition(lambda self: len(self.files()) < 5)
    @rule(id=NAMES)
    def add_unique(self, id):
        """One is added where none of its name waits or runs, else none."""
        token = self.new_token()
        there = self.files(PENDING, FAILED, PROCESSING)
        taken = any(name == id for _, name in there)
        record = {"command": "x", "max_retries": 1, "meta": token}
        job, added = hands.add_unique(self.spool, id, record, None, 0.0, "skip", self.settings)
        assert (job.id, added) == (id, not taken)
        if added:
            self.tokens.add(token)

    @precondition(lambda self: self.files(PENDING))
    @rule(pick=ANY, number=st.integers(-2, 2), front=st.booleans())
    def order(self, pick, number, front):
        """Another priority, or the first place; where somebody holds the file, nothing."""
        state, id = self.one_of(self.files(PENDING), pick)
        self.by_hand(state, id)
        with contextlib.suppress(QueueError):
            job = self.spool.read(state, id)
            if front:
                hands.to_front(self.spool, job, self.settings)
            else:
                hands.change(self.spool, job, {"priority": number}, self.settings)

    @precondition(lambda self: len(self.files()) < 6)
    @rule(id=NAMES)
    def drop(self, id):
        """Put a new job of that name into pending/, whatever else has the name."""
        if (PENDING, id) in self.files(PENDING):
            return
        token = self.new_token()
        path = f"{self.folder.name}/{id}.json"
        with open(path, "w") as file:
            json.dump({"command": "x", "max_retries": 1, "meta": token}, file)
        os.rename(path, self.spool.path(PENDING, id))
        self.tokens.add(token)

    @precondition(lambda self: any(os.stat(self.spool.path(*file)).st_mtime > self.clock for file in self.files()))
    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds):
        self.clock += seconds

    # ---- what is always so

    def find(self):
        """Where each token is; each file must be a whole job, and each token in one place."""
        found = {}
        for state, id in self.files():
            job = self.spool.read(state, id)
            assert job.problem is None, (state, id, job.problem)
            token = job.record["meta"]
            assert token not in found, f"job {token} is in {found[token]} and in {(state, id)}"
            found[token] = (state, id)
        return found

    @invariant()
    def each_job_is_in_one_place_and_whole(self):
        found = self.find()
        assert set(found) == self.tokens, "jobs were lost, or came back"
        for token, (state, id) in found.items():
            self.moved(token, self.places.get(token, ("", id)), (state, id))
        self.places = found
        self.touched = set()

    def moved(self, token, before, after):
        """What the program moved was a move of the table, under the same name, or set aside."""
        if token in self.touched:
            return
        if before[0] in (DONE, DEAD):
            assert after[0] == before[0], "what had ended was moved"
        assert before[0] == "" or (before[0], after[0]) in BY_PROGRAM, (before, after)
        assert after[1] == before[1] or after[1].startswith(f"{before[1]}~"), "a job lost its name"

    @invariant()
    def no_two_claims_of_one_job_are_held(self):
        running = [attempt.claim.id for attempt in self.held() if not attempt.disturbed]
        assert len(set(running)) == len(running)


def close(attempt):
    """Close what the attempt holds open, as the end of its last process does."""
    if attempt.recorded:
        os.close(attempt.recorded.descriptor)
    attempt.claim.release()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nobody lets go of a lock while we wait."""
    monkeypatch.setattr(hands, "PATIENCE", 0)
    monkeypatch.setattr(hands, "ROUND", 0)
    monkeypatch.setattr(hands, "wait_until_ended", lambda *_: None)


def test_every_walk_keeps_every_job():
    run_state_machine_as_test(Walk, settings=WALK)


def test_every_walk_keeps_every_job_on_a_file_system_without_flags(monkeypatch):
    monkeypatch.setattr(durable, "_renameat2", lambda *_: errno.ENOSYS)
    run_state_machine_as_test(Walk, settings=settings(WALK, max_examples=250))
