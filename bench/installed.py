"""queuectl installed as the README says, in a virtual environment of its own: development leaves more to do at each start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.place import Place

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "queuectl.py", "jobspool", "man")


def installed(place: Place) -> str:
    """Install it by pip in the place, and return the directory of its commands: python, queuectl."""
    source, made = place.fresh("source"), place.fresh("installed")
    os.mkdir(source)
    for name in SOURCE:  # pip builds where the source lies, and leaves what it built
        copy = shutil.copytree if os.path.isdir(f"{TOP}/{name}") else shutil.copy
        copy(f"{TOP}/{name}", f"{source}/{name}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    pip = [sys.executable, "-m", "pip", "--python", f"{made}/bin/python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", source], check=True, stderr=subprocess.PIPE)
    return f"{made}/bin"
