import os
import signal

import pytest
from kit import new_spool, see

from jobspool.sight import Sight

AT_ONCE = 4  # processes that run tests: more than most machines' cores to spare, for most tests wait
TOGETHER = (  # whose tests share what is made once for them, and takes its time
    *("tests/browser/", "tests/chaos/", "tests/model/", "tests/powercut/", "tests/soak/"),
    *("tests/drops/test_escapes.py", "tests/drops/test_names.py", "tests/web/test_openapi.py"),
)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background, where tests may run, ignores Ctrl-C


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run AT_ONCE tests at once where whole folders are chosen; a few tests, or all where pytest-xdist is missing, one by one.

    -n says otherwise.
    """
    option = config.option
    if getattr(option, "numprocesses", 0) is None and not hasattr(config, "workerinput"):  # nor is it one of them
        option.numprocesses = AT_ONCE if are_many(config) else 0


def are_many(config):
    """Tell whether whole folders are chosen, and nobody wants to look on or to step in."""
    option = config.option
    chosen = option.keyword or option.markexpr or option.usepdb or option.capture == "no"
    return not chosen and any(os.path.isdir(path) for path in config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each process the next test when it has time, but the files of TOGETHER as one: groups need marks that pytest 9.2 drops."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if file.startswith(TOGETHER) else nodeid

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None


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
