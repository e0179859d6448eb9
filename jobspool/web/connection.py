"""One connection: uvicorn's, with limits of what a client may send, how slowly, and how many there may be.

A client that is slow at its request, its body, or at taking the answer holds a connection for so long and no longer.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Handle, Transport

MOST = 400  # connections at once
MOST_HEADERS = 32_768  # bytes: of the first line and all headers
REQUEST_LASTS = 10.0  # seconds, in which the first line and the headers have to be here
BODY_LASTS = 30.0  # seconds, in which the body has to be here
TAKING_LASTS = 60.0  # seconds, for which a client may take nothing of what is sent


class Connection(HttpToolsProtocol):
    """uvicorn's connection, within these limits."""

    _timer: Handle | None = None
    _taking: Handle | None = None
    _headers_bytes = 0
    _in_headers = True

    def connection_made(self, transport: Transport) -> None:
        """Take the connection, or where there are too many, say so and end it."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            self._end(b"503 Service Unavailable", b"retry-after: 1\r\n")
            return
        self._wait(REQUEST_LASTS)

    def connection_lost(self, error: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait(None)
        if self._taking is not None:
            self._taking.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is more headers than anybody needs."""
        if self._in_headers:
            self._headers_bytes += len(data)
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_headers and self._headers_bytes > MOST_HEADERS and not self.transport.is_closing():
            self._end(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A request begins: its time runs."""
        self._in_headers = True
        self._wait(REQUEST_LASTS)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are here: now the body's time runs."""
        self._in_headers, self._headers_bytes = False, 0
        self._wait(BODY_LASTS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole: the next one's time runs when it begins."""
        self._in_headers, self._headers_bytes = True, 0
        self._wait(None)
        super().on_message_complete()

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
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        nothing_asked = self._in_headers and not self._headers_bytes
        answering = (
            self.cycle is not None and not self.cycle.response_complete and (self._in_headers or self.cycle.response_started)
        )
        if nothing_asked or answering or self.pipeline:
            self.transport.abort()
        else:
            self._end(b"408 Request Timeout")

    def _end(self, status: bytes, headers: bytes = b"") -> None:
        self._wait(None)
        self.transport.write(b"HTTP/1.1 %s\r\n%sconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, headers))
        self.transport.close()
