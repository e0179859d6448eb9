"""Which ways jobs went is read at a glance, line by line or many at a time: with what a parser would find in each line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jobspool import journal, ways


def test_which_way_a_job_went_is_known_without_the_rest_of_the_line():
    went = [
        ("x", None, "pending"),
        ('an "odd" id\n', "pending", "processing"),
        ("é", "processing", "done"),
        ("a b", "dead", None),
    ]
    for id, source, target in went:
        [line] = journal.lines("moved", [id], source, target, 1.5, {"reason": 'x "y"} {"time"'}).splitlines()
        assert ways.way(line) == (id, source, target)
        [other] = journal.lines("added", ["other"], None, "pending", 1.5, {"by": "hand"}).splitlines()
        for half in (other[:40], other[:-5], other[:-1]):  # as a full disk leaves it
            assert ways.way(half + line) == (id, source, target)
        assert ways.way(line[:-1]) is None


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", ".x", "a\0b", "a\ud800b", "x" * 300])
def test_what_no_file_can_be_called_goes_no_way(id):
    [line] = journal.lines("moved", [id], None, "done", 1.5, {}).splitlines()
    assert ways.way(line) is None


def test_what_goes_no_way_is_no_way():
    counted = {"time": "", "event": "counted", "job": "", "from": None, "to": None, "counts": {}}
    odd = [{**counted, "event": "moved", "job": "x", "to": "elsewhere"}, {**counted, "event": "moved", "job": 1}]
    for line in [b"", b"{}", b"\xff", *(json.dumps(each).encode() for each in [counted, *odd])]:
        assert ways.way(line) is None


ENTRIES = [
    b"",
    b"{}",
    b"half a l",
    *journal.lines("added", ["x", "y z", 'an "odd" id'], None, "pending", 1.5, {"by": "hand"}).splitlines(),
    *journal.lines("ended", ["x"], "processing", "dead", 1.5, {"reason": '{"time": "x", "event": "added"} }'}).splitlines(),
    *journal.lines("counted", [""], None, None, 1.5, {"counts": {}, "by": "audit"}).splitlines(),
    *journal.lines("moved", ["../x"], "dead", "done", 1.5, {}).splitlines(),
    b'{"job": "x", "time": "", "event": "moved", "from": "done", "to": "dead"}',
    b'{"time": "", "event": "moved", "job": "x", "from": "done", "to": "elsewhere"}',
]


@given(some.lists(some.tuples(some.sampled_from(ENTRIES), some.sampled_from([b"\n", b"\n", b"\n", b""]))))
def test_many_lines_tell_what_each_of_them_tells(written):
    """Where a full disk has left half a line, the next one follows on it."""
    piece = b"".join(entry + end for entry, end in written)
    piece = piece[: piece.rfind(b"\n") + 1]
    assert list(ways.ways(piece)) == [way for line in piece.split(b"\n")[:-1] if (way := ways.way(line))]


def test_many_lines_are_parsed_one_by_one_only_where_one_is_odd(monkeypatch):
    monkeypatch.setattr(ways, "way", None)
    piece = journal.lines("added", [f"x{number}" for number in range(100)], None, "pending", 1.5, {"by": "hand"})
    assert list(ways.ways(piece)) == [(f"x{number}", None, "pending") for number in range(100)]
