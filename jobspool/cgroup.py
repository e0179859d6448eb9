"""A memory limit that the kernel keeps, where systemd runs and lets us: the job becomes a scope of its own, see systemd.scope(5).

Whether it does is tried once, with `true`: the user may lack the rights for it. Then a worker looks at its job's memory as ever.
"""

from __future__ import annotations

import functools
import os
import subprocess

BOOTED = "/run/systemd/system"  # sd_booted(3)
ANSWERS_WITHIN = 5.0  # seconds


def scope(record: dict) -> list[str]:
    """Return the words before the program of a job with a memory limit, none where it has none or that can't be had."""
    memory = record.get("limits", {}).get("memory")
    return [*_scope(memory), "--"] if memory is not None and available() else []


def _scope(memory: int) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user"]
    return ["systemd-run", *user, "--scope", "--quiet", "--collect", "-p", f"MemoryMax={memory}", "-p", "MemorySwapMax=0"]


@functools.cache
def available() -> bool:
    """Tell whether a program can be a scope of its own here."""
    if not os.path.isdir(BOOTED):
        return False
    try:
        tried = subprocess.run(
            [*_scope(1 << 30), "--", "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWERS_WITHIN, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0
