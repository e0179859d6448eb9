"""Who may ask: not another site in the same browser, not another user of the machine, and nobody with an old token."""

import re
from pathlib import Path

import pytest
from kit import queuectl, until
from web.page import page

ADD = {"command": "true"}


def test_the_token_lets_in_and_nothing_else_does(web):
    assert web.get("/status").status == 200
    wrong = ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {web.token}"}, {"Authorization": "Bearer "})
    assert [web.get("/status", auth=each).problem for each in wrong] == [(401, "who-are-you")] * 4
    assert web.ask("GET", "/metrics", auth={}).status == 401


def test_a_stranger_gets_a_page_that_says_where_the_link_is(web):
    answer = web.ask("GET", "/", auth={})
    assert (answer.status, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert (b"queuectl web" in answer.body, b"Try again" in answer.body) == (True, False)
    nowhere = web.ask("GET", "/nowhere").body
    assert (b"To the overview" in nowhere, b"Try again" in nowhere) == (True, False)
    assert b"newest link" in web.ask("GET", "/login?token=old", auth={}).body


def test_the_link_gives_a_cookie_that_scripts_and_other_sites_cant_have(web):
    answer = web.ask("GET", re.search("/login.*", web.link)[0], auth={})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"queuectl_{web.port}=")
    assert {each.strip() for each in cookie.split(";")[1:]} == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert web.token not in cookie
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert web.get("/status", auth=web.login()).status == 200


def test_behind_tls_the_cookie_is_for_tls_only(spool):
    with page(spool, "--behind-proxy", "--allow-host", "queue.example.org") as web:
        path, named = re.search("/login.*", web.link)[0], {"Host": "queue.example.org"}
        plain = web.ask("GET", path, headers=named, auth={})
        secure = web.ask("GET", path, headers={**named, "X-Forwarded-Proto": "https"}, auth={})
        assert ("Secure" in plain.headers["set-cookie"], "Secure" in secure.headers["set-cookie"]) == (False, True)
        from_page = {**web.login(), **named, "X-Queuectl": "1", "Origin": "https://queue.example.org"}
        assert web.post("/pause", auth=from_page).status == 200


def test_who_says_that_he_came_by_tls_is_not_believed_without_a_proxy(web):
    answer = web.ask("GET", re.search("/login.*", web.link)[0], headers={"X-Forwarded-Proto": "https"}, auth={})
    assert "Secure" not in answer.headers["set-cookie"]
    assert web.post("/pause", headers={"Origin": f"https://{web.host}"}).problem == (403, "cross-site")


def test_a_wrong_token_gives_no_cookie(web):
    for query in ("token=x", "token=", "", "code=x", "token=%ff", "&".join(f"x{number}=1" for number in range(99))):
        answer = web.ask("GET", f"/login?{query}", auth={})
        assert (answer.status, "set-cookie" in answer.headers) == (403, False)


def test_the_cookie_is_no_token_and_the_token_no_cookie(web):
    name, _, value = web.login()["Cookie"].partition("=")
    assert web.get("/status", auth={"Authorization": f"Bearer {value}"}).status == 401
    assert web.get("/status", auth={"Cookie": f"{name}={web.token}"}).status == 401
    assert web.get("/status", auth={"Cookie": f"a=b; {name}={value}; c=d"}).status == 200


def test_the_cookie_of_one_port_is_none_of_anothers(spool, tmp_path):
    with page(spool) as one, page(spool, token_file=tmp_path / "token") as other:
        value = one.login()["Cookie"].partition("=")[2]
        assert other.get("/status", auth={"Cookie": f"queuectl_{other.port}={value}"}).status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost:1", "", "127.0.0.1.evil.example"])
def test_a_name_of_another_that_points_here_is_refused(web, host):
    """DNS rebinding: the browser sends the other site's name, whatever it points to."""
    assert web.get("/status", headers={"Host": host}).problem == (421, "wrong-host")
    assert web.ask("GET", "/", headers={"Host": host}, auth=web.login()).status == 421


def test_two_hosts_or_none_are_refused(web):
    for hosts in (f"Host: {web.host}\r\nHost: evil.example\r\n", ""):
        with web.socket() as found:
            found.sendall(f"GET /api/v1/status HTTP/1.1\r\n{hosts}Authorization: Bearer {web.token}\r\n\r\n".encode())
            assert re.match(rb"HTTP/1.1 4(21|00) ", found.recv(65_536))


def test_our_own_names_are_let_in(web):
    names = (f"127.0.0.1:{web.port}", f"localhost:{web.port}", f"LOCALHOST:{web.port}", f"[::1]:{web.port}")
    assert [web.get("/status", headers={"Host": name}).status for name in names] == [200] * 4


def test_a_name_that_was_allowed_is_let_in(spool):
    with page(spool, "--allow-host", "queue.example.org") as web:
        named = {"Host": "queue.example.org", "Origin": "http://queue.example.org"}
        assert web.post("/pause", headers=named).status == 200
        assert web.get("/status", headers={"Host": "queue.example.org.evil.example"}).status == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "http://localhost:1", ""])
def test_another_origin_changes_nothing(web, spool, origin):
    for auth in (web.bearer, {**web.login(), "X-Queuectl": "1"}):
        assert web.post("/jobs", ADD, headers={"Origin": origin}, auth=auth).problem == (403, "cross-site")
    assert list(spool.jobs()) == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_what_a_browser_says_comes_from_another_site_is_refused(web, site):
    said = {"Sec-Fetch-Site": site}
    cookie = {**web.login(), "X-Queuectl": "1"}
    assert web.post("/jobs", ADD, headers=said, auth=cookie).problem == (403, "cross-site")
    assert web.get("/status", headers=said, auth=cookie).problem == (403, "cross-site")
    assert web.get("/status", headers={**said, "Sec-Fetch-Mode": "navigate"}, auth=cookie).problem == (403, "cross-site")
    assert web.ask("GET", "/static/index.html", headers=said).status == 403


def test_a_link_to_the_page_may_be_followed_from_anywhere(web):
    said = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert web.ask("GET", "/", headers=said, auth=web.login()).status == 200


def test_with_the_cookie_a_change_needs_the_header_that_no_form_can_send(web, spool):
    assert web.post("/jobs", ADD, auth=web.login()).problem == (403, "csrf")
    assert web.post("/jobs", ADD, auth={**web.login(), "X-Queuectl": "1", "Origin": f"http://{web.host}"}).status == 201
    assert len(list(spool.jobs())) == 1


def test_no_other_site_is_told_that_it_may_ask(web):
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = web.ask("OPTIONS", "/api/v1/jobs", headers=preflight, auth={})
    assert answer.status == 403
    assert [name for name in answer.headers if name.startswith("access-control")] == []


def test_who_has_stolen_the_token_is_out_when_its_file_is_gone(web):
    stolen, cookie = web.bearer, web.login()
    web.token_file.unlink()
    until(lambda: web.get("/status", auth=stolen).status == 401, "the token to be no good")
    assert web.get("/status", auth=cookie).status == 401
    assert web.ask("GET", re.search("/login.*", web.link)[0], auth={}).status == 403


def test_who_listens_is_out_too_when_the_tokens_file_is_gone(web):
    with web.events() as following:
        web.token_file.unlink()
        while following():
            pass


def test_a_new_token_in_the_file_is_the_only_good_one(web):
    stolen, cookie = web.bearer, web.login()
    web.token_file.unlink()
    web.token_file.write_text("another-token-of-many-letters\n")
    web.token_file.chmod(0o600)
    until(
        lambda: web.get("/status", auth={"Authorization": "Bearer another-token-of-many-letters"}).status == 200, "the new token"
    )
    assert (web.get("/status", auth=stolen).status, web.get("/status", auth=cookie).status) == (401, 401)


def test_a_token_that_others_can_read_lets_nobody_in(web, spool):
    web.token_file.chmod(0o644)
    until(lambda: web.get("/status").status == 401, "the token to be no good")
    done = queuectl("web", spool=spool)
    assert (done.returncode, "others can read" in done.stderr) == (1, True)


def test_a_file_of_anything_else_in_the_tokens_place_is_refused(spool, tmp_path):
    for name, content in (("short", "x"), ("empty", ""), ("long", "x" * 500), ("two", "words of more than twenty letters")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
        done = queuectl("web", "--token-file", tmp_path / name, spool=spool)
        assert (done.returncode, "holds no token" in done.stderr) == (1, True)
    (tmp_path / "link").symlink_to(tmp_path / "short")
    assert queuectl("web", "--token-file", tmp_path / "link", spool=spool).returncode == 1


def test_the_tokens_file_is_for_its_user_only(web):
    found = web.token_file.stat()
    assert (found.st_mode & 0o777, len(web.token) > 40) == (0o600, True)


def test_in_a_shared_spool_the_token_lies_elsewhere(tmp_path):
    import grp
    import os

    from jobspool import Spool

    spool = Spool.init(tmp_path / "shared", grp.getgrgid(os.getgid()).gr_name)
    runtime = tmp_path / "run"
    runtime.mkdir()
    words = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    import subprocess

    from kit import QUEUECTL

    process = subprocess.Popen([*QUEUECTL, "--spool", spool.root, "web"], stdout=subprocess.PIPE, env=words)
    try:
        token = re.search("token=(.*)", process.stdout.readline().decode())[1]
        [path] = (runtime / "queuectl").iterdir()
        assert (path.read_text().strip(), path.stat().st_mode & 0o777) == (token, 0o600)
        assert not os.path.lexists(f"{spool.root}/web.token")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_read_only_only_shows(spool):
    spool.add("true", id="x")
    with page(spool, "--read-only") as web:
        changes = (("PUT", "/jobs/y", ADD), ("POST", "/jobs/x/hold", {}), ("DELETE", "/jobs/x", None), ("POST", "/pause", {}))
        changes += (("PATCH", "/jobs/x", {"priority": 1}), ("POST", "/dead/purge", {"all": True}), ("POST", "/undo/x", None))
        answers = [web.ask(method, f"/api/v1{path}", body).problem for method, path, body in changes]
        assert answers == [(403, "read-only")] * len(changes)
        assert (web.get("/status").json["read_only"], web.post("/check", ADD).status) == (True, 200)
        assert {action["possible"] for action in web.get("/jobs/x").json["actions"]} == {False}
    assert [job.id for job in spool.jobs()] == ["x"]


def test_each_answer_tells_browsers_to_trust_nothing_else(web):
    for answer in (
        web.get("/status"),
        web.ask("GET", "/"),
        web.get("/nothing"),
        web.get("/status", auth={}),
        web.ask("GET", "/login"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert web.get("/status").headers["cache-control"] == "no-store"


def test_only_this_machine_can_reach_it_unless_told(web):
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = [words[1] for words in listening if words[3] == "0A" and int(words[1].partition(":")[2], 16) == web.port]
    assert ours == [f"0100007F:{web.port:04X}"]


def test_who_listens_for_others_is_warned(spool):
    with page(spool, "--host", "0.0.0.0") as web:
        assert web.get("/status", headers={"Host": f"localhost:{web.port}"}).status == 200
    done = queuectl("web", "--host", "203.0.113.1", spool=spool)
    assert (done.returncode, "can't listen at 203.0.113.1" in done.stderr, "not encrypted" in done.stderr) == (1, True, True)
