"""A pool that runs while something is measured, and waiting for the thing, never for time."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import time

from bench import ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 300.0  # seconds until a thing that never comes is called missing
BETWEEN_LOOKS = 0.005  # seconds
TO_FINISH = 60.0  # seconds that workers have for what they run


class Pool:
    """A supervisor and so many workers on the spool at `root`, as long as the with block lasts; nothing of them is left behind.

    The workers are there when the block begins, unless `at_once` says not to wait for them.
    """

    def __init__(self, root: str, workers: int, at_once: bool = False) -> None:
        self.root = root
        self.count = workers
        self._at_once = at_once

    def __enter__(self) -> Pool:
        words = [ours.QUEUECTL, "--spool", self.root, "start", "--count", str(self.count), "--quiet"]
        self.started = time.time_ns()
        self._supervisor = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ours.ENVIRONMENT)
        if not self._at_once:
            try:
                until(self._is_up, f"{self.count} workers on {self.root}")
            except BaseException:
                self._end()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def supervisor(self) -> int:
        """The process id of the supervisor."""
        return self._supervisor.pid

    def workers(self) -> list[int]:
        """Return the process ids of the workers, as `queuectl status` tells them; none where it can't."""
        words = [ours.QUEUECTL, "--spool", self.root, "status", "--json"]
        told = subprocess.run(words, capture_output=True, text=True, env=ours.ENVIRONMENT)
        if told.returncode not in (0, 3):  # 3: no worker runs
            return []
        return [worker["pid"] for worker in json.loads(told.stdout)["workers"]]

    def _is_up(self) -> bool:
        if self._supervisor.poll() is not None:
            raise AssertionError(f"the supervisor ended with {self._supervisor.returncode}")
        return len(self.workers()) == self.count

    def _end(self) -> None:
        """End it as Ctrl-C does; where workers don't finish in time, as a second one does."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._supervisor.send_signal(number)
            try:
                self._supervisor.wait(TO_FINISH)
                return
            except subprocess.TimeoutExpired:
                continue


def until(seen: Callable[[], object], what: str) -> None:
    """Return when `seen()` is true. Raises AssertionError when it never is."""
    deadline = time.monotonic() + PATIENCE
    while not seen():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(BETWEEN_LOOKS)


def came(root: str, state: str, count: int) -> None:
    """Return when `count` jobs lie in that state; counted in its directory. Raises AssertionError when they never do."""
    until(lambda: ours.count(root, state) >= count, f"{count} jobs in {root}/{state}")
    if (found := ours.count(root, state)) != count:
        raise AssertionError(f"{found} jobs came to {root}/{state}, not {count}")


def percentile(values: list[float], share: float) -> float:
    """Return the smallest of the values that is no less than this share of them (the nearest rank)."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
