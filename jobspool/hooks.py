"""Hooks: what a person wants to be run when something happens: executables in hooks/, as on-done, on-dead or on-idle.

They run beside the queue, some at once, never in a worker: each with the job on its standard input, its output in logs/hooks.log,
and a time limit. They are told at most once: what a supervisor that is killed had not told yet, nobody tells.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import deque

from jobspool import durable
from jobspool.errors import BrokenConfig
from jobspool.trust import READ, distrust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jobspool.spool import Spool

FOLDER = "hooks"
KINDS = ("done", "failed", "dead", "snoozed", "idle")
MOST_AT_ONCE = 4
MOST_WAITING = 1000
LIMIT = 60.0  # seconds
LOOK_EVERY = 1.0  # seconds between looks for hooks
LONGEST_LOG = 1 << 20  # bytes: the middle of a longer one is cut out


class Hooks:
    """The hooks of one spool, as one supervisor runs them. `tell` is told of trouble."""

    def __init__(self, spool: Spool, tell: Callable[..., None]) -> None:
        self._spool = spool
        self._tell = tell
        self._there: frozenset[str] = frozenset()
        self._look_at = 0.0
        self._waiting: deque[tuple[str, dict]] = deque()
        self._running: dict[subprocess.Popen, tuple[str, float]] = {}
        self._was_idle = True

    def happened(self, kind: str, id: str) -> None:
        """A job has come to be so: its hook is run, if there is one."""
        self._was_idle = False
        if self._look() and kind in self._there:
            try:
                job = next((job for state in ("done", "failed", "dead", "pending") if (job := self._spool.read(state, id))), None)
            except OSError:
                job = None  # the disk fails
            self._add(kind, {"id": id, "state": job.state if job else kind, **(job.record if job else {})})

    def idle(self) -> None:
        """Nothing runs or waits any more."""
        if not self._was_idle:
            self._was_idle = True
            if self._look() and "idle" in self._there:
                self._add("idle", {"spool": self._spool.root})

    def step(self) -> None:
        """Start what waits, and bury what has ended or takes too long."""
        for hook, (kind, since) in list(self._running.items()):
            status = hook.poll()
            if status is None and time.monotonic() - since > LIMIT:
                os.killpg(hook.pid, signal.SIGKILL)
                status = hook.wait()
                self._tell("trouble", why=f"hooks/on-{kind} took longer than {LIMIT:g} s, and was ended", about=kind)
            if status is not None:
                del self._running[hook]
                if status > 0:
                    self._tell("trouble", why=f"hooks/on-{kind} ended with {status}: logs/hooks.log", about=kind)
        while self._waiting and len(self._running) < MOST_AT_ONCE:
            self._start(*self._waiting.popleft())

    def is_busy(self) -> bool:
        """Tell whether any hook runs, or waits to."""
        return bool(self._running or self._waiting)

    def finish(self, hurried: Callable[[], bool]) -> None:
        """Return when all have run that were to, but no later than one may take; when it is `hurried`, they are ended."""
        until = time.monotonic() + LIMIT
        while self.is_busy():
            if hurried():
                for hook in self._running:
                    os.killpg(hook.pid, signal.SIGKILL)
            if hurried() or time.monotonic() > until:
                self._waiting.clear()
            self.step()
            time.sleep(0.01)

    def _look(self) -> bool:
        """Look which hooks there are, no oftener than LOOK_EVERY; tell whether there is any."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            try:
                names = os.listdir(f"{self._spool.root}/{FOLDER}")
            except OSError:
                names = []  # there are none, or the disk fails, and so does all else
            self._there = frozenset(kind for kind in KINDS if f"on-{kind}" in names)
        return bool(self._there)

    def _add(self, kind: str, what: dict) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._tell("trouble", why=f"hooks/on-{kind} is not run for all: {MOST_WAITING} wait already", about=kind)
            return
        self._waiting.append((kind, what))

    def _start(self, kind: str, what: dict) -> None:
        path = f"{self._spool.root}/{FOLDER}/on-{kind}"
        try:
            settings = self._spool.settings()
            if odd := distrust(os.lstat(path), self._spool.root, settings.group):
                self._tell("trouble", why=f"{path} is not run: {odd}", about=path)
                return
            self._running[self._spawn(path, kind, what, self._spool.file_mode(settings))] = (kind, time.monotonic())
        except (OSError, BrokenConfig) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._tell("trouble", why=f"{path} can't be run: {why}", about=path)

    def _spawn(self, path: str, kind: str, what: dict, mode: int) -> subprocess.Popen:
        """Start the hook, with what it is told as a file that has no name any more on its standard input."""
        spool = self._spool
        log, told = f"{spool.root}/logs/hooks.log", spool.spare()
        if os.path.exists(log) and os.path.getsize(log) > LONGEST_LOG:
            durable.shorten(log, spool.spare(), LONGEST_LOG // 2, mode)
        os.close(durable.write_new(told, json.dumps(what).encode(), mode))
        files: list[int] = []
        try:
            files.append(os.open(told, READ))
            files.append(durable.open_to_append(log, mode))
            own = {"QUEUECTL_SPOOL": spool.root, "QUEUECTL_HOOK": kind, "QUEUECTL_HOOK_ID": what.get("id", "")}
            folder = os.path.dirname(spool.root)
            return subprocess.Popen(
                [path],
                stdin=files[0],
                stdout=files[1],
                stderr=files[1],
                env={**os.environ, **own},
                cwd=folder,
                start_new_session=True,
            )
        finally:
            durable.remove(told)
            for descriptor in files:
                os.close(descriptor)
