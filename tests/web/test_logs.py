"""What attempts printed: as bytes, in part, as it grows, and searched."""

import base64
import os

import pytest
from kit import comes_to, drop, pool, until


@pytest.fixture
def printed(web, spool):
    with pool(spool):
        spool.add(r"printf 'one\ntwo \033[31mred\033[0m\nthree \377\n'", id="x")
        comes_to(spool, "x", "done")
    return b"one\ntwo \x1b[31mred\x1b[0m\nthree \xff\n"


LOG = "/jobs/x/attempts/1/out"


def test_a_log_is_sent_byte_by_byte_and_never_run(web, printed):
    answer = web.get(LOG)
    assert (answer.status, answer.body) == (200, printed)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_log_is_downloaded_under_a_harmless_name(web, printed):
    answer = web.get(f"{LOG}?download=1")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="attempt-1.out"'


@pytest.mark.parametrize(
    ("said", "status", "part"),
    [
        ("bytes=0-2", 206, slice(0, 3)),
        ("bytes=4-", 206, slice(4, None)),
        ("bytes=-3", 206, slice(-3, None)),
        ("bytes=0-99999", 206, slice(None)),
        ("bytes=9999-", 416, None),
        ("bytes=5-2", 416, None),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("bytes=99999999999999999999-", 200, slice(None)),
    ],
)
def test_a_part_of_a_log_is_sent(web, printed, said, status, part):
    answer = web.get(LOG, headers={"Range": said})
    assert answer.status == status
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(printed)}"
    else:
        assert answer.body == printed[part]
        assert ("content-range" in answer.headers) == (status == 206)


def test_the_end_of_a_log_is_sent(web, printed):
    answer = web.get(f"{LOG}?tail=4")
    assert (answer.status, answer.body, answer.headers["x-log-bytes"]) == (200, printed[-4:], str(len(printed)))
    assert web.get(f"{LOG}?tail=99999").body == printed
    assert web.get(f"{LOG}?tail=x").status == 400


def test_a_log_that_isnt_there_is_no_error_of_ours(web, printed):
    for path in ("/jobs/x/attempts/2/out", "/jobs/x/attempts/1/err", "/jobs/x/attempts/1/result", "/jobs/x/attempts/0/out"):
        assert web.get(path).problem == (404, "no-such-log")
    assert web.get("/jobs/x/attempts/1x/out").status == 404
    assert web.get("/jobs/nix/attempts/1/out").problem == (404, "no-such-job")


def test_links_and_fifos_in_a_logs_place_are_not_followed(web, spool):
    drop(spool, "x", {"command": "true"}, "done")
    until(lambda: web.get("/status").json["counts"]["done"], "the look")
    os.symlink("/etc/passwd", spool.log_path("x", 1, "out"))
    os.mkfifo(spool.log_path("x", 1, "err"))
    os.mkdir(spool.log_path("x", 2, "out"))
    for path in (LOG, "/jobs/x/attempts/1/err", "/jobs/x/attempts/2/out", f"{LOG}/search?q=root"):
        assert web.get(path).problem == (404, "no-such-log")


def test_a_log_is_searched(web, printed):
    told = web.get(f"{LOG}/search?q=T").json
    assert [(each["line"], each["offset"]) for each in told["matches"]] == [(2, 4), (3, 21)]
    assert (told["matches"][1]["text"], told["complete"]) == ("three \ufffd", True)
    assert web.get(f"{LOG}/search?q=T&most=1").json["complete"] is False
    assert web.get(f"{LOG}/search?q=").status == 400


def test_long_lines_and_long_logs_are_searched(web, spool):
    drop(spool, "x", {"command": "true"}, "done")
    until(lambda: web.get("/status").json["counts"]["done"], "the look")
    content = b"".join(b"line %d\n" % number for number in range(300_000)) + b"y" * 3_000_000 + b"\nneedle\n"
    with open(spool.log_path("x", 1, "out"), "wb") as file:
        file.write(content)
    [match] = web.get(f"{LOG}/search?q=needle").json["matches"]
    assert match["offset"] == content.index(b"needle")
    assert web.get(f"{LOG}/search?q=line%20299999").json["matches"][0]["line"] == 300_000
    assert web.get(LOG).body == content


def test_a_log_is_followed_until_the_attempt_has_ended(web, spool):
    with pool(spool):
        spool.add("echo one; until [ -e go ]; do sleep 0.02; done; echo two", id="x", cwd=spool.root)
        until(lambda: web.get(LOG).body == b"one\n", "the first line")
        with web.events(f"{LOG}/follow") as following:
            _, first = following()
            assert (first["offset"], base64.b64decode(first["data"]), first["ended"]) == (0, b"one\n", False)
            with open(f"{spool.root}/go", "w"):
                pass
            found, told = b"", first
            while not told["ended"]:
                _, told = following()
                found += base64.b64decode(told["data"])
            assert (found, told["next"], following()) == (b"two\n", 8, None)


def test_who_follows_goes_on_where_he_was(web, printed):
    for path, headers in ((f"{LOG}/follow?offset=4", {}), (f"{LOG}/follow", {"Last-Event-ID": "4"})):
        with web.events(path, **headers) as following:
            assert base64.b64decode(following()[1]["data"]) == printed[4:]
            assert following()[1]["ended"] is True
    assert web.get(f"{LOG}/follow?offset=x").status == 400


def test_what_has_printed_nothing_can_be_followed(web, spool):
    spool.add("true", id="x")
    with web.events(f"{LOG}/follow") as following:
        assert following()[1] == {"offset": 0, "next": 0, "data": "", "ended": True}
