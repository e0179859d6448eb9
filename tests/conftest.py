import signal

import pytest
from kit import new_spool, see

from jobspool.sight import Sight

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background, where tests may run, ignores Ctrl-C


@pytest.fixture
def spool(tmp_path):
    """A new spool of its own."""
    return new_spool(tmp_path)


@pytest.fixture
def sight(spool):
    """What a supervisor sees of the spool; its troubles are in `told`, and the rest of what it tells in `events`."""
    told, events = [], []
    seen = Sight(spool, lambda id: False, lambda kind, **what: events.append((kind, what)), lambda error, _: told.append(error))
    seen.told, seen.events = told, events
    with seen.watch:
        see(seen)
        yield seen
