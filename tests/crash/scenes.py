"""What is cut: for each verb of the program how its spool is set, and the deed that is stopped at each of its changes.

A job's token is its meta. A deed says ("added", token) once the program has told that the job is kept, ("ended", token, state)
once an outcome was reported, and ("moved", token, state) once a move was.
"""

import os
import select
from collections import namedtuple

from jobspool import claim as claims
from jobspool import config, durable, hands, recorder, recovery, retention
from jobspool.channel import Channel
from jobspool.job import iso, last_mark
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING
from jobspool.worker import Worker

# set: lays the spool. deed: (spool, say) -> None. goes: the tokens that it removes.
Scene = namedtuple("Scene", "name set deed fsync goes", defaults=("group", ()))

OK, FAILS, LONG = "true", "exit 1", "sleep 1"  # a job whose worker was killed ends by itself, soon


# ---- what lies in the spool


def nothing(spool):
    """An empty spool."""


def put(spool, id, token, state=PENDING, mtime=None, **words):
    """Lay a job into a state."""
    spool.add(**{"command": OK, "max_retries": 1, "backoff_base": 0, **words}, id=id, meta=token)
    os.rename(spool.path(PENDING, id), spool.path(state, id))
    if mtime is not None:
        os.utime(spool.path(state, id), (mtime, mtime))


def waiting(**words):
    return lambda spool: put(spool, "a", 1, **words)


def three(spool):
    for token, id in enumerate("abc", 1):
        put(spool, id, token)


def tried(verdict, state=None, mtime=None):
    """A job that has one attempt on record, where its verdict belongs or elsewhere."""

    def lay(spool):
        when = iso(spool.now() - 60)
        attempt = {"number": 1, "started": when, "ended": when, "worker": "here:1", "verdict": verdict}
        attempts = [{**attempt, "due": when} if verdict in ("failed", "snoozed") else attempt]
        mark = last_mark({"attempts": attempts})
        put(spool, "a", 1, state or claims.STATE_OF[verdict], mark if mtime is None else mtime, attempts=attempts)

    return lay


def lost(spool):
    """Its worker was killed while it ran."""
    put(spool, "a", 1, PROCESSING, spool.now() - 5)


def lost_again(spool):
    """The same in its second try: the record of the first is no outcome of this one."""
    tried("failed", PROCESSING, spool.now() - 5)(spool)


def recorded(verdict):
    """Its worker was killed between the record and the move."""
    return tried(verdict, PROCESSING)


def with_older(setting, state):
    """An older job of its name lies where it will go."""

    def lay(spool):
        put(spool, "a", 2, state)
        os.rename(spool.path(state, "a"), f"{spool.root}/tmp/older")
        setting(spool)
        os.rename(f"{spool.root}/tmp/older", spool.path(state, "a"))

    return lay


def half(spool):
    """A file that is no whole job."""
    with open(spool.path(PENDING, "half"), "w") as file:
        file.write('{"command": "tr')


# ---- deeds


def work(*ids, order=None):
    """A worker is handed these jobs and runs them for real; with `order`, it gets that when it begins."""

    def deed(spool, say):
        ours, theirs = Channel.pair()
        worker = Worker(spool, theirs, os.getpid())
        worker.environment = {"PATH": os.defpath}
        if order:
            ours.send(order)
        for id in ids:
            worker.work(id)
            worker.recorder.finish()
            for message in heard(ours):
                if message["kind"] == "ended":
                    say(("ended", int(id == "b") + 1, claims.STATE_OF[message["attempt"]["verdict"]]))
        worker.place.leave()

    return deed


def work_together(*ids):
    """A worker runs these jobs, whose outcomes reach the disk together."""

    def deed(spool, say):
        recorder.GATHER = 1e9
        ours, theirs = Channel.pair()
        worker = Worker(spool, theirs, os.getpid())
        worker.environment = {"PATH": os.defpath}
        worker._ids.extend(ids)  # so that each is looked at ahead
        while worker._ids:
            worker.work(worker._ids.popleft())
        worker.recorder.finish()
        for message in heard(ours):
            if message["kind"] == "ended":
                say(("ended", ids.index(message["id"]) + 1, claims.STATE_OF[message["attempt"]["verdict"]]))
        worker.place.leave()

    return deed


def heard(channel):
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while poll.poll(0):
        yield from channel.receive()


def add(spool, say):
    say(("added", spool.add(OK, meta=1).record["meta"]))


def add_named(spool, say):
    say(("added", spool.add(OK, id="a", meta=1).record["meta"]))


def add_many(count):
    def deed(spool, say):
        for job in spool.add_many([{"command": OK, "meta": token} for token in range(1, count + 1)]):
            say(("added", job.record["meta"]))

    return deed


def move(source, target):
    def deed(spool, say):
        spool.move(spool.read(source, "a"), target)
        say(("moved", 1, target))

    return deed


def recover(spool, say=None):
    recovery.mend(spool, recovery.plan(spool), spool.settings(), 0.0)


def due(spool, say):
    assert claims.due_again(spool, "a", spool.now()) is None


def retry(spool, say):
    """A supervisor brings the failed job back, and a worker runs it."""
    due(spool, say)
    work("a")(spool, say)


def retry_by_hand(spool, say):
    durable.move_own(spool.path(DEAD, "a"), spool.path(PENDING, "a"))
    work("a")(spool, say)


def give_up(spool, say):
    assert claims.give_up(spool, "half", PENDING)


def note_dead(spool, say):
    assert claims.note_dead(spool, "a", spool.settings())
    say(("moved", 1, DEAD))


def cancel_by_hand(spool, say):
    durable.move_own(spool.path(FAILED, "a"), spool.path(DEAD, "a"))
    note_dead(spool, say)


def hold(spool, say):
    hands.hold(spool, spool.find("a"), "for Bob", spool.settings())
    say(("moved", 1, spool.find("a").state))


def release(spool, say):
    hands.release(spool, spool.find("a"), spool.settings())
    say(("moved", 1, PENDING))


def cancel(spool, say):
    hands.cancel(spool, spool.find("a"), "by me", spool.settings())
    say(("moved", 1, DEAD))


def retry_anew(spool, say):
    hands.retry(spool, spool.find("a"), spool.settings(), reset=True)
    say(("moved", 1, PENDING))


def bury(spool, say):
    assert claims.bury(spool, "a", PENDING, "too late", spool.settings())  # after a power cut it is too late still


def unique(policy):
    """A job of that name is added, or takes the place of the one that waits."""

    def deed(spool, say):
        _, added = hands.add_unique(spool, "a", {"command": OK, "meta": 2}, None, 0.0, policy, spool.settings())
        if added:
            say(("added", 2))

    return deed


def to_front(spool, say):
    hands.to_front(spool, spool.find("a"), spool.settings())
    say(("moved", 1, PENDING))


def give_back(spool, say):
    claims.give_back(claims.take(spool, "a", spool.settings()))


def prune(spool, say):
    found = os.lstat(spool.path(DONE, "a"))
    assert retention.prune(spool, DONE, "a", found)


def set_config(spool, say):
    config.change(spool.root, "max_retries", 7, spool.spare(), 0o600)
    say(("set", 7))


SCENES = [
    *(Scene(f"add, fsync {fsync}", nothing, add, fsync) for fsync in ("always", "group", "never")),
    Scene("add under a name", nothing, add_named),
    Scene("add three", nothing, add_many(3)),
    Scene("add ten, synced by one call", nothing, add_many(10)),
    *(Scene(f"run to done, fsync {fsync}", waiting(), work("a"), fsync) for fsync in ("always", "group", "never")),
    Scene("run three to done together", three, work_together(*"abc")),
    Scene("run to failed", waiting(command=FAILS), work("a")),
    Scene("run to dead", waiting(command=FAILS, max_retries=0), work("a")),
    Scene("run to a snooze", waiting(command="exit 75"), work("a")),
    Scene("run with a lock and a slot", waiting(locks=["db"], group="g"), work("a")),
    Scene("run what says how it went", waiting(command="echo '{}' > $QUEUECTL_RESULT"), work("a")),
    Scene("run what can't start", waiting(command="no-such-program"), work("a")),
    Scene("run a second time", tried("failed", PENDING), work("a")),
    Scene("run into a timeout", waiting(command=LONG, timeout=0.01), work("a")),
    Scene("run and be interrupted", waiting(command=LONG), work("a", order="interrupt")),
    Scene("run where an older one is done", with_older(waiting(), DONE), work("a")),
    Scene("run one that printed", waiting(command="echo out; echo err >&2"), work("a")),
    Scene("claim and give back", waiting(), give_back),
    Scene("claim and give back what had died", tried("dead", PENDING), give_back),
    Scene("due again", tried("failed"), due),
    Scene("due again, and run", tried("failed"), retry),
    Scene("brought back from the dead, and run", tried("dead"), retry_by_hand),
    Scene("recover a lost one", lost, recover),
    Scene("recover one lost in its second try", lost_again, recover),
    *(
        Scene(f"recover what was recorded {word}", recorded(word), recover)
        for word in ("done", "failed", "dead", "interrupted", "snoozed")
    ),
    Scene("recover beside an older one", with_older(recorded("done"), DONE), recover),
    Scene("dlq retry", tried("dead"), move(DEAD, PENDING)),
    Scene("cancel a failed one", tried("failed"), move(FAILED, DEAD)),
    Scene("skip one where an older one is done", with_older(waiting(), DONE), move(PENDING, DONE)),
    Scene("note that hands put it to the dead", tried("failed", DEAD), note_dead),
    Scene("hands put it to the dead, which is noted", tried("failed"), cancel_by_hand),
    Scene("give up what is no job", half, give_up),
    Scene("hold", waiting(), hold),
    Scene("hold what failed", tried("failed"), hold),
    Scene("bury what is too late", waiting(), bury),
    Scene("add the only one of its name", nothing, unique("skip")),
    Scene("let another be the one that waits", waiting(), unique("replace"), goes=(1,)),
    Scene("let another be the one that failed", tried("failed"), unique("replace"), goes=(1,)),
    Scene("put in front", waiting(priority=-1), to_front),
    Scene("release", waiting(hold="for Bob"), release),
    Scene("cancel what waits", waiting(), cancel),
    Scene("cancel what failed, with the reason", tried("failed"), cancel),
    Scene("retry what failed with all its tries", tried("failed"), retry_anew),
    Scene("retry what is dead", tried("dead"), retry_anew),
    Scene("let go of one that was done", tried("done"), prune, goes=(1,)),
    Scene("config set", waiting(), set_config),
]
