"""Two supervisors, four workers and a person on the same few files, in every order that a seed makes, killed anywhere.

Each of the program's actors is a real process that stops before each change of the disk; the seed says who is next, who is
killed with -9, and what hands do between. INTERLEAVINGS=N tries more seeds, INTERLEAVING=SEED one of them again.
"""

import contextlib
import os
import random
import socket
import tempfile

import pytest
from crash.actors import Actor
from crash.test_crash_points import MEMORY, recovered, seen

from jobspool import Spool, config, recovery
from jobspool import claim as claims
from jobspool.errors import NotAJob
from jobspool.job import parse, written
from jobspool.retry import Outcome, judge
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES

SEEDS = [int(os.environ["INTERLEAVING"])] if "INTERLEAVING" in os.environ else range(int(os.environ.get("INTERLEAVINGS", 120)))
ROUNDS = 3  # that each actor does before it ends
MOVES = 12  # that hands do
HANDS = "hands"


# ---- what the actors do


def worker(spool, luck, jobs):
    """Claim, run, judge and record; the job's process is the lock, handed to the test through `jobs` as a child inherits it."""

    def serve(say):
        for _ in range(ROUNDS):
            names = spool.names(PENDING)
            claim = claims.take(spool, luck.choice(names), spool.settings()) if names else None
            if not isinstance(claim, claims.Claim):
                say(("idle",))
                continue
            token = claim.record["meta"]
            socket.send_fds(jobs, [b"."], [claim.descriptor])
            say(("starts", token))
            stayed, state = record(claim, luck)
            say(("ends", token, state, stayed))

    def record(claim, luck):
        settings = spool.settings()
        now = spool.now()
        outcome = Outcome(now, now, luck.choice((0, 0, 1)), reason="x")
        verdict = judge(claim.record.get("attempts", []), outcome, settings.for_job(claim.record), 0.0)
        if not claim.holds():
            claim.release()
            return False, None
        written = claim.write(claims.entry_for(claim, outcome, verdict, "here:1"), settings)
        written.sync()
        return written.settle(), verdict.state

    return serve


def supervisor(spool, luck):
    """Recover, bring back what is due, and note what hands put to the dead."""

    def serve(say):
        for _ in range(ROUNDS):
            settings = spool.settings()
            recovery.mend(spool, recovery.plan(spool), settings, 0.0)
            for id in spool.names(FAILED):
                claims.due_again(spool, id, spool.now())
            for id in spool.names(DEAD):
                claims.note_dead(spool, id, settings)
            say(("idle",))

    return serve


class Hands:
    """A person: mv, rm, touch and new files of the same names. Knows what was added and what was removed."""

    def __init__(self, spool, luck):
        self.spool = spool
        self.luck = luck
        self.names = luck.choice(("a", "ab"))
        self.count = 0
        self.left = MOVES
        self.tokens = set()
        self.touched = set()

    def move(self):
        """Do one thing, and return what."""
        self.left -= 1
        files = [(state, id) for state in STATES for id in sorted(self.spool.names(state))]
        if not files or self.luck.random() < 0.4:
            return self.drop()
        state, id = self.luck.choice(files)
        deed = self.luck.choice((self._mv, self._mv, self._mv, self._rm, self._touch))
        return deed.__name__, state, id, deed(state, id)

    def drop(self):
        """mv a new job into pending/, unless one of its name is there: mv -n."""
        id = self.luck.choice(self.names)
        self.count += 1
        path = self.spool.path(PENDING, id)
        if os.path.lexists(path):
            return "drops nothing"
        spare = self.spool.spare()
        with open(spare, "wb") as file:
            file.write(written({"command": "x", "max_retries": 1, "backoff_base": 0, "meta": self.count}))
        os.rename(spare, path)
        self.tokens.add(self.count)
        return f"drops {self.count} as {id}"

    def _token(self, state, id):
        with open(self.spool.path(state, id), "rb") as file:
            token = parse(file.read(), 1 << 20)["meta"]
        self.touched.add(token)
        return token

    def _mv(self, state, id):
        target = self.spool.path(self.luck.choice((PENDING, DONE, DEAD)), id)
        if not os.path.lexists(target):
            self._token(state, id)
            os.rename(self.spool.path(state, id), target)

    def _rm(self, state, id):
        self.tokens.discard(self._token(state, id))
        os.unlink(self.spool.path(state, id))

    def _touch(self, state, id):
        self._token(state, id)
        os.utime(self.spool.path(state, id), (1_000_000_000, self.luck.randrange(1_000_000_000)))


# ---- the play


class AnyOrder:
    """Each is as likely to be next as any other."""

    def __init__(self, luck):
        self.luck = luck

    def next(self, names):
        return self.luck.choice(names)


class FewSwitches:
    """The first in rank goes on until, at a few moments, it becomes the last: finds what needs one actor to be late.

    Burckhardt and others, "A randomized scheduler with probabilistic guarantees of finding bugs", 2010.
    """

    def __init__(self, luck):
        self.luck = luck
        self.rank = {}
        self.lowest = 0.0

    def next(self, names):
        for name in names:
            self.rank.setdefault(name, self.luck.random())
        first = max(names, key=self.rank.get)
        if self.luck.random() < 0.1:
            self.lowest -= 1.0
            self.rank[first] = self.lowest
        return first


class Play:
    """One seed's order of things."""

    def __init__(self, folder, seed):
        self.luck = random.Random(seed)
        self.spool = Spool.init(f"{folder}/spool")
        config.change(self.spool.root, "fsync", "always", self.spool.spare(), 0o600)
        self.spool.ready()
        self.hands = Hands(self.spool, self.luck)
        self.order = self.luck.choice((AnyOrder, FewSwitches))(self.luck)
        self.kills = self.luck.choice((0.0, 0.02, 0.1))  # the share of steps that are a kill
        self.actors = {}
        self.running = {}  # actor: (token, the job's own descriptor of the lock)
        self.ghosts = []  # the same, of jobs whose worker was killed
        self.ended = {}  # token: where its recorded end put it, until hands touch it
        self.trace = []
        for _ in range(2):
            self.hands.drop()
        for number in range(4):
            self._enter(f"worker {number}", worker)
        for number in range(2):
            self._enter(f"supervisor {number}", supervisor)

    def _enter(self, name, role):
        luck = random.Random(self.luck.random())
        own = Spool(self.spool.root, luck=random.Random(self.luck.random()))
        if role is worker:
            ours, theirs = socket.socketpair()
            actor = Actor(worker(own, luck, theirs))
            theirs.close()
            actor.jobs = ours
        else:
            actor = Actor(role(own, luck))
        self.actors[name] = actor

    def play(self):
        try:
            while self.actors:
                name = self.order.next([*sorted(self.actors), *([HANDS] if self.hands.left else [])])
                if name == HANDS:
                    self.trace.append(f"hands {self.hands.move()}")
                elif self.luck.random() < self.kills and not self.between():
                    self.kill(name)
                else:
                    self.step(name)
                if self.ghosts and self.luck.random() < 0.05:
                    os.close(self.ghosts.pop()[1])
                self.check()
            self.finish()
        finally:
            self.clear()

    def step(self, name):
        actor = self.actors[name]
        self.trace.append(f"{name}: {actor.now.what}")
        if actor.now.kind == "said":
            self.hear(name, actor, *actor.now.what)
        if actor.now.kind != "ended":
            actor.step()
        if actor.now.kind == "ended":
            assert actor.now.what is None, actor.now.what
            self.leave(name)

    def hear(self, name, actor, word, token=None, state=None, stayed=None):
        if word == "starts":
            _, [lock], _, _ = socket.recv_fds(actor.jobs, 1, 1)
            also = [other for other, _ in [*self.running.values(), *self.ghosts] if other == token]
            assert not also, f"{token} runs twice at once"
            self.running[name] = (token, lock)
            assert token not in self.ended or token in self.hands.touched, f"{token} had ended, and runs again"
        elif word == "ends":
            os.close(self.running.pop(name)[1])
            if stayed and token not in self.hands.touched and state in (DONE, DEAD):
                self.ended[token] = state

    def kill(self, name):
        actor = self.actors[name]
        self.trace.append(f"kill -9 {name} before {actor.now.what}")
        actor.kill()
        if name in self.running:
            self.ghosts.append(self.running.pop(name))
        self.leave(name)

    def leave(self, name):
        actor = self.actors.pop(name)
        if hasattr(actor, "jobs"):
            actor.jobs.close()

    def between(self):
        """Tell whether a job is between the two exchanges of a record that met hands: a kill -9 there is the last window."""
        return bool(self.hands.tokens - set(seen(self.spool)))

    def spare(self):
        """The tokens in tmp/."""
        found = set()
        for entry in os.scandir(f"{self.spool.root}/tmp"):
            with open(entry.path, "rb") as file, contextlib.suppress(NotAJob):
                found.add(parse(file.read(), 1 << 20)["meta"])
        return found

    def check(self):
        found = seen(self.spool)
        for token, places in found.items():
            assert len(places) == 1 or self.between(), f"{token} is in {places}"
        for token in self.hands.tokens - set(found):
            assert token in self.spare(), f"{token} is nowhere"
        for token, state in self.ended.items():
            if token not in self.hands.touched and token in found:
                assert found[token][0].state == state, f"{token} ended in {state}, and is in {found[token]}"

    def finish(self):
        """All are gone, and so are the jobs: recovery brings every job to where it belongs."""
        while self.ghosts:
            os.close(self.ghosts.pop()[1])
        recovered(self.spool)
        self.check()
        assert self.hands.tokens <= set(seen(self.spool)), "lost"
        assert PROCESSING not in {places[0].state for places in seen(self.spool).values()}

    def clear(self):
        for name, actor in list(self.actors.items()):
            if actor.alive:
                actor.kill()
            self.leave(name)
        for _, lock in [*self.running.values(), *self.ghosts]:
            os.close(lock)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_and_any_kill(seed):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        play = Play(folder, seed)
        try:
            play.play()
        except AssertionError as error:
            raise AssertionError(
                f"{error}\nINTERLEAVING={seed} shows it again; the last steps:\n" + "\n".join(play.trace[-40:])
            ) from None
