"""Anything at all, dropped by the handful into the spool of one pool that lives through it all.

Whole jobs run once; of the rest nothing runs, changes or goes, and each is explained. DROPS=N tries more handfuls, DROPS_SEED=N
others.
"""

import contextlib
import itertools
import json
import os
import shutil
import stat
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from drops.scene import look, warnings
from drops.test_files import ALL, first_name_of
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from kit import new_spool, pool, until, where, workers

from jobspool.errors import NotAJob
from jobspool.job import LONGEST_ID, parse

SEED = int(os.environ.get("DROPS_SEED", 1))
HANDFULS = int(os.environ.get("DROPS", 40))
LIMIT = 1 << 20

# The pool waits less for what is half written: nothing here is finished later.
HASTY = "import sys, jobspool.supervisor, queuectl; jobspool.supervisor.SETTLE = 0.3; sys.exit(queuectl.main(sys.argv[3:]))"

# kind: whole (content: its other words), no job (content: its bytes), odd (content: its name in ALL), ignored. name: what stands
# before a number and the ending.
Drop = namedtuple("Drop", "kind state name ending content how mode mtime", defaults=(".json", None, "write", 0o600, None))

numbers = itertools.count()


# ---- what is dropped

names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    max_size=20,
) | st.sampled_from(["-", "--help", "..", "\x1b[31m", " ", "\n", "~", "x" * 180, "x.json", "*"])  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
no_nul = texts.map(lambda text: text.replace("\0", ""))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
words = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-(2**31), 2**31),
        "max_retries": st.integers(0, 1_000_000),
        "backoff_base": st.floats(0, 10),
        "timeout": st.floats(30, 1000),
        "name": no_nul,
        "meta": values,
        "cwd": st.just("/"),
        "env": st.dictionaries(no_nul.map(lambda name: "V" + name.replace("=", "")), no_nul, max_size=3),
        "attempts": st.just([]),
    },
)
modes = st.sampled_from([0o600, 0o644, 0o400, 0o4755, 0o1600])
mtimes = st.none() | st.integers(-(2**31), 1_700_000_000) | st.sampled_from([0, -1, 1])


def is_no_job(content):
    try:
        parse(content, LIMIT)
    except NotAJob:
        return True
    return False


def broken(record):
    """Contents near to that of a job: cut off, with bytes changed, put in or taken out, or wrapped; and which are none."""
    content = json.dumps(record).encode()
    places = st.integers(0, len(content) - 1)
    changed = st.builds(lambda at, byte: content[:at] + bytes([byte]) + content[at + 1 :], places, st.integers(0, 255))
    put_in = st.builds(lambda at, more: content[:at] + more + content[at:], places, st.binary(min_size=1, max_size=3))
    taken_out = st.builds(lambda at, size: content[:at] + content[at + size :], places, st.integers(1, 5))
    cut_off = places.map(lambda at: content[:at])
    more = [b"[" + content + b"]", content * 2, b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content + b"\0"]
    return (changed | put_in | taken_out | cut_off | st.sampled_from(more)).filter(is_no_job)


CANARY = {"command": "touch canary"}
OTHERS = ["argv", "cwd", "env", "timeout", "max_retries", "priority", "name", "attempts", "cmd", "id"]
HOSTILE = [
    b'{"command": "touch canary", "meta": ' + b"[" * 50_000,
    b"9" * 10_000,
    b'{"command": "touch canary", "priority": 1e999}',
    b'{"command": "touch canary\\ud800"}',
    b" " * (LIMIT + 1),
    b"",
]
contents = (
    words.flatmap(lambda more: broken({**CANARY, **more}))
    | st.dictionaries(st.sampled_from(OTHERS), values, min_size=1, max_size=3)
    .map(lambda more: json.dumps({**CANARY, **more}).encode())
    .filter(is_no_job)
    | values.map(lambda value: json.dumps(value).encode()).filter(is_no_job)
    | st.binary(max_size=100).filter(is_no_job)
    | st.sampled_from(HOSTILE)
)
endings = st.sampled_from(["", "~", ".swp", ".part", ".tmp", ".json~", ".JSON", ".json ", ".json\n"])
anywhere = st.sampled_from(["pending", "pending", "failed", "processing", "dead", "done"])
drops = st.one_of(
    st.builds(Drop, st.just("whole"), st.just("pending"), names, st.just(".json"), words, st.sampled_from(["write", "pieces", "rename", "link"]), modes, mtimes),
    st.builds(Drop, st.just("no job"), st.sampled_from(["pending", "pending", "failed", "dead", "done"]), names, st.just(".json"), contents, st.sampled_from(["write", "pieces", "rename"]), modes),
    st.builds(Drop, st.just("odd"), anywhere, names, st.just(".json"), st.sampled_from(sorted(ALL))),
    st.builds(Drop, st.just("ignored"), anywhere, names, endings, st.just(json.dumps(CANARY).encode()), st.just("write"), modes),
)  # fmt: skip


# ---- how it is dropped, and what is to become of it


class Dropped:
    """One thing that lies in the spool: where, and how it looked."""

    def __init__(self, spool, drop):
        self.spool, self.drop = spool, drop
        number = next(numbers)
        name = drop.name if drop.kind == "ignored" else f"_{drop.name}" if drop.name.startswith(".") else drop.name
        self.id = f"{os.fsdecode(os.fsencode(name)[: LONGEST_ID - 20])}{number}"
        self.path = Path(spool.folder(drop.state), self.id + drop.ending)
        home = Path(spool.root).parent
        self.marker, self.outside = home / f"ran-{number}", home / f"outside-{number}"
        self.why = self.before = None
        if drop.kind == "odd":
            self.make_odd()
        else:
            self.write(drop.content if drop.kind != "whole" else json.dumps(self.record(), ensure_ascii=number % 2 == 0).encode())
        if drop.kind in ("odd", "ignored"):
            self.before = look(self.path)

    def record(self):
        return {"command": f"echo ran >> {self.marker}", **self.drop.content}

    def make_odd(self):
        self.outside.mkdir()
        for name in ("job.json", "linked.json"):
            (self.outside / name).write_text(json.dumps(CANARY))
        make, self.why = ALL[self.drop.content]
        make(self.path, json.dumps(CANARY).encode(), self.outside)

    def write(self, content):
        spare = Path(self.spool.root, "tmp", f"mine-{next(numbers)}")
        written = self.path if self.drop.how in ("write", "pieces") else spare
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        half = len(content) // 2 if self.drop.how == "pieces" else 0
        for piece in (content[:half], content[half:]):
            os.write(descriptor, piece)
        os.fchmod(descriptor, self.drop.mode)
        if self.drop.mtime is not None:
            os.utime(descriptor, (self.drop.mtime,) * 2)
        found = os.fstat(descriptor)
        self.before = [found.st_mode, found.st_uid, found.st_gid], content
        os.close(descriptor)
        if self.drop.how == "rename":
            os.rename(spare, self.path)
        elif self.drop.how == "link":
            os.link(spare, self.path)
            with contextlib.suppress(FileNotFoundError):  # a worker took it away, to have one name
                os.unlink(spare)

    @property
    def comes_to(self):
        """The state in which it is to come to rest."""
        if self.drop.kind == "whole":
            return "done"
        return "dead" if self.drop.kind == "no job" and self.drop.state in ("pending", "failed") else self.drop.state

    def check(self, told):
        state, path = self.comes_to, Path(self.spool.path(self.comes_to, self.id))
        name = f"{self.drop.state}/{self.path.name}"
        if self.drop.kind == "whole":
            job = self.spool.read(state, self.id)
            assert (self.marker.read_text(), [attempt["verdict"] for attempt in job.attempts]) == ("ran\n", ["done"])
            assert {**job.record, "attempts": []} == {**self.record(), "attempts": []}
        elif self.drop.kind == "no job":
            with pytest.raises(NotAJob) as refused:
                parse(self.drop.content, LIMIT)
            assert self.spool.read(state, self.id).problem == str(refused.value)
            found = path.lstat()
            assert ([found.st_mode, found.st_uid, found.st_gid], path.read_bytes()) == self.before
        else:
            assert look(self.path) == self.before
            assert name in told or (self.drop.kind == "odd" and state in ("done", "dead") and "not a regular" not in self.why)
            assert told.get(name, self.why) == self.why or self.drop.kind == "ignored"

    def remove(self):
        """Take it out of the spool, as a person does who has read why it lay there."""
        for path in (self.path, *(Path(self.spool.path(state, self.id)) for state in ("dead", "done"))):
            if os.path.lexists(path):
                shutil.rmtree(path) if stat.S_ISDIR(os.lstat(path).st_mode) else path.unlink()
        first_name_of(self.path).unlink(missing_ok=True)
        shutil.rmtree(self.outside, ignore_errors=True)
        self.marker.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A spool and its pool, for all handfuls."""
    home = tmp_path_factory.mktemp("fuzz")
    spool = new_spool(home)
    with pool(spool, 2, within=[sys.executable, "-c", HASTY]) as supervisor:
        before = workers(spool)
        yield spool
        assert workers(spool) == before, supervisor.log.read_text()[-2000:]
    assert supervisor.returncode == 0
    assert b"Traceback" not in supervisor.log.read_bytes()


@seed(SEED)
@settings(
    max_examples=HANDFULS, deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False
)
@given(handful=st.lists(drops, min_size=1, max_size=12))
def test_whatever_is_dropped_is_run_once_or_left_and_explained(served, handful):
    note(f"DROPS_SEED={SEED} DROPS={HANDFULS}")
    dropped = []
    try:
        for drop in handful:
            dropped.append(Dropped(served, drop))
        for each in dropped:
            if each.drop.kind in ("whole", "no job"):
                until(lambda: where(served, each.id) == [each.comes_to], f"{each.drop} in {each.comes_to}/")  # noqa: B023
        told = warnings(served)
        for each in dropped:
            each.check(told)
        assert not Path(served.root).with_name("canary").exists()
    finally:
        for each in dropped:
            each.remove()
