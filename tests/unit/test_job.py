"""What a whole job is, and what is wrong with what isn't one."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobspool.claim import Claim, entry_for
from jobspool.errors import LONGEST_REASON, NotAJob
from jobspool.job import (
    ROOM_FOR_ATTEMPTS,
    Job,
    check,
    check_id,
    id_of,
    iso,
    largest,
    last_mark,
    made_by_queue,
    new_id,
    number,
    parse,
    same_time,
    seconds,
    waits_since,
    waits_until,
    written,
)
from jobspool.retry import MOST_ATTEMPTS, Outcome, Verdict

LIMIT = 1 << 20
WHOLE = {
    "command": "convert in.png out.jpg",
    "cwd": "/srv",
    "env": {"LANG": "C", "EMPTY": ""},
    "timeout": 0.5,
    "max_retries": 0,
    "backoff_base": 1.5,
    "priority": -3,
    "name": "kitten № 7",
    "meta": {"any": ["thing", None, 1e300, True]},
    "attempts": [{"number": 1, "ended": "2026-11-24T10:15:30.123456Z", "verdict": "failed", "due": "2026-11-24T10:15:32Z"}],
}
TRIED = {"verdict": "failed", "ended": "2026-11-24T10:15:30Z"}
times = st.floats(0, 4_102_444_800)  # until 2100


def problem(record):
    """Why the record, or the content, is no job."""
    with pytest.raises(NotAJob) as refused:
        parse(record if isinstance(record, bytes) else json.dumps(record).encode(), LIMIT)
    return str(refused.value)


# ---- whole jobs


def test_a_command_is_a_whole_job():
    assert parse(b'{"command": "make"}', LIMIT) == {"command": "make"}


def test_an_argv_is_a_whole_job():
    assert parse(b'{"argv": ["make", ""]}', LIMIT) == {"argv": ["make", ""]}


def test_every_word_is_kept_as_it_is():
    assert parse(written(WHOLE), LIMIT) == WHOLE


def test_what_is_written_is_json_for_people():
    assert written({"command": "echo ü", "meta": [1]}) == '{\n  "command": "echo ü",\n  "meta": [\n    1\n  ]\n}\n'.encode()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(st.characters(exclude_categories=["Cs"])),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)))  # fmt: skip
def test_meta_may_be_anything(meta):
    assert parse(written({"command": "x", "meta": meta}), LIMIT) == {"command": "x", "meta": meta}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_job_or_say_why_not(content):
    try:
        assert isinstance(parse(content, LIMIT), dict)
    except NotAJob as refused:
        assert str(refused)


# ---- rules of the words


@pytest.mark.parametrize(
    ("word", "value", "rule"),
    [
        ("cwd", "srv", "cwd must be an absolute path"),
        ("cwd", 1, "cwd must be a string"),
        ("cwd", "/a\0b", "cwd can't contain a NUL"),
        ("env", [], "env must be an object of strings"),
        ("env", {"A": 1}, "env A must be a string"),
        ("env", {"A": "\0"}, "env A can't contain a NUL"),
        ("env", {"": "x"}, "env has a name that no variable can have: ''"),
        ("env", {"A=B": "x"}, "env has a name that no variable can have: 'A=B'"),
        ("timeout", 0, "timeout must be a number of seconds above 0, at most ten years"),
        ("timeout", -1, "timeout must be a number of seconds above 0, at most ten years"),
        ("timeout", 315_360_001, "timeout must be a number of seconds above 0, at most ten years"),
        ("timeout", "9", "timeout must be a number of seconds above 0, at most ten years"),
        ("timeout", None, "timeout must be a number of seconds above 0, at most ten years"),
        ("timeout", True, "timeout must be a number of seconds above 0, at most ten years"),
        ("max_retries", -1, "max_retries must be a whole number from 0 to 1000000"),
        ("max_retries", 1_000_001, "max_retries must be a whole number from 0 to 1000000"),
        ("max_retries", 1.0, "max_retries must be a whole number from 0 to 1000000"),
        ("max_retries", False, "max_retries must be a whole number from 0 to 1000000"),
        ("backoff_base", -0.1, "backoff_base must be a number from 0 to 1000000"),
        ("backoff_base", "2", "backoff_base must be a number from 0 to 1000000"),
        ("priority", 2**31 + 1, "priority must be a whole number, at most 2147483648 either way"),
        ("priority", 0.5, "priority must be a whole number, at most 2147483648 either way"),
        ("name", ["x"], "name must be a string"),
        ("name", "\0", "name can't contain a NUL"),
        ("attempts", {}, "attempts must be a list"),
        ("attempts", [1], "attempts must be as the queue wrote it"),
        ("attempts", [{"verdict": "failed"}], "attempts must be as the queue wrote it"),
        ("attempts", [{"verdict": "nearly", "ended": "2026-11-24T10:15:30Z"}], "attempts must be as the queue wrote it"),
        ("attempts", [{"verdict": "failed", "ended": "2026-11-24T10:15:30"}], "attempts must be as the queue wrote it"),
        ("attempts", [{"verdict": "failed", "ended": 5}], "attempts must be as the queue wrote it"),
        ("attempts", [{**TRIED, "due": None}], "attempts has a due that is no time"),
        ("attempts", [{**TRIED, "started": 1}], "attempts has a started that is no time"),
        ("attempts", [{**TRIED, "duration": "long"}], "attempts has a duration that is no number"),
        ("attempts", [{**TRIED, "memory": 10**400}], "attempts has a memory that is no number"),
        ("attempts", [{**TRIED, "reason": 5}], "attempts has a reason that is no string"),
        ("attempts", [{**TRIED, "signal": ["TERM"]}], "attempts has a signal that is no string"),
    ],
)
def test_each_word_has_its_rule(word, value, rule):
    assert problem({"command": "x", word: value}).startswith(rule)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({"command": ""}, "command is empty"),
        ({"command": " \n"}, "command is empty"),
        ({"command": ["make"]}, "command must be a string: a list goes under 'argv'"),
        ({"cmd": "make"}, "unknown key 'cmd', did you mean 'command'? (meta is the place for one's own)"),
        ({"command": "x", "id": "y"}, "unknown key 'id': the file's name is the id (meta is the place for one's own)"),
        ({"command": "x", "timeout": "30"}, "timeout must be a number of seconds above 0, at most ten years, and no string"),
        ({"command": "a\0b"}, "command can't contain a NUL"),
        ({"argv": []}, "argv must be a list of strings, the program first"),
        ({"argv": "make"}, "argv must be a list of strings, the program first"),
        ({"argv": ["make", 1]}, "argv has an item that must be a string"),
        ({"argv": [""]}, "argv has an empty program"),
        ({"name": "x"}, "neither command nor argv: one of them says what to run"),
        ({"command": "x", "argv": ["x"]}, "both command and argv: one of them says what to run"),
        ([{"command": "x"}], "not a JSON object"),
        ("make", "not a JSON object"),
        ({"comand": "x"}, "unknown key 'comand', did you mean 'command'? (meta is the place for one's own)"),
        (
            {"command": "x", "max-retry": 1},
            "unknown key 'max-retry', did you mean 'max_retries'? (meta is the place for one's own)",
        ),
        ({"command": "x", "zzz": 1}, "unknown key 'zzz' (meta is the place for one's own)"),
    ],
)
def test_what_is_no_job_says_so_in_one_line(record, rule):
    assert problem(record) == rule


# ---- content that is not what it should be


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b'\xef\xbb\xbf{"command": "x"}', "begins with a byte order mark: save it as UTF-8 without one"),
        (b'{"command": "\xff"}', "not UTF-8: byte 14"),
        (b'{"command": "x", "command": "y"}', "the key 'command' stands twice"),
        (b'{"command": "x", "meta": {"a": 1, "a": 1}}', "the key 'a' stands twice"),
        (b'{"command": "x", "meta": NaN}', "NaN is no number in JSON"),
        (b'{"command": "x", "meta": -Infinity}', "-Infinity is no number in JSON"),
        (b'{"command": "x", "meta": 1e999}', "the number 1e999 is too large"),
        (b'{"command": "\\ud800"}', "half a surrogate pair (\\ud800 to \\udfff) is no character"),
        (b'{"command": "x", "meta": {"\\udfff": 1}}', "half a surrogate pair (\\ud800 to \\udfff) is no character"),
    ],
)
def test_content_that_no_two_programs_read_alike_is_refused(content, rule):
    assert problem(content) == rule


def test_half_a_file_names_the_place():
    assert re.fullmatch(r"not JSON: .*line 1 column 13.*", problem(b'{"command": "mak'))


def test_a_whole_surrogate_pair_is_a_character():
    assert parse(b'{"command": "\\ud83d\\ude00"}', LIMIT) == {"command": "\U0001f600"}


def test_a_number_of_too_many_digits_is_refused():
    assert problem(b'{"command": "x", "meta": ' + b"9" * 5000 + b"}").startswith("a number that is too long")


@pytest.mark.parametrize("depth", [100, 950, 5_000, 400_000])
def test_what_is_nested_too_deep_to_be_written_again_is_refused(depth):
    content = b'{"command": "x", "meta": ' + b"[" * depth + b"]" * depth + b"}"
    assert problem(content) == "not JSON that anybody meant: nested too deep"


def test_what_is_nested_as_deep_as_people_nest_is_a_job():
    content = b'{"command": "x", "meta": ' + b"[" * 99 + b"]" * 99 + b"}"
    assert written(parse(content, LIMIT))


def test_many_lists_beside_each_other_are_not_deep():
    assert parse(written({"command": "x", "meta": [[]] * 1000}), LIMIT)["meta"] == [[]] * 1000


def test_a_file_larger_than_max_job_bytes_is_refused():
    content = b'{"command": "x"}'
    assert parse(content, len(content)) == {"command": "x"}
    with pytest.raises(NotAJob, match=r"larger than max_job_bytes \(15 bytes\)"):
        parse(content, len(content) - 1)


def test_what_its_attempts_add_never_makes_a_job_too_large():
    entry = {"ended": "2026-11-24T10:15:30Z", "verdict": "failed"}
    job = {"command": "x", "attempts": [entry] * 1000}
    assert parse(written(job), 64) == job
    for content in (
        b'{"command": "x"' + b" " * 64 + b"}",
        b'{"command": "x", "meta": {"attempts": [1]}, "name": "' + b"n" * 64 + b'"}',
    ):
        with pytest.raises(NotAJob, match="larger than max_job_bytes"):
            parse(content, 64)


@pytest.mark.parametrize("item", ["[]", "1e15", '{"a":{"b":0}}', '"\u00e9"'])
def test_a_job_of_the_largest_size_is_still_a_job_with_its_attempts(item):
    content = b'{"command":"x","meta":[' + ",".join([item] * 20_000).encode() + b"]}"
    job = parse(content, len(content))
    entry = {"ended": "2026-11-24T10:15:30Z", "verdict": "failed", "reason": "€" * 300}
    record = {**job, "attempts": [entry] * 100}
    assert len(written(record)) <= largest(len(content))
    assert parse(written(record), len(content)) == record


def test_the_attempts_that_a_record_has_room_for_fit(spool):
    """10,000 of the longest that the queue writes."""
    claim = Claim(spool, "x" * 200, 0, {"command": "x", "attempts": [{}] * 9_999}, os.stat(spool.root))
    outcome = Outcome(1e9, 2e9, 255, None, "\U0001f600" * LONGEST_REASON, 1e9 / 3, 2**60, True)
    entry = entry_for(claim, outcome, Verdict("interrupted", "pending", 2e9), "w" * 64 + ":4194304")
    record = {"command": "x", "attempts": [entry] * MOST_ATTEMPTS}
    assert len(written(record)) <= ROOM_FOR_ATTEMPTS


def test_a_large_job_is_written_on_one_line():
    """Indentation would let nested lists grow a hundredfold."""
    assert written({"command": "x", "meta": [[[1]]] * 20_000}).count(b"\n") == 1


@pytest.mark.parametrize(
    ("content", "beginning"),
    [
        (b'{"' + b"k" * 900_000 + b'": 1}', "unknown key 'kkkkkkk"),
        (b'{"command": "x", "env": {"' + b"k" * 900_000 + b'": 1}}', "env kkkkkkk"),
        (b'{"meta": {' + b'"k": 1, "k": 2, ' * 2 + b'"' + b"k" * 900_000 + b'": 1}}', "the key 'k' stands twice"),
    ],
)
def test_the_reason_is_short_however_long_the_file_is(content, beginning):
    reason = problem(content)
    assert reason.startswith(beginning)
    assert len(reason) <= LONGEST_REASON


def test_a_key_that_stands_twice_among_many_is_found_without_comparing_each_with_each():
    """Comparing each with each would take minutes."""
    content = b"{" + b",".join(b'"k%d":1' % i for i in range(80_000)) + b',"k79999":2}'
    assert problem(content) == "the key 'k79999' stands twice"


def test_an_api_record_that_is_no_job_is_refused_like_a_file():
    with pytest.raises(NotAJob, match="timeout must be a number"):
        check({"command": "x", "timeout": float("nan")})


# ---- ids


def test_an_id_says_when_it_was_made():
    assert new_id(1795515330.123456, 0b00001_00010_00011_00100_00101_11111) == "20261124T101530.123456-z54321"


@given(times, times, st.integers(0, 2**30 - 1), st.integers(0, 2**30 - 1))
def test_ids_sort_by_time(one, other, luck, more_luck):
    first, second = sorted([(round(one, 6), luck), (round(other, 6), more_luck)])
    if first[0] < second[0]:
        assert new_id(*first) < new_id(*second)


@given(times, st.integers(0, 2**30 - 1))
def test_an_id_may_be_a_files_name_and_is_known_as_the_queues(now, luck):
    id = new_id(now, luck)
    assert (id_of(f"{check_id(id)}.json"), made_by_queue(id)) == (id, True)


@pytest.mark.parametrize(
    ("id", "rule"),
    [
        ("", "an id can't be empty"),
        (".x", "an id can't begin with a dot: such files are ignored"),
        ("a/b", "an id can't contain a slash or a NUL"),
        ("a\0", "an id can't contain a slash or a NUL"),
        ("ü" * 101, "an id can't be longer than 200 bytes"),
    ],
)
def test_each_rule_for_ids(id, rule):
    with pytest.raises(NotAJob) as refused:
        check_id(id)
    assert str(refused.value) == rule


@pytest.mark.parametrize("name", [".x.json", "x", "x.json~", "x.JSON", ".x.json.swp", "x.json.part"])
def test_these_names_are_never_jobs(name):
    assert id_of(name) is None


@pytest.mark.parametrize(("id", "handle"), [("20261124T101530.123456-k7m3q9", "k7m3q9"), ("nightly-backup", "nightly-backup")])
def test_the_handle_is_the_short_way_to_name_a_job(id, handle):
    assert Job(id, "pending", {}, 0.0, 0.0).handle == handle


@pytest.mark.parametrize(("record", "line"), [({"command": "a | b"}, "a | b"), ({"argv": ["a", "b c"]}, "a 'b c'"), ({}, "")])
def test_a_jobs_command_is_what_a_person_would_type(record, line):
    assert Job("x", "pending", record, 0.0, 0.0).command == line


# ---- times


@given(times)
def test_a_time_survives_being_written_to_the_microsecond(now):
    assert same_time(seconds(iso(now)), now)


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_written_time_is_written_the_same_again(micros):
    text = iso(micros / 1_000_000)
    assert iso(seconds(text)) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (-1.5, "1969-12-31T23:59:58.500000Z"),
        (-60_000_000_000.0, "0068-09-03T13:20:00.000000Z"),
        (-1e12, "0001-01-01T00:00:00.000000Z"),
        (1e12, "9999-12-31T23:59:59.999999Z"),
        (2.0**62, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_any_time_that_a_file_can_have_is_written_so_that_it_can_be_read(moment, text):
    assert iso(moment) == text
    assert seconds(text)


def test_a_time_is_utc_in_iso_8601():
    assert iso(1795515330.000001) == "2026-11-24T10:15:30.000001Z"


def test_a_time_with_another_zone_is_understood():
    assert seconds("2026-11-24T12:15:30+02:00") == 1795515330.0


def test_a_time_without_its_zone_is_no_time():
    with pytest.raises(ValueError, match="no time zone"):
        seconds("2026-11-24T10:15:30")


def test_no_time_is_the_same_as_no_time():
    assert not same_time(None, None)


# ---- marks


def tried(verdict, ended, due=None):
    return {"attempts": [{"verdict": verdict, "ended": iso(ended), **({"due": iso(due)} if due else {})}]}


@pytest.mark.parametrize(
    ("record", "mark"),
    [({}, None), ({"attempts": []}, None), (tried("done", 50.0), 50.0), (tried("failed", 50.0, 60.25), 60.25)],
)
def test_the_mark_of_a_record_is_the_mtime_it_was_given(record, mark):
    assert last_mark(record) == mark


def test_a_pending_job_waits_until_its_mtime():
    assert waits_until({"command": "x"}, 70.0) == 70.0


def test_a_job_taken_out_of_failed_by_hand_may_run_now():
    assert waits_until(tried("failed", 50.0, 60.0), 60.0) == 0.0


def test_a_job_put_off_by_hand_waits_though_it_was_tried():
    assert waits_until(tried("failed", 50.0, 60.0), 90.0) == 90.0


# ---- numbers that people type


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("-1", -1), ("0.5", 0.5), ("1e3", 1000.0)])
def test_a_typed_number_is_whole_where_it_is_whole(text, value):
    assert (number(text), type(number(text))) == (value, type(value))


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e999", "0x10"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        number(text)


@pytest.mark.parametrize(
    ("verdict", "due", "mtime", "since"),
    [
        (None, None, 100.0, 100.0),  # a new one that was told to run first
        ("failed", 150.0, 170.0, 170.0),  # its time came, and it was brought back by who saw to that
        ("failed", 150.0, 150.0, 200.0),  # hands brought it before that
        ("dead", None, 100.0, 200.0),
        ("dead", None, 300.0, 300.0),
        ("done", None, 100.0, 200.0),
    ],
)
def test_a_job_waits_since_it_could_have_run(verdict, due, mtime, since):
    attempt = {"verdict": verdict, "ended": iso(100.0), **({"due": iso(due)} if due else {})}
    assert waits_since({"attempts": [attempt]} if verdict else {}, mtime, 200.0) == since
