"""What a supervisor and its worker say to each other."""

import pytest

from jobspool.channel import Channel


def test_hints_leave_room_for_orders():
    """A worker that a signal holds still reads none: an order must not wait for that, nor whoever gives it."""
    ours, theirs = Channel.pair()
    for _ in range(10_000):
        ours.hint("look")
    ours._end.setblocking(False)
    assert ours.send("interrupt")
    said = []
    while messages := theirs.receive():
        said += messages
    assert (said[-1], len(said) > 2) == ({"kind": "interrupt"}, True)


def test_a_text_without_end_is_cut():
    ours, theirs = Channel.pair()
    assert ours.send("trouble", why="x" * 1_000_000, about=None)
    [said] = theirs.receive()
    assert (said["about"], len(said["why"]) < 3000) == (None, True)


def test_what_was_said_by_one_that_went_with_orders_unread_is_heard():
    ours, theirs = Channel.pair()
    ours.send("look")
    theirs.send("ended", id="x")
    theirs.close()
    assert ours.receive() == [{"kind": "ended", "id": "x"}]
    with pytest.raises(EOFError):
        ours.receive()
