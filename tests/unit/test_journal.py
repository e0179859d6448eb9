"""The journal: appended by many, rotated, bounded, and read on from where one was."""

import json
import os
import threading

import pytest

from jobspool import durable, journal

LINE = journal.lines("added", ["x"], None, "pending", 0.0, {"by": "program"})


@pytest.fixture
def root(tmp_path):
    return str(tmp_path)


def put(root, *ids, limit=1 << 30, event="added"):
    journal._newest.clear()  # as another process
    return journal.append(root, journal.lines(event, ids, None, "pending", 1.5, {"by": "program"}), limit, 0o600)


def jobs(events):
    return [event["job"] for event in events]


def test_a_line_is_json_whatever_is_said_in_it():
    what = {"a": 1, "b": 1.5, "c": 'a "quoted" \n é line', "d": None, "e": True, "f": {"g": [1]}}
    [line] = journal.lines("moved", ['an "odd" id\n'], "dead", None, 1.5, what).splitlines()
    head = {"time": "1970-01-01T00:00:01.500000Z", "event": "moved", "job": 'an "odd" id\n', "from": "dead", "to": None}
    assert json.loads(line) == {**head, **what}


def test_what_was_appended_is_read_in_order(root):
    put(root, "a", "b")
    put(root, "c")
    assert jobs(journal.Reader(root).read()) == ["a", "b", "c"]


def test_a_reader_goes_on_behind_any_event(root):
    put(root, *"abcd")
    events = journal.Reader(root).read()
    assert [jobs(journal.Reader(root, event["cursor"]).read()) for event in events] == [["b", "c", "d"], ["c", "d"], ["d"], []]


def test_a_reader_is_given_no_more_than_it_asks_for_and_misses_nothing(root):
    put(root, *"abcde")
    reader = journal.Reader(root)
    assert [jobs(reader.read(2)) for _ in range(4)] == [["a", "b"], ["c", "d"], ["e"], []]


def test_a_reader_takes_what_there_is_at_one_go_and_knows_where_it_is(root):
    for id in "abc":
        put(root, id, limit=1)  # in segments of their own
        os.truncate(journal.path_of(root, max(journal.segments(root))), journal.SMALLEST)
    with open(journal.path_of(root, 4), "ab") as file:
        file.write(LINE + LINE[:-5])
    reader, found = journal.Reader(root), []
    while (piece := reader.piece()) is not None:
        found.append((piece.count(b"\n"), reader.cursor))
    with open(journal.path_of(root, 4), "ab") as file:
        file.write(LINE[-5:])
    size = len(journal.lines("added", ["a"], None, "pending", 1.5, {"by": "program"}))
    assert found == [(1, f"1:{size}"), (1, f"2:{size}"), (1, f"3:{size}"), (1, f"4:{len(LINE)}")]
    assert (reader.piece(), reader.cursor, reader.piece()) == (LINE, journal.end(root), None)


def test_the_end_is_behind_the_last_whole_line(root):
    put(root, "a")
    with open(journal.path_of(root, 1), "ab") as file:
        file.write(b'{"time": "half a li')
    reader = journal.Reader(root, journal.end(root))
    with open(journal.path_of(root, 1), "ab") as file:
        file.write(b'ne", "event": "added", "job": "whole", "from": null, "to": null}\n')
    assert jobs(reader.read()) == ["whole"]


def test_half_a_line_that_a_full_disk_left_hides_nothing(root):
    put(root, "a")
    with open(journal.path_of(root, 1), "ab") as file:
        file.write(LINE[:40])
    put(root, "b")
    put(root, "c")
    assert jobs(journal.Reader(root).read()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 500 + b"\n", b"[]\n", b'{"time": 1, "job": "x"}\n', b'{"time": "x"}\n', b"\xff\n", b"\n"]
)
def test_what_is_no_event_is_passed_over(root, rubbish):
    put(root, "a")
    with open(journal.path_of(root, 1), "ab") as file:
        file.write(rubbish)
    put(root, "b")
    assert jobs(journal.Reader(root).read()) == ["a", "b"]


@pytest.mark.parametrize(
    "odd",
    [
        {"event": "added", "from": [], "to": None},
        {"event": "added", "from": {}, "to": "pending"},
        {"event": "added", "to": "pending"},
        {"event": "added", "from": "elsewhere", "to": None},
        {"event": 7, "from": None, "to": None},
        {"event": "counted", "from": None, "to": None},
        {"event": "counted", "from": None, "to": None, "counts": {"pending": "1"}},
        {"event": "counted", "from": None, "to": None, "counts": [1]},
    ],
    ids=str,
)
def test_an_event_that_is_none_of_ours_is_passed_over(root, odd):
    put(root, "a")
    with open(journal.path_of(root, 1), "ab") as file:
        file.write(json.dumps({"time": "2026-11-24T10:15:30Z", "job": "q", **odd}).encode() + b"\n")
    put(root, "b")
    assert jobs(journal.Reader(root).read()) == ["a", "b"]


def test_a_hole_of_gigabytes_is_passed_over_a_piece_at_a_time(root):
    put(root, "a")
    with open(journal.path_of(root, 1), "ab") as file:
        file.truncate(40_000_000)
        file.seek(0, 2)
        file.write(b"\n")
    put(root, "b", limit=1 << 40)
    reader = journal.Reader(root)
    assert jobs(reader.read()) == ["a", "b"]
    assert (
        max(len(journal._whole(os.open(journal.path_of(root, 1), os.O_RDONLY), offset)) for offset in (0, 1000))
        <= journal.LONGEST
    )


@pytest.mark.parametrize("what", ["link", "file"])
def test_what_lies_in_the_journals_place_is_left_alone(root, tmp_path, what):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "00000001.jsonl").write_text("precious\n")
    os.symlink(victim, f"{root}/journal") if what == "link" else (tmp_path / "journal").write_text("precious\n")
    for deed in (lambda: put(root, "a"), lambda: journal.trim(root, 0, "9:0")):
        with pytest.raises(NotADirectoryError):
            deed()
    assert (victim / "00000001.jsonl").read_text() == "precious\n"


def test_a_segment_has_its_mode_whatever_the_umask(root):
    before = os.umask(0o077)
    try:
        journal._newest.clear()
        journal.append(root, LINE, 1 << 30, 0o660)
    finally:
        os.umask(before)
    assert os.stat(journal.path_of(root, 1)).st_mode & 0o777 == 0o660


def test_a_segment_that_has_its_size_is_left_for_the_next(root):
    begun = [put(root, *["x" * 100] * 300, limit=0) for _ in range(5)]
    assert (journal.segments(root), begun) == ([1, 2, 3], [True, False, True, False, True])
    assert len(journal.Reader(root).read(5000)) == 1500


def test_who_follows_goes_on_to_the_next_segment_once_nothing_more_can_come_to_the_last(root):
    put(root, *["x" * 100] * 700, limit=0)
    reader = journal.Reader(root)
    reader.read(5000)
    with open(journal.path_of(root, 1), "ab") as file:
        assert durable.lock_shared(file.fileno())  # as somebody who found it not yet full
        put(root, "new", limit=0)
        assert reader.read() == []
        file.write(journal.lines("added", ["late"], None, "pending", 0.0, {}))
    assert jobs(reader.read()) == ["late", "new"]


def test_a_reader_that_is_stopped_holds_no_writer(root):
    put(root, *["x" * 100] * 300, limit=0)
    with open(journal.path_of(root, 1), "rb") as file:
        assert durable.lock(file.fileno())
        put(root, "new", limit=0)
    assert (journal.segments(root), jobs(journal.Reader(root).read())[-1]) == ([1, 2], "new")


def test_the_oldest_segments_go_once_they_were_added_up(root):
    for _ in range(6):
        put(root, *["x" * 100] * 700, limit=0)
    one = os.path.getsize(journal.path_of(root, 1))
    journal.trim(root, 3 * one, "3:0")
    assert journal.segments(root) == [3, 4, 5, 6]
    journal.trim(root, 3 * one, "4:0")
    assert journal.segments(root) == [4, 5, 6]


def test_who_wrote_to_a_segment_that_has_gone_goes_on_with_the_newest(root):
    put(root, "old")
    ours = dict(journal._newest)
    for _ in range(3):
        put(root, *["x" * 100] * 700, limit=0)
    os.unlink(journal.path_of(root, 1))
    journal._newest.update(ours)  # of a process that has written nothing since
    journal.append(root, LINE, 1 << 30, 0o600)
    assert (journal.segments(root), jobs(journal.Reader(root, "3:0").read(5000))[-1]) == ([2, 3], "x")


def test_it_is_never_more_than_twice_as_large_as_it_may_be(root):
    for _ in range(6):
        put(root, *["x" * 100] * 700, limit=0)
    one = os.path.getsize(journal.path_of(root, 1))
    journal.trim(root, one, "1:0")
    assert journal.segments(root) == [5, 6]


def test_a_reader_of_what_has_gone_goes_on_with_the_oldest_and_knows(root):
    for _ in range(3):
        put(root, *["x" * 100] * 700, limit=0)
    put(root, "new", limit=0)
    reader = journal.Reader(root, "1:500")
    for number in (1, 2):
        os.unlink(journal.path_of(root, number))
    assert (len(reader.read(5000)), reader.lost) == (701, True)


@pytest.mark.parametrize("cursor", ["1:999999", "77:5", "1:7"])
def test_a_cursor_of_another_journal_loses_nothing_that_is_there(root, cursor):
    put(root, "a", "b")
    events = journal.Reader(root, cursor).read()
    assert jobs(events)[-1] == "b"


def test_a_journal_that_hands_removed_begins_anew(root):
    put(root, "a", "b")
    reader = journal.Reader(root)
    reader.read()
    os.unlink(journal.path_of(root, 1))
    os.rmdir(f"{root}/journal")
    assert reader.read() == []
    journal.append(root, LINE, 1 << 30, 0o600)
    assert jobs(reader.read()) == ["x"]


def test_lines_of_many_writers_are_whole(root):
    def write(name):
        for number in range(200):
            journal.append(root, journal.lines("added", [f"{name}.{number}"], None, "pending", 0.0, {"why": "x" * 500}), 0, 0o600)

    writers = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(jobs(journal.Reader(root).read(5000))) == sorted(f"{a}.{b}" for a in range(8) for b in range(200))


def test_what_is_no_regular_file_is_passed_over(root):
    os.mkdir(f"{root}/journal")
    os.mkfifo(journal.path_of(root, 1))
    assert journal.Reader(root).read() == []
    assert journal.end(root) == "1:0"


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "a:1", "1:-1", "1:1:1", "1:" + "9" * 30, "²:1"])
def test_what_is_no_cursor(text):
    assert not journal.is_cursor(text)
