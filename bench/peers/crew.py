"""The processes that were started for a peer, and their ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import uuid
from typing import IO

from bench.peers import setup
from jobspool import process

DIES_WITHIN = 10.0  # seconds after SIGKILL
MARK = "BENCH_CREW"  # in the environment of all, so that those are found, too, that left their parent: tsp's and nq's


class Crew:
    """Processes, each in a group of its own. end() ends them, and whatever they have started meanwhile."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen] = []
        self._mark = uuid.uuid4().hex

    def start(self, words: list[str], log: IO | int = subprocess.DEVNULL, **variables: str) -> subprocess.Popen:
        """Start a process that stands in / and logs there, and return it."""
        at = {"cwd": "/", "env": self._environment(variables), "start_new_session": True, "stdin": subprocess.DEVNULL}
        self.started.append(subprocess.Popen(words, stdout=log, stderr=log, **at))
        return self.started[-1]

    def ask(self, words: list[str], **variables: str) -> str:
        """Run a short command and return what it printed. Raises AssertionError where its status isn't 0."""
        at = {"cwd": "/", "env": self._environment(variables), "stdin": subprocess.DEVNULL}
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, **at)
        if done.returncode:
            raise AssertionError(f"{words}: status {done.returncode}")
        return done.stdout

    def add(self, all_words: list[list[str]], **variables: str) -> None:
        """Run short commands that print nothing, one after the other, as fast as that can be done."""
        environment, null = self._environment(variables), os.open(os.devnull, os.O_RDWR)
        silent = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
        try:
            for words in all_words:
                _, status = os.waitpid(os.posix_spawn(words[0], words, environment, file_actions=silent), 0)
                if status:
                    raise AssertionError(f"{words}: status {status}")
        finally:
            os.close(null)

    def has_ended(self) -> bool:
        """Tell whether each of the started processes has ended. All keep their ids until end()."""
        return all(os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) for one in self.started)

    def wait(self) -> None:
        """Return when each of the started processes has ended."""
        for one in self.started:
            os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)

    def settle(self) -> None:
        """Return when nothing lives any more of what all of them have started."""
        while bearers := self.bearers():
            for pid in bearers:
                process.wait_for(pid, None)

    def end(self) -> None:
        """End all of it. Raises AssertionError where something can't be ended."""
        while self.started:
            leader = self.started[-1]
            if not process.kill_group(leader.pid, DIES_WITHIN):
                raise AssertionError(f"{leader.args} does not die")
            leader.wait()  # only now: until then nobody else can get its id
            self.started.pop()
        while marked := self.bearers():
            for pid in marked:
                self._kill(pid)

    def bearers(self) -> list[int]:
        """Return the living processes that bear our mark."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and self._is_ours(int(name))]

    def _is_ours(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return f"{MARK}={self._mark}".encode() in file.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False

    def _kill(self, pid: int) -> None:
        """End the process and wait for its end, if it still is one of ours."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return  # RACE: it ended by itself
        try:
            if self._is_ours(pid):  # from here on the descriptor, unlike the id, can't become another's
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], DIES_WITHIN)
        except ProcessLookupError:
            pass  # RACE: it ended by itself
        finally:
            os.close(descriptor)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        return setup.environment(**variables, **{MARK: self._mark})
