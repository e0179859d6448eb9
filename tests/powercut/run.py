"""Power cuts: `make powercut [FS="ext4 xfs"] [STATES=1000] [SEED=1]` tries so many states of each file system and setting."""

import os
import sys
import tempfile
import time

from powercut.load import FILE_SYSTEMS, missing, record
from powercut.replay import replay

FSYNC = ("group", "always", "never")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def line(recording, found, took):
    """One line for people."""
    counts = ", ".join(
        f"{name} {counter['jobs']} in {counter['states']} states"
        for name, counter in zip(found._fields[2:6], found[2:6], strict=True)
    )
    tried = found.states - found.unmountable["states"]
    promised = f"{len(found.violations)} violations" if recording.fsync != "never" else f"nothing is promised: {counts}"
    return f"{recording.system:15} fsync {recording.fsync:7} {tried:6} states  {promised}  ({took:.0f} s)"


def main():
    states, seed = int(os.environ.get("STATES", 1000)), int(os.environ.get("SEED", 1))
    names = os.environ.get("FS", " ".join(FILE_SYSTEMS)).split()
    bad = 0
    for name in names:
        if why := missing(name):
            print(f"{name}: skipped: {why}")
            continue
        for fsync in FSYNC:
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
                recording = record(name, fsync, 120, folder)
                found = replay(recording, states, seed, folder)
            print(line(recording, found, time.monotonic() - begun), flush=True)
            print(*found.violations[:5], sep="\n", end="\n" if found.violations else "")
            bad += len(found.violations)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
