"""Where the page listens, and how it begins and ends."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from kit import QUEUECTL, TOP, queuectl, until
from terminal import Terminal
from web.page import page


def test_it_listens_where_it_is_told(spool):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with page(spool, "--port", port) as web:
        assert (web.port, web.get("/status").status) == (port, 200)
        done = queuectl("web", "--port", port, spool=spool)
        assert (done.returncode, "can't listen at 127.0.0.1" in done.stderr, "--port" in done.stderr) == (1, True, True)


def test_a_socket_is_another_way_and_only_for_its_user(spool, tmp_path):
    path = tmp_path / "web.sock"
    with page(spool, "--socket", path) as web:
        assert web.get("/status").status == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert web.get("/status", auth={}).status == 401
        assert web.get("/status", headers={"Host": "evil.example"}).status == 421
        assert web.login()["Cookie"].startswith("queuectl_socket=")
        done = queuectl("web", "--socket", path, spool=spool)
        assert (done.returncode, "somebody serves" in done.stderr) == (1, True)
    assert not path.exists()


def test_a_socket_that_nobody_serves_is_replaced_and_anything_else_is_not(spool, tmp_path):
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(path))
    with page(spool, "--socket", path) as web:
        assert web.get("/status").status == 200
    path.write_text("mine")
    done = queuectl("web", "--socket", path, spool=spool)
    assert (done.returncode, path.read_text()) == (1, "mine")


def test_what_was_put_in_the_sockets_place_stays(spool, tmp_path):
    path = tmp_path / "web.sock"
    with page(spool, "--socket", path) as web:
        path.unlink()
        path.write_text("mine")
        assert web.process.poll() is None
    assert path.read_text() == "mine"


def test_wrong_words_are_told(spool):
    for words, said in (
        (["--port", "x"], "--port takes a number"),
        (["--port", "70000"], "--port takes a number"),
        (["--socket", "a", "--port", "1"], "either --socket"),
        (["--allow-host", "http://x/"], "--allow-host takes a name"),
        (["--allow-host", "*"], "--allow-host takes a name"),
    ):
        done = queuectl("web", *words, spool=spool)
        assert (done.returncode, said in done.stderr) == (2, True)


def test_without_its_libraries_the_command_says_what_to_install(spool, tmp_path):
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')\n")
    done = queuectl("web", spool=spool, env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, "pip install 'queuectl[web]'" in done.stderr) == (1, True)


def test_no_other_command_imports_any_of_it(spool):
    code = "import sys, queuectl; queuectl.main(['list', '--spool', sys.argv[1]]); print([m for m in sys.modules if 'web' in m or m in %r])"
    heavy = ("starlette", "uvicorn", "httptools", "sortedcontainers", "asyncio")
    done = subprocess.run(
        [sys.executable, "-c", code % (heavy,), spool.root], capture_output=True, text=True, cwd=TOP, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_link_is_all_that_is_said_in_a_pipe(web):
    assert web.link.startswith(f"http://127.0.0.1:{web.port}/login?token=")


def test_the_link_has_the_name_that_others_reach_it_by(spool, tmp_path):
    named = ("--allow-host", "queue.example.org:8443", "--allow-host", "other.example.org")
    path = tmp_path / "web.sock"
    with page(spool, "--socket", path, *named) as web:
        assert web.link.startswith(f"{path}: https://queue.example.org:8443/login?token=")
    with page(spool, "--behind-proxy", *named) as web:
        assert web.link.startswith(f"127.0.0.1:{web.port}: https://queue.example.org:8443/login?token=")
    with page(spool, *named) as web:
        assert web.link.startswith(f"http://127.0.0.1:{web.port}/login?token=")


@pytest.mark.parametrize(("host", "said"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("localhost", "127.0.0.1 or [::1]")])
def test_the_link_of_all_addresses_has_one_that_no_other_user_can_listen_at(spool, host, said):
    with page(spool, "--host", host) as web:
        assert web.link.startswith(tuple(f"http://{each}:{web.port}/" for each in said.split(" or ")))


def test_a_socket_is_asked_by_the_loopbacks_address_too(spool, tmp_path):
    with page(spool, "--socket", tmp_path / "web.sock") as web:
        assert web.link.startswith(f"{tmp_path}/web.sock: http://127.0.0.1/login?token=")
        assert web.get("/status", headers={"Host": "127.0.0.1"}).status == 200


def test_a_person_is_told_which_file_the_token_lies_in(spool, tmp_path):
    for words, file in (([], f"{spool.root}/web.token"), (["--token-file", f"{tmp_path}/t"], f"{tmp_path}/t")):
        terminal = Terminal(spool, "web", *words, columns=200)
        try:
            terminal.expect(f"the token lies in {file}")
        finally:
            terminal.program.terminate()
            terminal.program.wait()
            terminal.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_listens_everywhere_is_told_by_which_names_it_answers(spool, host):
    with page(spool, "--host", host) as web:
        lines = [web.process.stderr.readline().decode() for _ in range(2)]
        assert [("not encrypted" in line, "(421), until --allow-host" in line) for line in lines] == [
            (True, False),
            (False, True),
        ]
        own = {"Host": f"192.0.2.7:{web.port}"}
        assert [web.ask("GET", "/api/v1/status", headers=own).status] == [421]
    with page(spool, "--host", host, "--allow-host", "192.0.2.7") as web:
        assert web.ask("GET", "/api/v1/status", headers={"Host": f"192.0.2.7:{web.port}"}).status == 200
        web.process.terminate()
        assert "--allow-host" not in web.process.stderr.read().decode()


def test_open_shows_a_link_that_is_good_once(spool, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\n')
    browser.chmod(0o755)
    with page(spool, "--open", env={**os.environ, "BROWSER": f"{browser} %s"}) as web:
        asked = Path(tmp_path, "asked")
        link = until(lambda: asked.exists() and asked.read_text().strip(), "the browser")
        assert web.token not in link
        path = link.removeprefix(f"http://127.0.0.1:{web.port}")
        assert [web.ask("GET", path, auth={}).status for _ in range(2)] == [303, 403]


def test_the_page_is_served_while_the_browser_runs(spool, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/open\nwhile [ ! -e {tmp_path}/closed ]; do sleep 0.1; done\n")
    browser.chmod(0o755)
    with page(spool, "--open", env={**os.environ, "BROWSER": str(browser)}) as web:
        try:
            until(lambda: Path(tmp_path, "open").exists(), "the browser")
            assert web.get("/status").status == 200
        finally:
            Path(tmp_path, "closed").touch()


@pytest.mark.parametrize("browser", ["false", "/nowhere/browser"])
def test_a_browser_that_did_not_open_is_told_of(spool, browser):
    with page(spool, "--open", env={**os.environ, "BROWSER": browser, "DISPLAY": "", "WAYLAND_DISPLAY": ""}) as web:
        assert web.process.stderr.readline() == b"queuectl: the browser didn't open: open the link yourself\n"


def test_it_gives_way_to_those_who_run_jobs(web):
    assert os.getpriority(os.PRIO_PROCESS, web.process.pid) == 10


def test_the_page_is_the_same_document_at_each_of_its_paths(web):
    pages = [
        web.ask("GET", path) for path in ("/", "/jobs", "/job/x", "/job/%FF", "/dead", "/add", "/groups", "/jobs?state=dead")
    ]
    assert {answer.status for answer in pages} == {200}
    assert len({answer.body for answer in pages}) == 1
    assert pages[0].headers["content-type"] == "text/html; charset=utf-8"
    assert web.ask("GET", "/nix").status == 404


def test_static_files_are_asked_for_again_and_not_sent_again(web):
    first = web.ask("GET", "/static/index.html", auth={})
    again = web.ask("GET", "/static/index.html", auth={}, headers={"If-None-Match": first.headers["etag"]})
    assert (first.status, first.headers["cache-control"], again.status) == (200, "no-cache", 304)


def test_a_spool_that_goes_and_comes_back_is_served_again(web, spool):
    spool.add("true", id="x")
    until(lambda: web.get("/status").json["counts"]["pending"], "the look")
    os.rename(spool.root, f"{spool.root}.away")
    until(lambda: web.get("/status").json.get("trouble", "a problem"), "the trouble")
    os.rename(f"{spool.root}.away", spool.root)
    told = until(lambda: (answer := web.get("/status")).status == 200 and not answer.json["trouble"] and answer.json, "the spool")
    assert told["counts"]["pending"] == 1


def test_two_pages_of_one_spool_know_what_the_other_did(spool, tmp_path):
    with page(spool) as one, page(spool) as other:
        assert one.token == other.token
        one.put("/jobs/x", {"command": "true"})
        assert until(lambda: other.get("/jobs").json["jobs"], "the job")[0]["id"] == "x"
        other.post("/jobs/x/cancel")
        until(lambda: one.get("/jobs/x").json["row"]["state"] == "dead", "the other's deed")


def test_a_thousand_things_asked_at_once_are_answered(web, spool):
    from concurrent.futures import ThreadPoolExecutor

    spool.add_many([{"command": "true"}] * 200)
    until(lambda: web.get("/status").json["counts"]["pending"] == 200, "the look")
    paths = ["/status", "/jobs?limit=50", "/jobs?q=true&limit=5", "/dead/groups", "/rates"]
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda number: web.get(paths[number % 5]).status, range(1000)))
    assert answers == [200] * 1000


def test_it_starts_by_its_name_only(spool):
    done = subprocess.run([*QUEUECTL, "web", "--help"], capture_output=True, text=True, check=True)
    assert "--read-only" in done.stdout


def test_a_tokens_file_in_no_directory_is_refused_and_none_is_made(spool, tmp_path):
    done = queuectl("web", "--token-file", tmp_path / "nope" / "deeper" / "t", spool=spool)
    assert (done.returncode, f"there is no directory {tmp_path}/nope/deeper" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "nope").exists()


def test_a_tokens_file_is_named_from_where_one_is(spool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with page(spool, token_file="token") as web:
        assert web.get("/status").status == 200
