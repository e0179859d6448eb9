"""TRACEPARENT and TRACESTATE, as W3C's Trace Context has them."""

import pytest
from kit import queuectl

from jobspool import traceparent
from jobspool.traceparent import Context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_what_is_read_is_what_was_written():
    for sampled in (False, True):
        context = Context(TRACE, SPAN, sampled)
        assert traceparent.read(traceparent.written(context)) == context
    assert traceparent.read(f"cc-{TRACE}-{SPAN}-09-what-a-version-to-come-says") == Context(TRACE, SPAN, True)
    assert traceparent.read(f"00-{TRACE}-{SPAN}-fe") == Context(TRACE, SPAN, False)


@pytest.mark.parametrize(
    "text",
    [
        None, 7, "", "x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"{PARENT}-more",
        PARENT.upper(), f" {PARENT}", f"{PARENT}\n", f"00-{TRACE}-{SPAN}", f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1", f"cc-{TRACE}-{SPAN}-01x",
    ],
)  # fmt: skip
def test_what_is_no_parent_is_not_taken(text):
    assert traceparent.read(text) is None
    assert traceparent.joined({"command": "x"}, {"TRACEPARENT": text, "TRACESTATE": "a=1"}) == {"command": "x"}


@pytest.mark.parametrize("state", ["a=1", "a=1,b=2", "a=1 , b=2", "a=1,,b=2", "fw529a3039@dt=FfAK,x/y=z", f"a={'x' * 256}"])
def test_a_state_comes_along(state):
    record = traceparent.joined({"command": "x"}, {"TRACEPARENT": PARENT, "TRACESTATE": state})
    assert record == {"command": "x", "env": {"TRACEPARENT": PARENT, "TRACESTATE": state}}


@pytest.mark.parametrize("state", ["", "a", "A=1", "a=\x1b", "a=é", f"a={'x' * 257}", ",".join(["a=1"] * 33), "a=1," + "x" * 600])
def test_a_state_that_is_none_is_left_and_the_parent_taken(state):
    record = traceparent.joined({"command": "x"}, {"TRACEPARENT": PARENT, "TRACESTATE": state})
    assert record["env"] == {"TRACEPARENT": PARENT}


def test_a_job_that_has_a_trace_keeps_it_and_what_is_no_job_stays_none():
    own = {"command": "x", "env": {"TRACEPARENT": "mine"}}
    assert traceparent.joined(own, {"TRACEPARENT": PARENT, "TRACESTATE": "a=1"}) == own
    assert traceparent.joined({"env": "odd"}, {"TRACEPARENT": PARENT}) == {"env": "odd"}


def test_what_is_added_while_the_environment_names_a_trace_is_in_it(spool, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", PARENT)
    record = {"command": "true", "env": {"A": "b"}}
    added = spool.add_many([record, record, (None, {"command": "true"})])
    assert [spool.read("pending", each.id).record["env"] for each in added] == [
        {"TRACEPARENT": PARENT, "A": "b"}, {"TRACEPARENT": PARENT, "A": "b"}, {"TRACEPARENT": PARENT},
    ]  # fmt: skip
    assert record == {"command": "true", "env": {"A": "b"}}
    assert added[0].record["env"] == {"TRACEPARENT": PARENT, "A": "b"}


def test_so_is_what_the_command_adds_in_whatever_way(spool):
    for words in (
        ["enqueue", "true"],
        ["enqueue", "--unique", "key", "true"],
        ["enqueue", "--array", "1-2", "--then", "true", "true"],
    ):
        queuectl(*words, spool=spool, env={"TRACEPARENT": PARENT}, check=True)
    queuectl(
        "enqueue",
        "--env",
        f"TRACEPARENT=00-{TRACE}-{'1' * 16}-01",
        "--id",
        "own",
        "true",
        spool=spool,
        env={"TRACEPARENT": PARENT},
    )
    queuectl("enqueue", "--id", "odd", "true", spool=spool, env={"TRACEPARENT": "odd"})
    found = {each.id: each.record.get("env", {}).get("TRACEPARENT") for each in spool.jobs()}
    assert (found.pop("own"), found.pop("odd")) == (f"00-{TRACE}-{'1' * 16}-01", None)
    assert list(found.values()) == [PARENT] * 5
