"""What lasts: ten thousand changes while somebody looks, a server that goes away and comes back, and two tabs."""

import contextlib
import signal
from pathlib import Path

from browser.window import Cable, Window, web
from kit import comes_to, drop, let_pass, pool, until

CHANGES = 10_000
QUICK = """
const real = setTimeout, Source = EventSource;
window.setTimeout = (what, wait, ...more) => real(what, wait === 40_000 ? 2000 : wait, ...more);
window.EventSource = class extends Source {
  constructor(...words) {
    super(...words);
    window.source = this;
  }
};
"""  # a page that is as impatient as a test is


def test_ten_thousand_live_changes_freeze_nothing(window, spool):
    """A job is added, claimed and ends: three changes each."""
    window.open("/")
    window.see("live", "#link")
    window.run("witness.long.length = 0")
    spool.add_many([{"command": "true"} for _ in range(CHANGES // 3 + 1)])
    nodes = []
    with pool(spool, 2):

        def over():
            nodes.append(window.run("return document.querySelectorAll('*').length"))
            return len(list(Path(spool.root, "done").iterdir())) > CHANGES // 3

        until(over, "all to be done", 60)
        window.until(
            lambda: (
                window.run("return document.querySelector('.counts .done b').textContent").replace(",", "")
                == str(CHANGES // 3 + 1)
            ),
            "the count",
        )
    assert max(nodes) < 2500
    assert max(window.run("return witness.long") or [0]) < 2000  # ms: it may be slow on a busy machine, and is never frozen
    window.open("/jobs")
    window.until(lambda: window.count("tbody tr") == 50, "a page")


def test_a_lost_link_is_told_and_found_again(driver, spool):
    drop(spool, "before", {"command": "true"})
    with Cable() as cable, web(spool, "--allow-host", f"127.0.0.1:{cable.port}") as served:
        cable.lay(served.port)
        served.origin = f"http://127.0.0.1:{cable.port}"
        window = Window(driver, served)
        window.open("/jobs")
        window.see("before")
        window.see("live", "#link")
        window.forgiving = True
        cable.cut()
        window.see("can't be reached", "#banner")
        window.see("no link", "#link")
        drop(spool, "meanwhile", {"command": "true"})
        cable.lay(served.port)
        window.see("live", "#link")
        window.see("meanwhile", "tbody")
        assert window.text("#banner") == ""
        drop(spool, "afterwards", {"command": "true"})
        window.see("afterwards", "tbody")
        assert window.faults() == []
        driver.get("about:blank")


@contextlib.contextmanager
def impatient(driver):
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": QUICK})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_a_server_that_hangs_is_told_from_one_that_has_nothing_to_say(window):
    with impatient(window.driver):
        window.open("/")
        window.run("window.life = setInterval(() => source.dispatchEvent(new MessageEvent('alive', {data: '{}'})), 200)")
        window.see("live", "#link")
        let_pass(3)
        assert window.text("#link").strip() == "live"
        window.web.process.send_signal(signal.SIGSTOP)
        try:
            window.run("clearInterval(life)")
            window.see("no link", "#link")
            window.see("can't be reached", "#banner")
        finally:
            window.web.process.send_signal(signal.SIGCONT)
        window.see("live", "#link")


def test_a_page_that_was_started_anew_is_not_told_the_old_ones_secrets(driver, spool):
    """Who listens at its port meanwhile is sent the cookie of a tab that was left open: it is of no use any more."""
    with web(spool) as served:
        window = Window(driver, served)
        window.open("/")
        window.see("live", "#link")
    window.forgiving = True
    with web(spool, port=served.port) as anew:
        window.see("isn't let in any more", "#banner")
        window = Window(driver, anew)
        window.open("/")
        window.see("live", "#link")
        driver.get("about:blank")


def test_a_page_that_is_let_out_says_how_to_get_in_again(driver, spool):
    with web(spool) as served:
        window = Window(driver, served)
        window.open("/")
        window.see("live", "#link")
        window.forget()
        window.forgiving = True
        window.click(".now button", "Pause")
        window.click("dialog button", "Pause")
        window.see("isn't let in any more", "#banner")
        assert not Path(spool.root, "paused").exists()
        driver.get("about:blank")


def test_what_is_done_in_one_tab_is_seen_in_the_other(window, spool):
    drop(spool, "shared", {"command": "sleep 60"})
    window.open("/job/shared")
    window.see("pending", ".jobhead")
    first = window.driver.current_window_handle
    window.driver.switch_to.new_window("tab")
    try:
        window.open("/job/shared")
        window.click(".acts button", "Hold")
        window.click("dialog button[type=submit]")
        window.see("held", ".jobhead")
        second = window.driver.current_window_handle
        window.driver.switch_to.window(first)
        window.see("held", ".jobhead")
        window.click(".acts button", "Release")
        window.driver.switch_to.window(second)
        window.see("pending", ".jobhead")
    finally:
        window.driver.close()
        window.driver.switch_to.window(first)


def test_a_page_that_nobody_sees_lets_its_link_go(window, spool):
    window.open("/")
    window.see("live", "#link")
    window.run(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))"
    )
    drop(spool, "unseen", {"command": "true"})
    window.see("1", ".counts .pending b")  # five seconds are left to it
    let_pass(5.5)
    drop(spool, "unseen-2", {"command": "true"})
    let_pass(1)
    assert window.text(".counts .pending b") == "1"
    window.run(
        "Object.defineProperty(document, 'hidden', {value: false, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))"
    )
    window.see("2", ".counts .pending b")


def test_a_log_that_grows_fast_stays_bounded(window, spool):
    gate = Path(spool.root, "gate")
    job = spool.add(f"seq 300000; while [ ! -e {gate} ]; do sleep 0.05; done; seq 20; echo the end")
    with pool(spool):
        comes_to(spool, job.id, "processing")
        window.open(f"/job/{job.id}")
        window.see("300000", ".log")
        gate.touch()
        window.see("the end", ".log")
        assert window.count(".ln") <= 4001
