import os
import signal

import pytest
from kit import new_spool, see

from jobspool.sight import Sight

AT_ONCE = 4  # processes that run tests: more than most machines' cores to spare, for most tests wait

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background, where tests may run, ignores Ctrl-C


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run AT_ONCE tests at once where whole folders are chosen; a few tests, or all where pytest-xdist is missing, one by one.

    -n says otherwise. Tests that share what is made once for them keep together, in a group of xdist_group's.
    """
    option = config.option
    if hasattr(config, "workerinput"):
        option.loadgroup = True  # it is one of them, which know no more than was typed
    if not hasattr(option, "numprocesses") or hasattr(config, "workerinput"):
        return
    if option.numprocesses is None:
        option.numprocesses = AT_ONCE if are_many(config) else 0
    if option.dist == "no":
        option.dist = "loadgroup"


def are_many(config):
    """Tell whether whole folders are chosen, and nobody wants to look on or to step in."""
    option = config.option
    chosen = option.keyword or option.markexpr or option.usepdb or option.capture == "no"
    return not chosen and any(os.path.isdir(path) for path in config.args)


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
