"""What the peers on Redis have in common: a server of our own, on a socket of its own, which writes nothing to disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile

from bench.peers import setup
from bench.peers.python_peer import PythonPeer

SETTINGS = ["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]
READY = b"ready to accept connections"


class RedisPeer(PythonPeer):
    """A Python peer that keeps its jobs in Redis: in memory, which is the best case for it; a crash takes all."""

    folder_of_socket: str | None = None
    waiting: str  # the list in which its jobs wait

    def needs(self) -> list[str]:
        """Return the packages and programs that it is made of."""
        return [self.package, "redis-server"]

    def serve(self) -> None:
        """Start the server. It answers when this returns."""
        self.folder_of_socket = tempfile.mkdtemp(prefix="bench-redis-")  # short, as a socket's path must be
        self.socket = f"{self.folder_of_socket}/s"
        words = [setup.program("redis-server"), "--unixsocket", self.socket, "--dir", self.folder_of_socket, *SETTINGS]
        server = self.servers.start(words, subprocess.PIPE)
        for line in server.stdout:
            if READY in line.lower():
                return
        raise AssertionError("redis-server ended before it was ready")

    def variables(self) -> dict[str, str]:
        """Return what its programs find in their environment."""
        return {"BENCH_REDIS": self.socket}

    def left(self) -> int:
        """Return how many jobs wait in its own store."""
        return self.ask(f"LLEN {self.waiting}")

    def ask(self, question: str) -> int:
        """Return the server's answer, a number: see "Inline commands" in its protocol's manual."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(self.socket)
            line.sendall(question.encode() + b"\r\n")
            return int(line.makefile("rb").readline().removeprefix(b":"))

    def close(self) -> None:
        """End all that was started."""
        super().close()
        if self.folder_of_socket:
            shutil.rmtree(self.folder_of_socket)
            self.folder_of_socket = None
