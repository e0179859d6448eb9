"""y, the unit of all rates: how many processes one Python process starts and waits for in a second."""

from __future__ import annotations

import os
import time

SPAWNS = 2000


def y(count: int = SPAWNS) -> float:
    """Return the rate of a plain loop of os.posix_spawn("/bin/true") and waitpid, in processes per second."""
    begun = time.perf_counter()
    for _ in range(count):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return count / (time.perf_counter() - begun)
