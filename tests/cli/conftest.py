import contextlib

import pytest
from terminal import Terminal


@pytest.fixture
def terminal(spool):
    opened = []

    def begin(*words, **more):
        opened.append(Terminal(spool, *words, **more))
        return opened[-1]

    yield begin
    for each in opened:
        if each.program.poll() is None:
            each.program.kill()
        each.program.wait()
        with contextlib.suppress(OSError):
            each.close()
