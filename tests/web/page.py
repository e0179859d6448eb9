"""A real `queuectl web`, asked over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
from pathlib import Path

from kit import PATIENCE, QUEUECTL


class Answer:
    """What came back: its status, headers (small letters) and body."""

    def __init__(self, answer):
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The kind of problem that it is, with its status; only the status where it is none."""
        kind = self.headers.get("content-type", "")
        name = self.json["type"].rpartition(":")[2] if kind == "application/problem+json" else None
        return (self.status, name) if name else self.status


class Page:
    """The server of one spool's page, and how it is asked. `token` is the one of its file."""

    def __init__(self, process, link, token_file, path=None):
        self.process = process
        self.link = link
        self.path = path
        self.port = None if path else int(re.search(r":(\d+)(?:/|: )", link)[1])
        self.token_file = Path(token_file)
        self.token = self.token_file.read_text().strip()

    @property
    def host(self):
        return "localhost" if self.path else f"127.0.0.1:{self.port}"

    @property
    def bearer(self):
        return {"Authorization": f"Bearer {self.token}"}

    def connection(self):
        """A connection of its own."""
        if self.path is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = self.socket()
        return connection

    def socket(self):
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(PATIENCE)
        found.connect(str(self.path))
        return found

    def ask(self, method, path, body=None, headers=None, auth=None):
        """Ask, with the token unless told otherwise; a body that is no bytes is sent as JSON."""
        body = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, {**(self.bearer if auth is None else auth), **(headers or {})})
            return Answer(connection.getresponse())

    def get(self, path, **more):
        return self.ask("GET", f"/api/v1{path}", **more)

    def post(self, path, body=None, **more):
        return self.ask("POST", f"/api/v1{path}", body, **more)

    def put(self, path, body, **more):
        return self.ask("PUT", f"/api/v1{path}", body, **more)

    def login(self):
        """Follow the link as a browser does, and return the headers with the cookie that it has from then on."""
        answer = self.ask("GET", re.search(r"/login.*", self.link)[0], auth={})
        assert (answer.status, answer.headers["location"]) == (303, "/")
        return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}

    @contextlib.contextmanager
    def events(self, path="/events", **headers):
        """Listen to server-sent events: yields what reads the next one, as (kind, what it says)."""
        with contextlib.closing(self.connection()) as connection:
            connection.request("GET", f"/api/v1{path}", headers={**self.bearer, "Accept": "text/event-stream", **headers})
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("content-type").partition(";")[0]) == (200, "text/event-stream")
            yield lambda: next_event(answer)


def next_event(answer):
    """Return the next event of a stream, as (kind, data); None at its end."""
    kind, data = "message", None
    while line := answer.readline():
        word, _, rest = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            kind = rest
        elif word == "data":
            data = json.loads(rest)
        elif not word and data is not None:
            return kind, data
    return None


@contextlib.contextmanager
def page(spool, *options, env=None, token_file=None, prefix=()):
    """A page for as long as the with block lasts, started by the words of `prefix`."""
    words = [*prefix, *QUEUECTL, "--spool", spool.root, "web", *map(str, options)]
    words += ["--token-file", str(token_file)] if token_file else []
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env)
    try:
        line = process.stdout.readline().decode().strip()
        assert line, process.stderr.read().decode()
        path = options[options.index("--socket") + 1] if "--socket" in options else None
        yield Page(process, line, token_file or f"{spool.root}/web.token", path)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            said = process.stderr.read().decode()
            process.stdout.close()
            process.stderr.close()
    assert "Traceback" not in said, said
