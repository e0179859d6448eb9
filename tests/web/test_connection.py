"""What is asked most is answered at once, over the same connection as all else: in order, and only to who may ask."""

import re

import pytest


def asked(web, path="/api/v1/status", token=None, more="", body="", version="1.1"):
    head = f"GET {path} HTTP/{version}\r\nHost: {web.host}\r\nAuthorization: Bearer {token or web.token}\r\n"
    return f"{head}{more}\r\n{body}".encode()


def statuses(web, sent):
    """What comes back to all that, until the connection ends; it is said in the last answer that it does."""
    assert web.get("/status").status == web.get("/jobs").status == 200  # so these are known
    with web.socket() as found:
        found.sendall(sent)
        answers = found.makefile("rb").read()
    assert b"\r\nconnection: close\r\n" in answers[answers.rindex(b"HTTP/1.1 ") :]
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
    assert statuses(web, asked(web) + asked(web) + b"\0nonsense\r\n\r\n") == [200, 200, 400]


def test_who_asks_to_be_told_to_go_on_is_answered(web, last):
    assert statuses(web, asked(web, more="Expect: 100-continue\r\n") + last) in ([200, 404], [100, 200, 404])


def test_many_answers_at_one_go_are_all_sent(web, spool, last):
    for _ in range(50):
        spool.add("true " + "x" * 150)
    assert statuses(web, asked(web, "/api/v1/jobs") * 400 + last) == [200] * 400 + [404]


def test_another_host_is_told_nothing(web):
    sent = asked(web).replace(web.host.encode(), b"elsewhere.example") + asked(web, more="Connection: close\r\n")
    assert statuses(web, sent) == [421, 200]
