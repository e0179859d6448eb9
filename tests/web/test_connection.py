"""What is asked most is answered at once, over the same connection as all else: in order, and only to who may ask."""

import asyncio
import contextlib
import json
import re
from types import SimpleNamespace

import pytest
from kit import drop, until
from uvicorn import Config
from uvicorn.server import ServerState

from jobspool.web.app import MOST_REQUESTS, App
from jobspool.web.connection import Connection


def asked(web, path="/api/v1/status", token=None, more="", body="", version="1.1"):
    head = f"GET {path} HTTP/{version}\r\nHost: {web.host}\r\nAuthorization: Bearer {token or web.token}\r\n"
    return f"{head}{more}\r\n{body}".encode()


def statuses(web, sent):
    """What comes back to all that, until the connection ends; it is said in the last answer that it does."""
    assert web.get("/status").status == web.get("/jobs").status == 200  # so these are known
    with web.socket() as found:
        found.sendall(sent)
        answers = found.makefile("rb").read()
    assert not answers or b"\r\nconnection: close\r\n" in answers[answers.rindex(b"HTTP/1.1 ") :]
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", answers)]


@pytest.fixture
def last(web):
    """A request behind which the connection ends."""
    return asked(web, "/api/v1/nothing", more="Connection: close\r\n")


def test_answers_come_in_the_order_of_what_was_asked(web, last):
    sent = [
        asked(web),
        asked(web, "/api/v1/jobs/none"),
        asked(web),
        asked(web, token="wrong"),
        asked(web, "/api/v1/jobs?state=x"),
    ]
    assert statuses(web, b"".join([*sent, last])) == [200, 404, 200, 401, 400, 404]


def test_a_body_that_nobody_asked_for_is_no_next_request(web, last):
    sent = asked(web, more="Content-Length: 11\r\n", body="GET / HTTP/") + asked(web)
    assert statuses(web, sent + last) == [200, 200, 404]
    chunks = asked(web, more="Transfer-Encoding: chunked\r\n", body="5\r\nGET /\r\n0\r\n\r\n")
    assert statuses(web, chunks + last) == [200, 404]


def test_who_wants_no_more_is_let_go(web):
    assert statuses(web, asked(web) + asked(web, more="Connection: close\r\n") + asked(web)) == [200, 200]
    assert statuses(web, asked(web, version="1.0")) == [200]


def test_what_was_asked_before_nonsense_is_answered(web):
    """Or nothing is answered: where that took longer than the nonsense, which would be taken for an answer."""
    assert statuses(web, asked(web) + asked(web) + b"\0nonsense\r\n\r\n") in ([200, 200, 400], [])


def test_a_request_with_too_many_headers_has_no_answer_of_another(web):
    for size in range(600, 1600, 100):
        many = b"".join(b"X: %s\r\n" % (b"x" * 500) for _ in range(65))
        large = asked(web)[:-2] + many + b"Y: %s\r\n\r\n" % (b"y" * size)
        assert statuses(web, large + asked(web)) == [431]


def test_what_comes_behind_a_body_is_no_header_and_not_kept(web, last):
    chunked = asked(web, "/api/v1/status", token="wrong", more="Transfer-Encoding: chunked\r\n", body="0\r\n")
    assert statuses(web, chunked + f"Authorization: Bearer {web.token}\r\n\r\n".encode() + last) == [401, 404]
    with web.socket() as found, contextlib.suppress(ConnectionError):
        found.sendall(asked(web, "/api/v1/jobs", token="wrong", more="Transfer-Encoding: chunked\r\n", body="0\r\n"))
        for _ in range(1000):
            found.sendall(b"A: b\r\n" * 5000)
        pytest.fail("30 MB of them were taken")


def test_nothing_is_said_in_the_middle_of_another_answer(web, spool):
    drop(spool, "x", {"command": "true"}, "done")
    with open(spool.log_path("x", 1, "out"), "wb") as file:
        file.truncate(30_000_000)
    until(lambda: web.get("/status").json["counts"]["done"], "the look")
    for more in (f"X: {'a' * 40_000}\r\n", "\0nonsense"):
        with web.socket() as found:
            found.sendall(asked(web, "/api/v1/jobs/x/attempts/1/out"))
            read = found.recv(100_000)
            found.sendall(asked(web, more=more))
            with contextlib.suppress(ConnectionError):
                while piece := found.recv(1 << 20):
                    read += piece
        assert (read.count(b"HTTP/1.1"), read.count(b"HTTP/1.1 200")) == (1, 1)


def test_nobody_is_told_that_a_change_failed_which_is_under_way(web, spool):
    drop(spool, "x", {"command": "true"})
    until(lambda: web.get("/status").json["counts"]["pending"], "the look")
    with web.socket() as found, contextlib.suppress(ConnectionError):
        body = '{"reason": "x"}'
        said = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        cancel = asked(web, "/api/v1/jobs/x/cancel", more=said, body=body).replace(b"GET", b"POST", 1)
        found.sendall(cancel + asked(web, more=f"X: {'a' * 40_000}\r\n"))
        assert found.makefile("rb").read()[:12] in (b"", b"HTTP/1.1 200")


def test_a_request_that_has_begun_has_its_time_though_another_was_just_answered(web):
    whole = asked(web, more="Connection: close\r\n")
    assert web.get("/status").status == 200
    with web.socket() as found:
        found.sendall(asked(web) + whole[:-2])
        assert found.recv(5).startswith(b"HTTP/")
        with pytest.raises(TimeoutError):
            found.settimeout(6.0)  # longer than a connection stays at which nothing is asked
            while found.recv(100_000):
                pass
        found.sendall(whole[-2:])
        assert b"HTTP/1.1 200" in found.recv(100_000)


def test_a_connection_at_which_only_empty_lines_come_ends(web):
    with web.socket() as found:
        found.sendall(asked(web, token="wrong"))
        assert found.recv(100_000).startswith(b"HTTP/1.1 401")
        found.sendall(b"\r\n")
        while found.recv(100_000):
            pass


def answers_to(web, *pieces):
    """What comes back, until the connection ends, to pieces that are sent one behind the other, each when all before is answered."""
    with web.socket() as found:
        for piece, count in pieces:
            found.sendall(piece)
            read = b""
            while read.count(b"HTTP/1.1 ") < count:
                read += found.recv(1 << 20) or pytest.fail("the connection ended")
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", found.makefile("rb").read())]


def test_two_requests_that_came_at_one_go_are_two_again(web, last):
    assert answers_to(web, (asked(web), 1), *[(asked(web) * 2, 2)] * 3, (last, 0)) == [404]


def test_who_asks_again_is_told_what_is_so_by_now(web, spool):
    with contextlib.closing(web.connection()) as connection:

        def counted():
            connection.request("GET", "/api/v1/status", headers=web.bearer)
            return json.load(connection.getresponse())["counts"]["pending"]

        assert [counted() for _ in range(3)] == [0] * 3
        spool.add("true")
        until(lambda: counted() == 1, "the new one")


def test_a_token_that_is_no_longer_good_lets_nobody_in_again():
    pulse = SimpleNamespace(is_fresh=lambda: True, asked=lambda: None)
    site = SimpleNamespace(version="1", pulse=pulse, known=lambda key: b'"%s"' % key.encode())
    good = [b"good"]
    app = App(site, SimpleNamespace(token=SimpleNamespace(value=lambda: good[0])))
    app.remember(b"a request", {"raw_path": b"/api/v1/status"})
    assert (app.again(b"a request")[-8:], app.again(b"another")) == (b'"status"', None)
    for good[0] in (b"", b"another"):
        assert app.again(b"a request") is None


def test_no_more_requests_are_known_than_there_is_room_for():
    guard = SimpleNamespace(token=SimpleNamespace(value=lambda: b"good"))
    app = App(SimpleNamespace(version="1"), guard)
    for number in range(10 * MOST_REQUESTS):
        app.remember(b"%d" % number, {"raw_path": b"/api/v1/status"})
    assert len(app._hot_requests) <= MOST_REQUESTS


class Known:
    """An application that knows the answer to what is asked at /, and how often that was parsed, and how often known again."""

    hot = (b"/",)

    def __init__(self):
        self.requests, self.parsed, self.known = set(), 0, 0

    def at_once(self, scope):
        self.parsed += 1
        return OK

    def remember(self, request, scope):
        self.requests.add(request)

    def again(self, request):
        self.known += request in self.requests
        return OK if request in self.requests else None

    async def __call__(self, scope, receive, send):
        pass


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
SAME = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BEFORE = b"GET /else HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SAME)


def connected(application):
    config = Config(application, http=Connection, log_config=None, interface="asgi3", proxy_headers=False, lifespan="off")
    found = Connection(config, ServerState(), {}, asyncio.get_running_loop())
    found.connection_made(Nobody())
    return found


@pytest.mark.parametrize(
    ("pieces", "parsed", "known"),
    [
        ([SAME, SAME], 2, 0),
        ([SAME, SAME, SAME, SAME], 2, 2),
        ([SAME, SAME, SAME[:9], SAME[9:], SAME], 3, 1),
        ([SAME, SAME + SAME, SAME + SAME], 5, 0),
        ([SAME, SAME, SAME + SAME[:9], SAME[9:], SAME], 4, 1),
        ([SAME, SAME, BEFORE, SAME], 2, 0),
        ([SAME, SAME, b"GET / HTTP/1.1\r\nX: ", SAME], 3, 0),
        ([SAME, SAME, b"\r\n", SAME], 3, 0),
        ([SAME, SAME, b"GET /else HTTP/1.1\r\n\r\n", SAME], 2, 0),
        ([SAME[:-2] + b"X: %s\r\n\r\n" % (b"x" * 1024)] * 3, 3, 0),
    ],
)
def test_the_same_bytes_are_the_same_request_only_as_a_whole_between_two_others(pieces, parsed, known):
    async def deed():
        found = connected(application := Known())
        for piece in pieces:
            found.data_received(piece)
        for task in found.tasks:
            task.cancel()
        return application.parsed, application.known

    assert asyncio.run(deed()) == (parsed, known)


def test_a_connection_at_which_the_same_is_asked_stays_as_long_as_that():
    async def deed():
        found, closed = connected(Known()), []
        found.transport.close = lambda: closed.append(True)
        for _ in range(4):
            found.data_received(SAME)
        found.timeout_keep_alive_handler()  # its time is up, counted from when it was parsed last
        stayed = not closed and found.timeout_keep_alive_task.when() > found.loop.time()
        found._asked_at -= found.timeout_keep_alive
        found.timeout_keep_alive_handler()
        return stayed, len(closed)

    assert asyncio.run(deed()) == (True, 1)


class Application:
    hot = ()

    def again(self, request):
        return None

    async def __call__(self, scope, receive, send):
        pass


class Nobody(asyncio.Transport):
    """A client that takes nothing, and may go on sending or not."""

    paused = False

    def write(self, data):
        pass

    def is_closing(self):
        return False

    def pause_reading(self):
        self.paused = True


def test_few_requests_are_read_while_one_before_them_is_answered():
    async def deed():
        found = connected(Application())
        found.data_received(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        for task in found.tasks:
            task.cancel()
        return len(found.pipeline), found.transport.paused

    queued, paused = asyncio.run(deed())
    assert (queued < 100, paused) == (True, True)


def test_who_asks_to_be_told_to_go_on_is_answered(web, last):
    assert statuses(web, asked(web, more="Expect: 100-continue\r\n") + last) in ([200, 404], [100, 200, 404])


def test_many_answers_at_one_go_are_all_sent(web, spool, last):
    for _ in range(50):
        spool.add("true " + "x" * 150)
    assert statuses(web, asked(web, "/api/v1/jobs") * 400 + last) == [200] * 400 + [404]


def test_another_host_is_told_nothing(web):
    sent = asked(web).replace(web.host.encode(), b"elsewhere.example") + asked(web, more="Connection: close\r\n")
    assert statuses(web, sent) == [421, 200]
