import os

import pytest


@pytest.fixture
def in_child():
    """Do a deed in a forked child and return what it returned, a small number; 255 where it raised."""

    def do(deed):
        pid = os.fork()
        if pid == 0:
            status = 255
            try:
                status = deed()
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return do
