"""Another user than root, and a spool of his: for what depends on rights. Only root can use this."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from kit import TOP, new_spool

NOBODY = 65534

# What is imported late is imported first: the user may not be able to read this Python.
AS_USER = """
import os, sys
_, user, top, _, _, *words = sys.argv
sys.path.insert(0, top)
import ctypes, datetime, difflib, docopt, grp, pwd, shlex, shutil
import jobspool.supervisor, jobspool.trouble, queuectl
jobspool.watch._observe({}, print).stop()
os.setgroups([])
os.setresgid(int(user), int(user), int(user))
os.setresuid(int(user), int(user), int(user))
sys.exit(queuectl.main(words))
"""


def as_nobody():
    """What to put before a command line of kit's so that nobody runs it."""
    return [sys.executable, "-c", AS_USER, str(NOBODY), str(TOP)]


@contextlib.contextmanager
def spool_of_nobody():
    """A spool of nobody's in a directory that he can reach."""
    home = Path(tempfile.mkdtemp(prefix="queuectl-test-"))
    try:
        home.chmod(0o755)
        spool = new_spool(home)
        for path in (spool.root, *(os.path.join(spool.root, name) for name in os.listdir(spool.root))):
            os.chown(path, NOBODY, NOBODY)
        yield spool
    finally:
        shutil.rmtree(home)
