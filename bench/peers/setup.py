"""Gets the peers: Python ones into an environment, Debian ones unpacked, all in bench/.peers, and nothing anywhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = f"{BENCH}/.peers"  # removable as a whole
REQUIREMENTS = f"{BENCH}/requirements.txt"
PYTHON = f"{PEERS}/venv/bin/python"
UNPACKED = f"{PEERS}/debian"
FOUND = f"{PEERS}/versions.json"  # written last, with what was asked for where all of it came
PACKAGES = {"redis-server": "redis-server", "tsp": "task-spooler", "nq": "nq", "parallel": "parallel"}  # by program
BESIDE = ["redis-tools", "liblzf1", "libjemalloc2", "libatomic1"]  # what redis-server lacks on a small Debian
LISTED = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"


def install() -> None:
    """Get what can be had, and say on stderr what can't, with the cure. Where all of it is there, do nothing."""
    wanted = _wanted()
    if _found().get("complete") == wanted:
        return
    os.makedirs(PEERS, exist_ok=True)
    with open(f"{PEERS}/.gitignore", "w") as file:
        file.write("*\n")
    packages, programs = _python_packages(), _programs()
    complete = wanted if packages and len(programs) == len(PACKAGES) else None
    with open(f"{FOUND}.new", "w") as file:
        json.dump({"complete": complete, "versions": {**packages, **programs}}, file, indent=1)
    os.rename(f"{FOUND}.new", FOUND)


def versions() -> dict[str, str]:
    """Return the version of each package and program that install() got and saw working; nothing where it never ran."""
    return _found().get("versions", {})


def program(name: str) -> str:
    """Return the path of a program of Debian's: the unpacked one, else the system's."""
    return _unpacked(name) or shutil.which(name) or name


def environment(**more: str) -> dict[str, str]:
    """Return a small environment for peers, in which their programs find their libraries, and Python what is in inside/."""
    libraries = [f"{UNPACKED}/usr/lib/{name}" for name in _listed(f"{UNPACKED}/usr/lib") if "-linux-gnu" in name]
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    base = {"PATH": f"{PEERS}/venv/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": f"{BENCH}/peers/inside"}
    return {**kept, **base, "LD_LIBRARY_PATH": ":".join(libraries), "PYTHONDONTWRITEBYTECODE": "1", **more}


def _wanted() -> str:
    with open(REQUIREMENTS) as file:
        return file.read() + " ".join([*PACKAGES.values(), *BESIDE])


def _found() -> dict:
    try:
        with open(FOUND) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def _python_packages() -> dict[str, str]:
    """Make the environment and return what is in it; nothing, with a word on stderr, where pip can't."""
    venv.create(f"{PEERS}/venv", with_pip=True, clear=True)
    pip = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", REQUIREMENTS]
    if subprocess.run(pip, stdout=sys.stderr).returncode:
        return _left_out("the Python peers", "pip could not install bench/requirements.txt")
    return json.loads(_said([PYTHON, "-I", "-c", LISTED]) or "{}")


def _programs() -> dict[str, str]:
    """Unpack Debian's packages and return the version of each program that runs."""
    shutil.rmtree(UNPACKED, ignore_errors=True)
    if shutil.which("apt-get") and shutil.which("dpkg"):
        _unpack([*PACKAGES.values(), *BESIDE])
    got = {name: _version(name) for name in PACKAGES}
    for name in [name for name, version in got.items() if version is None]:
        _left_out(name, f"on Debian, apt-get install {PACKAGES[name]}")
    return {name: version for name, version in got.items() if version}


def _unpack(packages: list[str]) -> None:
    """Unpack what can be downloaded of the packages, with package lists of our own: no root, and the system stays as it is."""
    with _apt() as apt:
        if subprocess.run([*apt, "update", "-qq"], stdout=sys.stderr).returncode == 0:
            for package in packages:  # one by one: where one is unknown, the others come
                subprocess.run([*apt, "download", "-qq", package], cwd=f"{PEERS}/apt", stdout=sys.stderr)
        for name in _listed(f"{PEERS}/apt"):
            if name.endswith(".deb"):
                subprocess.run(["dpkg", "-x", f"{PEERS}/apt/{name}", UNPACKED], check=True)


@contextmanager
def _apt() -> Iterator[list[str]]:
    """The words that make apt-get write in bench/.peers/apt only; it is gone afterwards."""
    os.makedirs(f"{PEERS}/apt/lists/partial", exist_ok=True)
    os.makedirs(f"{PEERS}/apt/cache/archives/partial", exist_ok=True)
    settings = (f"Dir::State::Lists={PEERS}/apt/lists", f"Dir::Cache={PEERS}/apt/cache", "APT::Sandbox::User=")
    try:
        yield ["apt-get", *(word for setting in settings for word in ("-o", setting))]
    finally:
        shutil.rmtree(f"{PEERS}/apt")


def _version(name: str) -> str | None:
    """Return the program's version, as it says itself; None where it does not run, or is another one of that name."""
    asked = {"redis-server": "--version", "tsp": "-V", "nq": "-h", "parallel": "--version"}[name]
    try:
        done = subprocess.run([program(name), asked], capture_output=True, text=True, env=environment())
    except OSError:
        return None
    said = (done.stdout + done.stderr).partition("\n")[0]
    known = {"redis-server": "Redis server v=", "tsp": "Task Spooler v", "nq": "usage: ", "parallel": "GNU parallel "}[name]
    if done.returncode > 1 or known not in said:
        return None
    return _package_version(name) if name == "nq" else said.partition(known)[2].split()[0]


def _package_version(name: str) -> str:
    """Return the version in the package's changelog, for a program that tells none."""
    documents = f"{UNPACKED if _unpacked(name) else ''}/usr/share/doc/{PACKAGES[name]}"
    said = _said(["sh", "-c", f"zcat '{documents}'/changelog.Debian.gz | head -1"])
    return said.partition("(")[2].partition(")")[0] or "unknown"


def _unpacked(name: str) -> str | None:
    path = f"{UNPACKED}/usr/bin/{name}"
    return path if os.access(path, os.X_OK) else None


def _said(words: list[str]) -> str:
    return subprocess.run(words, stdout=subprocess.PIPE, text=True).stdout


def _listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _left_out(what: str, why: str) -> dict[str, str]:
    print(f"bench: {what} left out: {why}", file=sys.stderr)
    return {}
