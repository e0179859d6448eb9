"""What is asked most is answered at once, over the same connection as all else: in order, and only to who may ask."""

import asyncio
import contextlib
import re

import pytest
from kit import drop, until
from uvicorn import Config
from uvicorn.server import ServerState

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


class Application:
    hot = ()

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
        config = Config(Application(), http=Connection, log_config=None, interface="asgi3", proxy_headers=False, lifespan="off")
        found = Connection(config, ServerState(), {}, asyncio.get_running_loop())
        found.connection_made(nobody := Nobody())
        found.data_received(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        for task in found.tasks:
            task.cancel()
        return len(found.pipeline), nobody.paused

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
