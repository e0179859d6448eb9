"""Each module of rows, made small: every row comes, and all the jobs that it tells of ran, counted outside."""

import os
import sys
from functools import partial
from types import SimpleNamespace

import pytest

from bench import adding, idle, many, ordering, ours, printing, reacting, stock, watched, wide
from bench.note import Note
from bench.place import Place
from bench.pool import Pool, came, percentile


class Folder(Place):
    """A temporary directory, whoever we are."""

    def _mount(self):
        return False


@pytest.fixture
def place():
    with Folder() as made:
        yield made


@pytest.fixture
def tally(tmp_path):
    """A file, and a command that appends a line to it: `lines()` counts the runs."""
    return Tally(tmp_path / "tally")


class Tally:
    def __init__(self, path):
        self.path = path
        self.command = f"echo ran >> {path}"  # O_APPEND

    def lines(self):
        return len(self.path.read_text().splitlines()) if self.path.exists() else 0


def measured(module, place):
    """The rows of the module, by key; each has samples, and as many beside as of ours."""
    rows = {row.key: row for row in module.rows(place, quick=True)}
    assert all(row.values for row in rows.values())
    assert all(row.as_json()["holds"] in (True, False, None) for row in rows.values())
    return rows


def test_adding(place, monkeypatch):
    monkeypatch.setattr(adding, "installed", lambda place: os.path.dirname(sys.executable))
    monkeypatch.setattr(adding, "FEW_ONES", 2)
    monkeypatch.setattr(adding, "FEW_LINES", 50)
    put = []
    litequeue = SimpleNamespace(add_each=lambda place, lines: put.append(lines) or 0.5)
    monkeypatch.setitem(sys.modules, "bench.peers", SimpleNamespace(litequeue=litequeue))
    rows = measured(adding, place)
    assert rows.keys() == {"enqueue-one-group", "enqueue-one-never", "mv-one", "enqueue-many-group", "enqueue-many-never"}
    assert rows["enqueue-many-group"].beside == [100.0] * adding.FEW_ROUNDS
    assert put == [["true"] * 50] * adding.FEW_ROUNDS
    assert len(rows["enqueue-one-group"].ours) == 2
    assert ours.count(f"{place.folder}/one", "pending") == 6  # two each, by the command and by mv, and the warm ones
    assert ours.count(f"{place.folder}/loose", "pending") == 3
    assert ours.count(f"{place.folder}/many", "pending") == 50


def test_lines_that_do_not_all_come_are_noticed(place):
    root = ours.spool(place.fresh("spool"))
    with pytest.raises(AssertionError, match="1 jobs came .*, not 2"):
        adding._filled(root, 2, ["sh", "-c", f"echo > {root}/pending/one.json"])


def test_reacting(place, monkeypatch):
    monkeypatch.setattr(reacting, "FEW_SAMPLES", 4)
    monkeypatch.setattr(reacting, "FEW_HELD", 3)
    monkeypatch.setattr(reacting, "RETRIES", 4)
    monkeypatch.setattr(reacting, "DUE", (0.05, 0.2))
    monkeypatch.setattr(Note, "spawned", lambda _: 0.0)  # it varies, and is taken off
    rows = measured(reacting, place)
    assert {key: len(row.ours) for key, row in rows.items()} == {
        "reaction-idle": 8,
        "reaction-idle-p50": 2,
        "reaction-idle-p99": 2,
        "reaction-after-claim": 6,
        "reaction-after-claim-p50": 2,
        "reaction-after-claim-p99": 2,
        "retry-late": 8,
        "retry-late-p99": 2,
    }
    assert ours.count(f"{place.folder}/reacting", "done") == reacting.WARM + 8 + 2 * 6 + 8
    assert min(rows["retry-late"].ours) > -0.01  # ms: none began before it was due


def test_many(place, monkeypatch, tally):
    monkeypatch.setattr(many, "QUICK", many.Sizes((30, 60), many=60, few=30, drained=40, rounds=1, samples=2))
    monkeypatch.setattr(stock, "COMMAND", tally.command)
    rows = measured(many, place)
    sizes = {f"size-{what}-{size}" for what in ("claim", "enqueue", "dropin", "status", "list") for size in (30, 60)}
    assert rows.keys() == sizes | {"many-start", "many-rate", "many-status", "many-list"} | {
        f"million-{what}" for what in ("enqueue", "mv", "dropin")
    }
    drains = [30, 40, 30]  # all but the last job of each are of this kind, and some more may have run before the pool ended
    assert sum(drains) - len(drains) <= tally.lines() <= 30 + 60 + 30 - len(drains)


def test_a_job_that_is_lost_in_a_drain_is_noticed(place, monkeypatch):
    root = ours.spool(place.fresh("spool"))
    monkeypatch.setattr(stock, "COMMAND", f"rm -f {root}/pending/2026*.json")
    with (
        Note(place.fresh("note")) as note,
        pytest.raises(AssertionError, match="40 jobs waited in .*, and 30 are pending or done"),
    ):
        many.drained(root, 40, 30, note)


def test_idle(place, monkeypatch):
    monkeypatch.setattr(idle, "FEW_SECONDS", 0.1)
    monkeypatch.setattr(idle, "BEFORE", 8)
    rows = measured(idle, place)
    assert rows.keys() == {"idle-ticks", "idle-supervisor", "idle-worker"}
    assert 1 < rows["idle-worker"].middle < 100
    assert ours.count(f"{place.folder}/idle", "done") == 8


def test_printing(place, monkeypatch):
    monkeypatch.setattr(printing, "FEW_ROUNDS", 1)
    monkeypatch.setattr(printing, "MIB", 10_000)
    assert measured(printing, place).keys() == {"print-gib", "print-at-once"}


def test_a_log_that_is_not_whole_is_noticed(tmp_path):
    (tmp_path / "job.1.out").write_bytes(b"half")
    with pytest.raises(AssertionError, match=r"these came: \[4\]"):
        printing._whole(tmp_path, 1)


def test_ordering(place, monkeypatch, tally):
    monkeypatch.setattr(ordering, "FEW_ROUNDS", 1)
    monkeypatch.setattr(ordering, "FEW_JOBS", 6)
    monkeypatch.setattr(ordering, "COMMAND", tally.command)
    assert measured(ordering, place).keys() == {"ordering-0", "ordering-1", "ordering-2"}
    assert tally.lines() == 6 * 6


def test_wide(place, monkeypatch, tally):
    monkeypatch.setattr(wide, "FEW_ROUNDS", 1)
    monkeypatch.setattr(wide, "FEW_WAVES", 1)
    monkeypatch.setattr(wide, "SLEEPERS", 8)
    monkeypatch.setattr(wide, "BURN", tally.command)
    assert measured(wide, place).keys() == {"wide-burn", "wide-asleep"}
    assert tally.lines() == 2 * wide.FEW_JOBS
    assert ours.count(f"{place.folder}/asleep", "done") == 2 * 8


@pytest.mark.parametrize("compiler", [None, "cc"])
def test_a_program_notes_its_first_instruction(place, compiler):
    with Note(place.fresh("note"), compiler) as note:
        assert 0 < note.spawned() < 5
        child = os.posix_spawn(
            note.failing()[0], note.failing(), {"QUEUECTL_JOB_ID": "x", "QUEUECTL_ATTEMPT": "1", "PATH": os.defpath}
        )
        noted = note.read()
        assert (noted.id, noted.attempt) == ("x", 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


@pytest.mark.parametrize("compiler", [None, "cc"])
def test_one_that_holds_ends_when_it_is_let_go(place, compiler):
    with Note(place.fresh("note"), compiler) as note:
        child = os.posix_spawn(note.holding()[0], note.holding(), {"PATH": os.defpath})
        note.read()
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        note.let_go()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_of_a_pool_is_left(place):
    root = ours.spool(place.fresh("spool"))
    with pytest.raises(ZeroDivisionError), Pool(root, 2) as pool:
        members = [pool.supervisor, *pool.workers()]
        raise ZeroDivisionError
    assert not [pid for pid in members if os.path.exists(f"/proc/{pid}")]


def test_a_pool_that_ended_is_not_waited_for(place):
    with pytest.raises(AssertionError, match="the supervisor ended with"), Pool(place.fresh("nowhere"), 1):
        pass


def test_more_jobs_than_were_dropped_are_noticed(place):
    root = ours.spool(place.fresh("spool"))
    stock.done(root, 3)
    came(root, "done", 3)
    with pytest.raises(AssertionError, match="3 jobs came to .*, not 2"):
        came(root, "done", 2)


def test_job_files_are_as_the_queue_leaves_them(place):
    root = ours.spool(place.fresh("spool"))
    stock.pending(root, 2)
    stock.front(root, 1, ["true"])
    stock.done(root, 2)
    ours.drain(root, 1)
    assert ours.count(root, "done") == 5
    ours.run(root, "doctor")  # finds nothing


def test_the_percentile_is_one_of_the_values():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert percentile([1.0], 0.99) == 1.0


def test_watched(place, monkeypatch):
    monkeypatch.setattr(watched, "FEW_JOBS", 40)
    monkeypatch.setattr(watched, "PAGES", 3)
    monkeypatch.setattr(watched, "crowd", partial(watched.crowd, pages=3, often=50))
    rows = measured(watched, place)
    assert (rows.keys(), "answers a second came" in rows["watched-page"].note) == ({"watched-journal", "watched-page"}, True)


def test_a_crowd_is_answered(place):
    root, looks = ours.spool(place.fresh("watched"), "never"), []
    with watched.crowd(root, looks, pages=5, often=100):
        ours.fill(root, ["true"] * 20)
        ours.drain(root, 1)
    assert (looks[0].answers > 10, 0 < looks[0].share < 1) == (True, True)
