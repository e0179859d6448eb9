"""One connection: uvicorn's, with limits of what a client may send, how slowly, and how many there may be.

A client that is slow at its request, its body, or at taking the answer holds a connection for so long and no longer. What is
asked most is answered without a task for it, and answers to what came at one go leave at one go.
"""

from __future__ import annotations

import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

MOST = 400  # connections at once, where there are descriptors for so many
SPARE = 100  # descriptors for all else
MOST_HEADERS = 32_768  # bytes: of the first line and all headers
REQUEST_LASTS = 10.0  # seconds, in which the first line and the headers have to be here
BODY_LASTS = 30.0  # seconds, in which the body has to be here
TAKING_LASTS = 60.0  # seconds, for which a client may take nothing of what is sent
MOST_AT_ONCE = 262_144  # bytes of answers that leave at one go
MOST_QUEUED = 16  # requests that wait while one before them is answered, before no further piece is read
TOO_LARGE = b"431 Request Header Fields Too Large"
PIECE = 1024  # bytes that are parsed between two looks at how many these are


def ask_for_descriptors() -> None:
    """Let this process have as many descriptors as it may need, or as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + SPARE
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


def most_connections() -> int:
    """Return how many connections there may be at once: as many as descriptors are not needed for else, but a third at least."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft < 0 else min(MOST, max(soft - SPARE, soft // 3))


class Connection(HttpToolsProtocol):
    """uvicorn's connection, within these limits."""

    most = MOST  # of all
    _timer: TimerHandle | None = None
    _ends_at: float | None = None  # the loop's time, at which what we wait for must be here
    _taking: TimerHandle | None = None
    _silent = 0  # bytes in which the parser has found nothing yet
    _headers_bytes = 0  # of this request: its first line, headers and trailers
    _in_headers = True
    _in_message = False
    _is_answered = False  # the request that is read was answered with its headers
    _hot: dict | None = None  # the scope of the last request that was answered at once
    _requests = 0  # requests, in what came at one go
    _asked_at = 0.0  # the loop's time

    def connection_made(self, transport: Transport) -> None:
        """Take the connection, or where there are too many, say so and end it."""
        super().connection_made(transport)
        self._answers: list[bytes] = []
        self._answers_bytes = 0
        self._unparsed = b""
        if len(self.connections) > self.most:
            self._end(b"503 Service Unavailable", b"retry-after: 1\r\n")
            return
        self._wait(REQUEST_LASTS)

    def connection_lost(self, error: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait(None)
        for timer in (self._timer, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is more headers than anybody needs.

        Who asks the same again and again sends the same bytes. Behind a whole request, they are the same request, unparsed.
        """
        rests = self._is_at_rest()
        if rests and (answer := self.app.again(data)) is not None:
            self._asked_at = self.loop.time()
            self.server_state.total_requests += 1
            self.transport.write(answer)
            return
        self._hot, self._requests = None, 0
        self._unparsed += data
        self._parse()
        if rests and self._requests == 1 and self._hot is not None and self._is_at_rest() and len(data) <= PIECE:
            self.app.remember(data, self._hot)

    def _is_at_rest(self) -> bool:
        """Tell whether the connection is between two requests: the last one is answered, and nothing of the next one is here."""
        return (
            self.timeout_keep_alive_task is not None
            and not self._silent
            and not self._unparsed
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def timeout_keep_alive_handler(self) -> None:
        """Let the connection end, where nothing was asked for that long."""
        left = self._asked_at + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def _parse(self) -> None:
        """Read requests, as long as not too many of them wait; and nothing more for now, where they do."""
        data, at = self._unparsed, 0
        while at < len(data) and len(self.pipeline) < MOST_QUEUED and not self.transport.is_closing():
            piece = data[at : at + PIECE]
            at += len(piece)
            self._silent += len(piece)
            super().data_received(piece)
            if max(self._silent, self._headers_bytes) > MOST_HEADERS:
                self._refuse(TOO_LARGE)
        self._unparsed = b"" if self.transport.is_closing() else data[at:]
        if self._unparsed:
            self.flow.pause_reading()
        self._send_answers()
        self._let_go_if_idle()

    def on_message_begin(self) -> None:
        """A request begins: its time runs."""
        self._in_message, self._in_headers, self._is_answered = True, True, False
        self._silent = self._headers_bytes = 0
        self._requests += 1
        self._wait(REQUEST_LASTS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take more of the first line."""
        self._headers_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. What comes behind the body is none: nobody needs it, but it is counted."""
        self._silent = 0
        self._headers_bytes += len(name) + len(value)
        if self._in_headers and self._headers_bytes <= MOST_HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are here: now the body's time runs, where it isn't answered already."""
        if self._headers_bytes > MOST_HEADERS:
            self._refuse(TOO_LARGE)
        self._in_headers, self._silent = False, 0
        self._wait(BODY_LASTS)
        self._is_answered = self.transport.is_closing() or self._answer_at_once()
        if not self._is_answered:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take more of the body, which nobody needs of a request that is answered."""
        self._silent = 0
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: the next one's time runs when it begins."""
        self._in_message, self._in_headers, self._silent = False, True, 0
        self._wait(None)
        if not self._is_answered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was sent: go on with what came meanwhile."""
        super().on_response_complete()
        if self._in_message:
            self._unset_keepalive_if_required()
        if self._unparsed:
            self.loop.call_soon(self._parse)

    def send_400_response(self, msg: str) -> None:
        """Say that this is no request, behind the answers to those before it."""
        if self._is_answering():
            self.transport.abort()
            return
        self._send_answers()
        super().send_400_response(msg)

    def _answer_at_once(self) -> bool:
        """Answer the request, if nothing is before it and the answer is known."""
        path, _, query = self.url.partition(b"?")
        if path not in self.app.hot or self.parser.get_method() != b"GET" or not self._is_free():
            return False
        scope = {**self.scope, "method": "GET", "path": path.decode(), "raw_path": path, "query_string": query}
        answer = self.app.at_once(scope)
        if answer is None:
            return False
        self._hot = scope
        self._answers.append(answer)
        self._answers_bytes += len(answer)
        self.server_state.total_requests += 1
        return True

    def _is_free(self) -> bool:
        """Tell whether an answer may leave now, and the connection stays."""
        stays = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive() and not self.expect_100_continue
        return self._is_all_answered() and stays and not self.flow.write_paused and self._answers_bytes < MOST_AT_ONCE

    def _is_all_answered(self) -> bool:
        """Tell whether no answer is to come: the cycle is that of the last request that was read and not answered at once."""
        return self.cycle is None or self.cycle.response_complete

    def _send_answers(self) -> None:
        if not self._answers:
            return
        self.transport.write(b"".join(self._answers))
        self._answers, self._answers_bytes = [], 0

    def _let_go_if_idle(self) -> None:
        """Let the connection end in a while, where nothing is asked."""
        if (
            self._is_all_answered()
            and not self._in_message
            and self.timeout_keep_alive_task is None
            and not self.transport.is_closing()
        ):
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _is_answering(self) -> bool:
        """Tell whether answers come before that to the request that is read: what is sent now would be taken for theirs."""
        begun = not self._is_all_answered() and (self._in_headers or self.cycle.response_started)
        return begun or bool(self.pipeline)

    def _refuse(self, status: bytes) -> None:
        """End the connection; say why, where that can be told apart from other answers."""
        if self._is_answering():
            self.transport.abort()
        elif not self.transport.is_closing():
            self._end(status)

    def pause_writing(self) -> None:
        """The client is behind with taking: it may be so for a while."""
        self._taking = self.loop.call_later(TAKING_LASTS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It goes on."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        super().resume_writing()

    def _wait(self, seconds: float | None) -> None:
        """Wait so long and no longer; or for nothing. One timer looks at it, which goes off seldom."""
        if seconds is None:
            self._ends_at = None
            return
        self._ends_at = self.loop.time() + seconds
        if self._timer is None or self._ends_at < self._timer.when():
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._ends_at, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._ends_at is None:
            return
        if self._ends_at > self.loop.time():
            self._set_timer()
        else:
            self._too_slow()

    def _too_slow(self) -> None:
        if self._in_message:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.abort()  # nothing was asked

    def _end(self, status: bytes, headers: bytes = b"") -> None:
        self._wait(None)
        self._send_answers()
        self.transport.write(b"HTTP/1.1 %s\r\n%sconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, headers))
        self.transport.close()
