"""What repeats is told once, then as a number."""

import logging

from kit import Clock

from jobspool import outlets, telling


class Heard(outlets.Outlet):
    """An outlet that keeps the lines."""

    def __init__(self):
        super().__init__()
        self.setFormatter(telling.Text())
        self.lines = []

    def packed(self, record):
        return self.format(record).encode()

    def hand_on(self, unsaid):
        self.lines += [each.decode() for each in unsaid]
        unsaid.clear()


def scene():
    clock, heard = Clock(1000.0), Heard()
    tell = telling.Teller(heard)
    tell.repeats._clock = clock
    return clock, heard, tell


def full(n=0):
    return {"event": "trouble", "why": f"no room for {n}", "about": "no room"}


def test_the_first_of_a_cause_is_told_and_the_next_after_a_minute_says_how_many_were_not():
    clock, heard, tell = scene()
    for n in range(5):
        tell([full(n)])
    clock.time += telling.SAY_AGAIN
    tell([full(5), full(6)])
    assert heard.lines == ["trouble     no room for 0", "trouble     no room for 5 (4 more like it were kept back)"]


def test_what_does_not_come_again_is_told_of_after_the_minute_with_the_number():
    clock, heard, tell = scene()
    tell([full(0), full(1), full(2)])
    clock.time += telling.SAY_AGAIN - 0.1
    tell([])
    assert heard.lines == ["trouble     no room for 0"]
    clock.time += 0.1
    tell([])
    tell([])
    assert heard.lines[1:] == ["trouble     no room for 2 (1 more like it was kept back)"]


def test_at_the_end_nothing_is_kept_back():
    _, heard, tell = scene()
    tell([full(0), full(1)])
    tell([{"event": "stopped"}])
    assert heard.lines == ["trouble     no room for 0", "stopped", "trouble     no room for 1"]


def test_each_cause_has_its_own_number_and_jobs_are_all_told_of():
    _, heard, tell = scene()
    other = {"event": "trouble", "why": "no rights"}
    died = {"event": "worker ended", "pid": 7, "status": -9}
    done = {"event": "ended", "id": "x", "attempt": {"number": 1, "verdict": "done", "duration": 1.0}}
    tell([full(0), other, done, full(1), other, done, died, died])
    assert [line.split()[0] for line in heard.lines] == ["trouble", "trouble", "done", "done", "worker"]


def test_what_was_kept_back_counts_also_for_programs():
    record = telling.Record(full(), logging.ERROR)
    record.kept = 3
    assert '"kept_back": 3' in telling.Objects().format(record)
    assert telling.fields(record)["QUEUECTL_KEPT_BACK"] == 3


def test_an_outlet_that_fails_keeps_the_newest_and_tells_how_many_were_lost():
    heard = Heard()

    def refuse(unsaid):
        raise OSError

    heard.hand_on, hand_on = refuse, heard.hand_on
    tell = telling.Teller(heard)
    for n in range(3000):
        tell([{"event": "goes on", "why": f"{n:040}"}])
    heard.hand_on = hand_on
    tell([])
    kept = outlets.MOST_UNSAID // len(f"goes on     {0:040}")
    assert heard.lines[0] == f"lost        {3000 - kept} lines of this log, which nobody took"
    assert heard.lines[1:] == [f"goes on     {n:040}" for n in range(3000 - kept, 3000)]
