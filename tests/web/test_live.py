"""One looks for all: who listens is told, who asks often is answered from what is made anew after each look."""

import asyncio
import json
import threading

import pytest

from jobspool import journal
from jobspool.web import live
from jobspool.web.catalogue import Catalogue
from jobspool.web.live import BUSY_TICK, SHOWN, TICK, Pulse
from jobspool.web.site import OFTEN, Site


def failed(bug):
    raise AssertionError(bug)


@pytest.fixture
def site(spool):
    found = Site(spool, catalogue := Catalogue(spool), Pulse(catalogue, failed), version="1")
    yield found
    found.end()


def with_pulse(site, deed):
    """Run the deed beside a pulse that has looked once."""

    async def run():
        site.pulse.start(asyncio.get_running_loop())
        await site.pulse.first_look()
        try:
            return await asyncio.wait_for(deed(), 20)
        finally:
            site.pulse.end()
            await asyncio.to_thread(site.pulse.join)

    return asyncio.run(run())


def said(told):
    return json.loads(told.split(b"data: ")[1])


def test_much_at_one_look_is_thinned(site, spool):
    ids = [f"x{number}" for number in range(1000)]

    async def deed():
        stream = site.pulse.messages(site.pulse.number)
        journal.append(spool.root, journal.lines("added", ids, None, "pending", 1.0, {"by": "program"}), 1 << 30, 0o600)
        told = said(await anext(stream))
        await stream.aclose()
        return told

    told = with_pulse(site, deed)
    assert (len(told["events"]), told["dropped"], told["events"][-1]["job"]) == (SHOWN, 1000 - SHOWN, "x999")
    assert (told["counts"]["pending"], told["events"][-1]["cursor"]) == (1000, told["cursor"])


def test_where_much_happens_it_is_looked_at_seldomer():
    assert [live.tick_after(count) for count in (0, live.MUCH, live.MUCH + 1)] == [TICK, TICK, BUSY_TICK]


def test_lines_that_only_look_like_events_end_nobody(site, spool):
    [good] = journal.lines("ended", ["x"], "processing", "dead", 1.0, {"reason": "why"}).splitlines()

    async def deed():
        stream = site.pulse.messages(site.pulse.number)
        journal.append(spool.root, good[:-1] + b", nonsense}\n" + good + b"\n", 1 << 30, 0o600)
        told = said(await anext(stream))
        await stream.aclose()
        return told

    told = with_pulse(site, deed)
    assert [event["reason"] for event in told["events"]] == ["why"]
    assert [event["reason"] for event in site.pulse.failures(0.0)] == ["why"]


def test_what_is_skipped_is_said_to_be_lost(site, spool, monkeypatch):
    monkeypatch.setattr(live, "MOST_BEHIND", 1000)
    journal.append(spool.root, journal.lines("added", ["before"], None, "pending", 1.0, {}), 1 << 30, 0o600)

    async def deed():
        stream = site.pulse.messages(site.pulse.number)
        lines = journal.lines("added", [f"x{number}" for number in range(100)], None, "pending", 1.0, {})
        journal.append(spool.root, lines, 1 << 30, 0o600)
        told = said(await anext(stream))
        await stream.aclose()
        return told

    told = with_pulse(site, deed)
    assert (told["lost"], told["events"], told["cursor"]) == (True, [], journal.end(spool.root))


def test_who_may_no_longer_listen_is_let_go(site):
    async def deed():
        stream = site.pulse.messages(site.pulse.number)
        listening = asyncio.ensure_future(anext(stream, "end"))
        await asyncio.sleep(0)
        site.pulse.let_go()
        return await listening

    assert with_pulse(site, deed) == "end"


def test_answers_may_be_forgotten_by_any_thread_at_any_time(site):
    async def deed():
        ended = threading.Event()
        forgetting = asyncio.to_thread(lambda: [site.forget() for _ in iter(ended.is_set, True)])
        thread = asyncio.ensure_future(forgetting)
        for number in range(300):
            await site.answer(number % 3, lambda: 1)
            site.make_anew()
        ended.set()
        await thread

    with_pulse(site, deed)


def test_who_is_told_nothing_for_long_is_shown_that_we_live(site, monkeypatch):
    async def deed():
        stream = site.pulse.messages(site.pulse.number)
        listening = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        site.pulse.show_life()
        assert site.pulse.number == 0
        monkeypatch.setattr(live, "ALIVE_EVERY", 0.0)
        site.pulse.show_life()
        return await listening

    assert with_pulse(site, deed) == b"event: alive\ndata: {}\n\n"


def test_who_goes_takes_nobody_with_him(site):
    async def deed():
        streams = [site.pulse.messages(site.pulse.number) for _ in range(2)]
        first, second = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        assert site.pulse.listeners == 2
        first.cancel()
        await asyncio.wait([first])
        site.pulse.tell("status", {})
        return said(await second), site.pulse.listeners

    assert with_pulse(site, deed) == ({}, 1)


def test_who_was_slow_gets_what_is_kept_and_then_goes_on(site):
    async def deed():
        stream = site.pulse.messages(0)
        for number in range(live.BEHIND + 10):
            site.pulse.tell("change", {"number": number})
        assert said(await anext(stream))["lost"]
        for number in range(3):  # told while the client takes that
            site.pulse.tell("change", {"number": live.BEHIND + 10 + number})
        assert said(await anext(stream))["lost"]
        found = [said(await anext(stream))["number"] for _ in range(live.BEHIND)]
        site.pulse.tell("change", {"number": "last"})
        return found, said(await anext(stream))["number"]

    found, last = with_pulse(site, deed)
    assert (found, last) == (list(range(13, live.BEHIND + 13)), "last")


def test_what_is_often_asked_is_made_anew_after_a_look_and_given_meanwhile(site):
    made = []

    async def deed():
        assert await site.answer("key", lambda: made.append(1) or len(made)) == b"1"
        for _ in range(OFTEN):
            assert site.known("key") == b"1"
        site.catalogue.version += 1
        while len(made) == 1:
            await site.pulse.first_look()
            await asyncio.sleep(0.01)
        assert site.known("key") in (b"1", b"2")
        while site.known("key") != b"2":  # it was made by nobody's asking
            await asyncio.sleep(0.01)

    with_pulse(site, deed)


def test_what_is_asked_seldom_is_made_when_it_is_asked(site):
    made = []

    async def deed():
        await site.answer("key", lambda: made.append(1) or len(made))
        site.catalogue.version += 1
        for _ in range(8):
            await site.pulse.first_look()
        assert made == [1]
        return await site.answer("key", lambda: made.append(1) or len(made))

    assert with_pulse(site, deed) == b"2"


def test_who_changed_something_is_not_given_what_was_being_made(site):
    async def deed():
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        older = asyncio.ensure_future(
            site.answer("key", lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result() and 1)
        )
        while "key" not in site._making:
            await asyncio.sleep(0.01)
        site.forget()
        newer = await site.answer("key", lambda: 2)
        gate.set()
        return await older, newer, site.known("key")

    assert with_pulse(site, deed) == (b"1", b"2", b"2")


def test_an_answer_that_could_not_be_made_is_tried_again(site):
    async def deed():
        with pytest.raises(OSError, match="gone"):
            await site.answer("key", _raise)
        return await site.answer("key", lambda: 1)

    assert with_pulse(site, deed) == b"1"


def _raise():
    raise OSError("gone")


def test_no_audit_is_made_beside_a_supervisor_that_has_just_begun(site, monkeypatch):
    """It makes its own; what it moves in its first second may be in the directories before its line is in the journal."""
    pulse, made = site.pulse, []
    monkeypatch.setattr(pulse._auditor, "step", lambda *_: made.append(True))
    pulse._see_hands(moved=True)
    assert made == [True]
    monkeypatch.setattr(live.roster, "is_supervised", lambda spool: True)
    pulse._see_hands(moved=True)
    assert (made, pulse._unexplained) == ([True], False)
