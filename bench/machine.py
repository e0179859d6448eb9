"""On what is measured: the processor, the memory, the kernel, the file system, and the version of each program."""

from __future__ import annotations

import os
import platform
import re
import subprocess

from bench import ours
from bench.place import Place

GIB = 1 << 30


def machine(place: Place) -> dict:
    """Return what tells machines apart, without their names."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": place.filesystem,
        "python": platform.python_version(),
        "queuectl": subprocess.run([ours.QUEUECTL, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1],
        "peers": {},
    }


def described(found: dict) -> str:
    """Return the machine as part of a sentence."""
    told = [(name, part) for name, version in found["peers"].items() for part in version.split(", ")]
    programs = dict.fromkeys(part if " " in part else f"{name} {part}" for name, part in told)  # a server of many is told once
    of = f"{found['cores']} cores of {found['processor']}, {found['memory']}, {found['kernel']}, {found['file system']}"
    return ", ".join([of, f"Python {found['python']}", f"queuectl {found['queuectl']}", *programs])


def _processor() -> str:
    """Return the processor's name; only its kind where /proc/cpuinfo has none (ARM)."""
    with open("/proc/cpuinfo") as file:
        name = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    return name[1] if name else platform.machine()
