"""What a client may send, how slowly, and how many there may be; whoever goes beyond keeps nobody else from being answered."""

import contextlib
import os
import re
import select
import socket

import pytest
from kit import until
from web.page import page

from jobspool.web import connection


def first_line(found):
    """The status that comes back, None where the connection is just ended."""
    with contextlib.suppress(ConnectionError):
        if line := found.makefile("rb").readline():
            return int(line.split()[1])
    return None


def test_a_body_may_be_a_job_and_some_more(web, spool):
    large = b'{"command": "' + b"x" * 1_000_000 + b'"}'
    assert web.post("/check", large).status == 200
    assert web.post("/check", b" " * 2_000_000).problem == (413, "too-large")
    assert web.get("/status").status == 200


def test_a_body_of_unknown_length_is_cut_off(web):
    head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: {web.host}\r\nAuthorization: Bearer {web.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with web.socket() as found:
        found.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                found.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert first_line(found) in (413, None)
    assert web.get("/status").status == 200


def test_many_headers_are_refused(web):
    with web.socket() as found:
        with contextlib.suppress(ConnectionError):
            found.sendall(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(100)))
        assert first_line(found) in (431, None)
    long = "/" + "x" * 100_000
    with web.socket() as found:
        with contextlib.suppress(ConnectionError):
            found.sendall(f"GET {long}".encode())
        assert first_line(found) in (431, None)
    assert web.get("/status").status == 200


@pytest.mark.parametrize(("headers", "status"), [(20, 200), (40, 431)])
def test_headers_that_come_at_one_go_are_as_many_as_those_that_come_slowly(web, headers, status):
    more = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(headers))
    for path in ("/api/v1/status", "/api/v1/settings"):
        head = f"GET {path} HTTP/1.1\r\nHost: {web.host}\r\nAuthorization: Bearer {web.token}\r\n".encode()
        with web.socket() as found:
            found.sendall(head + more + b"\r\n" + head + b"\r\n")
            assert first_line(found) in (status, 404 if status == 200 else None)


def answered(connections):
    """Those at which something is to be read."""
    return [each for each in connections if select.select([each], [], [], 0)[0]]


def test_where_descriptors_are_few_there_are_fewer_connections(spool):
    with page(spool, prefix=("sh", "-c", 'ulimit -n 64; exec "$0" "$@"')) as web, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(web.socket()) for _ in range(150)]
        turned_away = until(lambda: len(found := answered(silent)) >= 129 and found, "129 to be turned away")
        assert [first_line(each) for each in turned_away].count(503) == 129
        for each in silent:
            each.close()
        until(lambda: answers(web), "an answer")


@pytest.mark.parametrize(
    ("limits", "most", "soft"),
    [((1024, 4096), 400, 1024), ((256, 4096), 400, 500), ((256, 300), 200, 300), ((64, 64), 21, 64), ((-1, -1), 400, -1)],
)
def test_descriptors_are_asked_for_and_some_are_spared(monkeypatch, limits, most, soft):
    kept = [limits]
    monkeypatch.setattr(connection.resource, "getrlimit", lambda which: kept[-1])
    monkeypatch.setattr(connection.resource, "setrlimit", lambda which, new: kept.append(new))
    connection.ask_for_descriptors()
    assert (connection.most_connections(), kept[-1]) == (most, (soft, limits[1]))


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"GET http://evil/ HTTP/1.1\r\nHost: evil\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(web, sent):
    with web.socket() as found:
        found.sendall(sent)
        assert first_line(found) in (400, 421, None)
    assert web.get("/status").status == 200


def test_an_upgrade_that_isnt_spoken_is_only_a_request(web):
    said = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eHh4eHh4eHh4eHh4eHh4eA==",
    }
    assert (web.get("/status", headers=said).status, web.get("/status", headers=said, auth={}).status) == (200, 401)


SLOW = {"REQUEST_LASTS": 0.3, "BODY_LASTS": 0.3, "TAKING_LASTS": 0.5}


@pytest.fixture
def short(spool, tmp_path):
    """A page with short patience, and few connections."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nfrom jobspool.web import connection\nvars(connection).update({SLOW!r}, MOST=20)\n"
    )
    from kit import TOP

    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{TOP}"}
    with page(spool, env=env) as found:
        yield found


def test_who_is_slow_at_asking_is_not_waited_for(short):
    with short.socket() as silent, short.socket() as slow, short.socket() as slow_body:
        slow.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: ")
        slow_body.sendall(f"POST /api/v1/jobs HTTP/1.1\r\nHost: {short.host}\r\nContent-Length: 10\r\n".encode())
        slow_body.sendall(f"Authorization: Bearer {short.token}\r\n\r\n{{".encode())
        assert (first_line(silent), first_line(slow), first_line(slow_body)) == (None, 408, 408)
    assert short.get("/status").status == 200


def test_a_second_request_may_not_be_slow_either(short):
    with short.socket() as found:
        asked = f"GET /api/v1/status HTTP/1.1\r\nHost: {short.host}\r\nAuthorization: Bearer {short.token}\r\n\r\n".encode()
        found.sendall(asked + b"GET /api/v1/st")
        answers = found.makefile("rb").read()
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) in ([b"200"], [b"200", b"408"])


def test_who_takes_nothing_of_the_answer_is_not_waited_for(short, spool):
    from kit import drop

    drop(spool, "x", {"command": "true"}, "done")
    with open(spool.log_path("x", 1, "out"), "wb") as file:
        file.truncate(50_000_000)
    until(lambda: short.get("/status").json["counts"]["done"], "the look")
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        found.settimeout(20)
        found.connect(("127.0.0.1", short.port))
        ask = f"GET /api/v1/jobs/x/attempts/1/out HTTP/1.1\r\nHost: {short.host}\r\nAuthorization: Bearer {short.token}\r\n\r\n"
        found.sendall(ask.encode())

        def holds_the_log():
            paths = [f"/proc/{short.process.pid}/fd/{each}" for each in os.listdir(f"/proc/{short.process.pid}/fd")]
            return any(os.path.realpath(path).endswith("x.1.out") for path in paths)

        until(holds_the_log, "the log to be opened")
        until(lambda: not holds_the_log(), "the log to be closed")


def test_no_more_connections_are_taken_than_there_may_be(short):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(short.events()) for _ in range(20)]
        with short.socket() as found:
            assert first_line(found) == 503
        assert len(held) == 20
    until(lambda: answers(short), "a free place")


def answers(web):
    with contextlib.suppress(Exception):
        return web.get("/status").status == 200
    return False


def test_the_limits_are_as_the_manual_says():
    found = (connection.MOST, connection.MOST_HEADERS, connection.REQUEST_LASTS, connection.BODY_LASTS, connection.TAKING_LASTS)
    assert found == (400, 32_768, 10.0, 30.0, 60.0)
