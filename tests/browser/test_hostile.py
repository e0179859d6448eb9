"""Names, commands and output of somebody who means ill are shown, and nothing of them is run; and who has no right sees nothing."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser.window import Window, web
from kit import drop, pool, until, where

MARKUP = "<script>owned=1<&script><img src=x onerror=owned=1>"
NAMES = {
    "markup": MARKUP,
    "direction": "abc\u202egnp.exe",
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "quotes": "'\"`$(touch owned)`;&|",
    "long": "x" * 200,
    "spaces": "  a  b ",
    "percent": "50%25%2f..%2f",
    "query": "a?b#c&d=e",
    "emoji": "🦊\u200d🦊\ufeff",
    "not utf-8": os.fsdecode(b"caf\xe9 \xff"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_hostile_name_is_shown_and_not_run(view, shop, kind):
    spool, _ = shop
    name = NAMES[kind]
    text = json.dumps({"command": f"echo {MARKUP}", "name": MARKUP if kind == "markup" else "a name", "tags": [MARKUP]})
    path = Path(spool.root, "dead", f"{name}.json")
    path.write_bytes(text.encode())
    view.open("/jobs?q=command:owned")
    view.until(lambda: view.count("tbody tr"), "the job")
    row = view.run("return document.querySelectorAll('tbody tr').length - 1")
    view.run("document.querySelectorAll('tbody tr a.open')[arguments[0]].click()", row)
    view.until(lambda: view.run("return location.pathname.startsWith('/job/')"), "its page")
    view.see("owned=1", "pre.command")
    view.see("dead", ".jobhead")
    shown = view.text("h1")
    assert not set(shown) & {"\u202e", "\x1b", "\x07", "\u200d"}
    if kind in ("markup", "quotes", "long"):
        assert shown == name
    assert view.run(
        "return [typeof owned, document.querySelectorAll('main img, main script').length, document.title.includes('\\u202e')]"
    ) == ["undefined", 0, False]
    view.click(".acts button", "Remove")
    until(lambda: not os.path.lexists(path), "it to be removed")
    view.click("button.undo")
    until(lambda: os.path.lexists(path), "it to be put back")
    path.unlink()


def test_hostile_output_is_shown_and_not_run(window, spool):
    lines = [
        MARKUP,
        "\u202edetrever",
        "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
        "\x1b[999999999;1H\x1b[?1049hgone?",
        "\x00\x01\x9b",
        "a\bb",
        "é".encode().decode(),
    ]
    spool.add(argv=["printf", "%s\n", *[line.replace("\x00", "") for line in lines]], id="loud", max_retries=0)
    with pool(spool):
        until(lambda: where(spool, "loud") == ["done"], "it to print")
    with open(spool.log_path("loud", 1, "out"), "ab") as log:
        log.write(b"\xff\xfe\x00 bytes\n" + b"\x1b[31m" * 5000 + b"\n" + b"y" * 100_000 + b"\n")
    window.open("/job/loud")
    window.see("link", ".log")
    window.see("detrever", ".log")
    window.see("bytes", ".log")
    text = window.text(".log")
    assert MARKUP in text and "gone?" in text
    assert not set(text) & {"\u202e", "\x1b", "\x07"}
    assert window.run("return [typeof owned, document.querySelectorAll('.log img, .log script, .log a').length]") == [
        "undefined",
        0,
    ]


def test_a_hostile_reason_and_group_are_shown(window, spool):
    attempt = {
        "number": 1,
        "started": "2026-01-01T00:00:00Z",
        "ended": "2026-01-01T00:00:01Z",
        "duration": 1,
        "exit": 1,
        "reason": MARKUP,
        "verdict": "dead",
    }
    drop(spool, "why", {"command": "true", "attempts": [attempt], "group": MARKUP, "batch": MARKUP}, "dead")
    drop(spool, "grouped", {"command": "true", "group": MARKUP, "batch": MARKUP, "hold": MARKUP})
    for path in ("/dead", "/groups", "/jobs", "/job/why", "/"):
        window.open(path)
        window.see("owned=1")
        assert window.run("return [typeof owned, document.querySelectorAll('main img, main script').length]") == ["undefined", 0]


# ---- who may look


def ask(served, path, method="GET", **headers):
    request = urllib.request.Request(
        served.origin + path, method=method, headers=headers, data=b"{}" if method == "POST" else None
    )
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def test_who_has_no_cookie_is_told_how_to_get_the_link(view, shop):
    view.forget()
    view.forgiving = True
    view.driver.get(view.web.origin + "/jobs")
    view.see("queuectl web", "body")
    assert view.count("script") == 0
    for theme, background in (("dark", "rgb(15, 18, 22)"), ("light", "rgb(251, 250, 247)")):
        view.theme(theme)
        assert view.run("return getComputedStyle(document.body).backgroundColor") == background
        assert view.axe() == []


def test_the_token_does_not_stay_where_others_see_it(view, shop):
    spool, served = shop
    token = Path(spool.root, "web.token").read_text().strip()
    view.forget()
    view.driver.get(served.link)
    view.see("live", "#link")
    assert token not in view.driver.current_url
    assert view.run("return document.cookie") == ""
    assert token not in view.run(
        "return JSON.stringify([performance.getEntries().map((each) => each.name), document.referrer, {...localStorage}])"
    )
    cookie = view.driver.get_cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert cookie["value"] != token


def test_a_cookie_alone_does_nothing_from_elsewhere(view, shop):
    """A page of another origin in the same browser, which has the cookie, can neither read nor do."""
    import http.server
    import threading

    spool, served = shop
    drop(spool, "victim", {"command": "true"}, "dead")
    attack = f"""<!doctype html><title>foe</title><form action="{served.origin}/api/v1/jobs/victim/retry" method="post" enctype="text/plain"><input name="a"></form>
    <script>window.got = []; const url = "{served.origin}/api/v1";
    const tries = [fetch(url + "/status", {{credentials: "include"}}), fetch(url + "/jobs/victim/retry", {{method: "POST", mode: "no-cors", credentials: "include", body: "{{}}"}}),
      fetch(url + "/jobs/victim/retry", {{method: "POST", credentials: "include", headers: {{"X-Queuectl": "1"}}, body: "{{}}"}})];
    Promise.allSettled(tries).then((all) => window.got = all.map((each) => each.status + (each.value ? each.value.type : "")));</script>"""

    class Foe(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(attack.encode())

        def log_message(self, *_):
            pass

    foe = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foe)
    threading.Thread(target=foe.serve_forever, daemon=True).start()
    try:
        view.driver.get(f"http://localhost:{foe.server_port}/")
        view.until(lambda: view.run("return got.length") == 3, "the attack")
        assert view.run("return got") == ["rejected"] * 3
        view.run("document.forms[0].submit()")
        view.until(lambda: view.run("return location.pathname").endswith("retry"), "the form to be sent")
        view.driver.get(f"http://127.0.0.1:{foe.server_port}/")
        view.until(lambda: view.run("return got.length") == 3, "the attack from the same site")
    finally:
        foe.shutdown()
        foe.server_close()
    assert where(spool, "victim") == ["dead"]
    view.leave()  # the browser has refused it aloud


def test_a_frame_shows_nothing(view, shop):
    _, served = shop
    view.open("/")
    view.forgiving = True
    shown = view.driver.execute_async_script(
        "const done = arguments[1], frame = document.createElement('iframe'); frame.src = arguments[0];"
        "frame.onload = () => { try { done(frame.contentDocument?.querySelectorAll('main *').length ?? 0) } catch { done(0) } }; document.body.append(frame)",
        served.origin + "/",
    )
    assert shown == 0
    view.leave()  # our own policy has refused it, and said so


def test_read_only_shows_and_does_nothing(driver, spool):
    drop(spool, "looked-at", {"command": "true"}, "dead")
    with web(spool, "--read-only") as served:
        window = Window(driver, served)
        window.open("/job/looked-at")
        window.see("only shows", ".actions")
        assert window.count(".acts button") == 0
        window.press("r")
        window.open("/dead")
        window.see("looked-at", "tbody")
        assert [each.text for each in window.all(".deadbar button") if each.is_displayed() and "copy" not in each.text] == []
        window.open("/add")
        window.see("read-only")
        window.see("read-only", "#link")
        assert (where(spool, "looked-at"), window.faults()) == (["dead"], [])
        driver.get("about:blank")
