"""Many who look at a page at once: so many open pages, and so many requests a second, from one process that takes little itself.

`python -m bench.crowd LINK PAGES RATE` says "open" once the pages are, and at SIGTERM how many answers came, in how many seconds,
how many messages of changes one of the pages was told, and how much processor time all this took who looks. What the other
pages are told is thrown away unread. `python -m bench.crowd SHARE` only takes that much of a processor, in the same way, until
SIGTERM: as who looks mostly sits at another machine, a row that is about the page has this beside it.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from urllib.parse import parse_qs, urlsplit

EVERY = 0.02  # seconds between looks at what came, and between requests: several, each over the connection of another page
PATHS = (b"/api/v1/status", b"/api/v1/jobs?limit=50")
ANSWER, CHANGE = b"HTTP/1.1 200", b"event: change"
ASKER = -1
PIECE = 1 << 20
NICE = 19  # who looks gives way to what runs
told_to_stop: list[int] = []  # signals that came


def look(link: str, pages: int, rate: int) -> None:
    """Look until told to stop."""
    where = urlsplit(link)
    token = parse_qs(where.query)["token"][0].encode()
    streams = [_ask(where, b"/api/v1/events", token, b"Accept: text/event-stream\r\n") for _ in range(pages)]
    askers = [socket.create_connection((where.hostname, where.port)) for _ in range(pages)]
    request = [_request(where, path, token) for path in PATHS]
    print("open", flush=True)
    answers = changes = sent = 0
    thrown_away = bytearray(PIECE)  # nothing is copied to it
    begun, used = time.monotonic(), time.process_time()
    with selectors.EpollSelector() as all_of_them:
        for each, kind in (*((asker, ASKER) for asker in askers), *((stream, number) for number, stream in enumerate(streams))):
            all_of_them.register(each, selectors.EVENT_READ, kind)
        while not told_to_stop:
            due = int((time.monotonic() - begun) * rate)
            if due > sent and sent - answers < rate:  # a server that is behind is not buried
                for number in range(sent, due):
                    askers[number % pages].sendall(request[number // pages % len(PATHS)])
                sent = due
            time.sleep(EVERY)
            for ready, _ in all_of_them.select(0):
                if ready.data > 0:
                    count = ready.fileobj.recv_into(thrown_away, PIECE, socket.MSG_TRUNC)
                else:
                    piece = ready.fileobj.recv(PIECE)
                    count = len(piece)
                    answers += piece.count(ANSWER) if ready.data == ASKER else 0
                    changes += piece.count(CHANGE)
                if not count:
                    raise SystemExit("the page let one go who looked")
    print(answers, time.monotonic() - begun, changes, time.process_time() - used, flush=True)


def take(share: float) -> None:
    """Take that much of a processor, as who looks does, until told to stop."""
    print("open", flush=True)
    begun, used = time.monotonic(), time.process_time()
    while not told_to_stop:
        time.sleep(EVERY)
        while time.process_time() - used < share * (time.monotonic() - begun):
            pass


def _ask(where: object, path: bytes, token: bytes, more: bytes) -> socket.socket:
    end = socket.create_connection((where.hostname, where.port))
    end.sendall(_request(where, path, token, more))
    return end


def _request(where: object, path: bytes, token: bytes, more: bytes = b"") -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n" % (path, where.netloc.encode(), token, more)


if __name__ == "__main__":
    os.nice(NICE)
    signal.signal(signal.SIGTERM, lambda number, _: told_to_stop.append(number))
    if len(sys.argv) == 2:
        take(float(sys.argv[1]))
    else:
        look(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
