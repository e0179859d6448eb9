"""Serve the page until told to stop: the socket, the token's file, the signals, and how much it gives way to workers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import ipaddress
import logging
import os
import signal
import socket
import stat
from collections import namedtuple

from uvicorn import Config, Server

from jobspool import durable
from jobspool.errors import QueueError, WrongValue
from jobspool.web import looks
from jobspool.web.app import App
from jobspool.web.catalogue import Catalogue
from jobspool.web.connection import Connection, ask_for_descriptors, most_connections
from jobspool.web.guard import Guard, Token, make_token
from jobspool.web.live import STATUS_EVERY, Pulse
from jobspool.web.site import Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobspool.spool import Spool

NICE = 10  # how much it gives way to what runs jobs
FIRST_LOOK = 1.0  # seconds that the first look at the spool may take until the link is told
WAITING = 512  # connections that wait to be taken
AT_ONCE = 4  # that are taken at one go: who comes beyond those that there may be is let go before many more are
LAST_WORDS = 0.5  # seconds for answers that are under way when it is told to stop
GARBAGE = 20_000  # new objects, until garbage is looked for
TOKEN = "web.token"
LOOPBACK = "127.0.0.1"  # not localhost, which may be ::1, where another user may listen at the same port

# host, port: where it listens, or socket: the path of a unix socket. hosts: further names that Host may say. token_file: None for
# the usual one.
Options = namedtuple("Options", "host port socket hosts read_only behind_proxy token_file version")


def serve(spool: Spool, options: Options, tell: Callable[[str, str, str], None]) -> None:
    """Serve the spool's page until SIGTERM or SIGINT. `tell` is told when it can be asked: where it listens, "" if the link says
    it, the link, and one that is good once.

    Raises QueueError where it can't listen there, UnsafeSpool for a token that others can read.
    """
    path = token_file(spool, options.token_file)
    make_token(path)
    token = Token(path)
    os.nice(NICE)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # bugs, with their tracebacks; not what strangers send
    with _listening(options) as listener:
        port = None if options.socket else listener.getsockname()[1]
        if port is not None and options.host == "localhost":
            options = options._replace(host=listener.getsockname()[0])  # which of its addresses it has become
        guard = Guard(
            token,
            _hosts(options, port),
            f"queuectl_{port or 'socket'}",
            read_only=options.read_only,
            behind_proxy=options.behind_proxy or bool(options.socket),
        )
        Serving(spool, guard, listener, options.version, lambda: tell(*_links(options, port, guard, token))).run()


def _links(options: Options, port: int | None, guard: Guard, token: Token) -> tuple[str, str, str]:
    """Return where it listens, "" if the links say it, and the links: with the name of a proxy before it."""
    own = LOOPBACK if port is None else f"{_host_in_link(options)}:{port}"
    proxied = options.hosts[:1] if guard.behind_proxy else ()
    place = f"https://{proxied[0]}" if proxied else f"http://{own}"
    where = os.path.abspath(options.socket) if options.socket else own if proxied else ""
    return where, f"{place}/login?token={token.value().decode()}", f"{place}/login?code={guard.new_code()}"


class Serving(Server):
    """uvicorn's server, which sleeps until a signal comes, and then ends at once: open streams are told to go."""

    def __init__(self, spool: Spool, guard: Guard, listener: socket.socket, version: str, ready: Callable[[], None]) -> None:
        ask_for_descriptors()
        Connection.most = most_connections()
        catalogue = Catalogue(spool)
        pulse = Pulse(catalogue, self._die)
        self.site = Site(spool, catalogue, pulse, version=version, read_only=guard.read_only)
        self._listener, self._ready, self._token = listener, ready, guard.token
        self._bug: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(
            Config(
                App(self.site, guard),
                http=Connection,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=AT_ONCE,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop. Raises what the reader of the journal died of."""
        asyncio.run(self.serve([self._listener]))
        if self._bug is not None:
            raise self._bug

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let TERM and INT end it in order."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        yield

    async def main_loop(self) -> None:
        """Serve, until told to stop."""
        self._listener.listen(WAITING)
        pulse = self.site.pulse
        pulse.start(self._loop)
        looked = asyncio.ensure_future(pulse.first_look())
        looked.add_done_callback(_keep_what_is_there)
        await asyncio.wait([looked, asyncio.ensure_future(self._stop.wait())],
                           timeout=FIRST_LOOK, return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        self._ready()
        teller = asyncio.ensure_future(self._tell_of_workers())
        teller.add_done_callback(self._teller_ended)
        await self._stop.wait()
        teller.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: nothing new is taken, streams end, and what is under way has a moment."""
        for server in self.servers:
            server.close()
        self.site.pulse.end()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=LAST_WORDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.to_thread(self.site.pulse.join)
        self.site.end()

    async def _tell_of_workers(self) -> None:
        """Tell who listens when workers, or the pause, have changed; or that we live, where nothing has."""
        before, token = None, self._token.value()
        while True:
            await asyncio.sleep(STATUS_EVERY)
            if token != (token := self._token.value()):
                self.site.pulse.let_go()
            self.site.pulse.show_life()
            with contextlib.suppress(OSError):  # which whoever looks tells of
                before = await self._tell_news(before)

    async def _tell_news(self, before: dict | None) -> dict | None:
        """Tell who listens what has changed since `before`, and return what is so now."""
        if self.site.undo.holds:
            await self.site.do(self.site.undo.forget_old)
        if not self.site.pulse.listeners:
            return before
        status = await self.site.work(looks.status, self.site)
        now = {word: value for word, value in status.items() if word != "counts"}
        if now != before:
            self.site.pulse.tell("status", status)
        return now

    def _teller_ended(self, teller: asyncio.Future) -> None:
        if not teller.cancelled():
            self._die(teller.exception())

    def _die(self, bug: BaseException) -> None:
        self._bug = bug
        self._loop.call_soon_threadsafe(self._stop.set)


# ---- where it listens


@contextlib.contextmanager
def _listening(options: Options) -> Iterator[socket.socket]:
    """Listen there, and leave nothing behind. Raises QueueError."""
    if options.socket is None:
        with _tcp(options.host, options.port) as listener:
            yield listener
        return
    path = os.path.abspath(options.socket)
    with _unix(path) as listener:
        made = os.lstat(path)
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(made, os.lstat(path)):
                    durable.remove(path)


def _keep_what_is_there(_: object) -> None:
    """Let no garbage be looked for in what is there now, as all code and a million names: it stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def _tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise QueueError(f"can't listen at {host} port {port}: {error.strerror}: choose another by --port or --host") from None
    return listener


def _unix(path: str) -> socket.socket:
    """Listen at a socket that only this user can use: who else may, chmod or chgrp says. One that nobody serves is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    _forget_dead_socket(path)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise QueueError(f"can't listen at {path}: {error.strerror}") from None
    finally:
        os.umask(mask)
    return listener


def _forget_dead_socket(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise QueueError(f"{path} is there already, and no socket: choose another by --socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            durable.remove(path)
            return
        except OSError as error:
            raise QueueError(f"can't listen at {path}: {error.strerror}") from None
    raise QueueError(f"somebody serves {path} already: choose another by --socket")


def is_everywhere(host: str) -> bool:
    """Tell whether what listens there can be reached by each address of this machine."""
    return host in ("0.0.0.0", "::", "")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_in_link(options: Options) -> str:
    if is_everywhere(options.host):
        return "[::1]" if options.host == "::" else LOOPBACK
    return f"[{options.host}]" if ":" in options.host else options.host


def _hosts(options: Options, port: int | None) -> list[str]:
    """Return what Host may say: names of this machine's own, with our port, and what --allow-host names, with any."""
    for host in options.hosts:
        if not host or any(each in host for each in "/ @\t") or host == "*":
            raise WrongValue(f"--allow-host takes a name, as queue.example.org, or with a port; not {host!r}")
    names = {"localhost", "127.0.0.1", "[::1]"}
    if port is not None and not is_everywhere(options.host):
        names.add(_host_in_link(options))
    own = {f"{name}:{port}" for name in names} if port is not None else {"localhost", LOOPBACK}
    return [*own, *(names if port == 80 else ()), *options.hosts]


# ---- the token's file


def token_file(spool: Spool, named: str | None) -> str:
    """Return where the token lies: where that was `named`, in a directory that is there, else at its usual place."""
    if named is None:
        return token_path(spool)
    path = os.path.abspath(named)
    if not named or not os.path.isdir(os.path.dirname(path)):
        raise WrongValue(f"--token-file {named}: there is no directory {os.path.dirname(path)}: make it, or name another")
    return path


def token_path(spool: Spool) -> str:
    """Return where the token lies: in the spool where that is this user's alone, else where only this user's files are."""
    found = os.stat(spool.root)
    if found.st_uid == os.geteuid() and not found.st_mode & (stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH):
        return f"{spool.root}/{TOKEN}"
    name = hashlib.sha256(os.fsencode(os.path.realpath(spool.root))).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{runtime or home}/queuectl/web-{name}.token"
