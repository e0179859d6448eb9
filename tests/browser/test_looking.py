"""What the page shows: the whole spool, and one job with its log, live, while real workers work."""

import json
import time
from pathlib import Path

from kit import comes_to, drop, pool, queuectl, until

from jobspool.job import iso

COLOURS = r"printf '\033[31mred\033[0m \033[1;38;5;208morange\033[0m \033[38;2;10;20;30mnavy\033[0m\n10%%\r100%% done\nplain\n'"


def test_the_overview_says_what_is_there_and_follows_live(window, spool):
    window.open("/")
    window.see("No worker is running")
    window.see("queuectl start")
    spool.add("true")
    window.see("1 job waits")
    spool.add("sh -c 'echo broken >&2; exit 3'", max_retries=0)
    with pool(spool, 2):
        window.see("2 workers, idle. Nothing waits.")
        window.until(lambda: window.text(".counts .done b") == window.text(".counts .dead b") == "1", "one done and one dead")
        window.see("exit 3", ".reasons")
        window.see("1 done", ".plots")
        window.see("dead", ".changes")
        assert window.driver.title == "Overview ✕1 · queuectl"
        spool.add("sleep 60", name="the long one")
        window.see("1 busy")
        window.see("sleep 60", ".workers")


def test_a_plot_can_be_read_as_a_table(view, shop):
    spool, _ = shop
    spool.add("true")
    view.open("/")
    view.see("1 added", ".plots")
    view.run("document.querySelector('.plot summary').focus()")
    view.press("\ue007")
    view.until(lambda: view.count(".plot:first-child tbody tr") == 60, "a row for each minute")
    assert "0 done, 0 failed, 1 added" in view.run("return document.querySelector('.canvas').getAttribute('aria-label')")


def test_pause_and_resume_say_the_command(view, shop):
    spool, _ = shop
    view.open("/")
    view.click(".now button", "Pause")
    view.type("dialog input", "backup until 6")
    view.see("$ queuectl pause --reason 'backup until 6'", "dialog")
    view.click("dialog button", "Pause")
    view.see("Paused (backup until 6)")
    assert Path(spool.root, "paused").read_text().strip() == "backup until 6"
    view.click(".now button", "Resume")
    view.see("queuectl resume", ".toasts")
    until(lambda: not Path(spool.root, "paused").exists(), "it to go on")


def test_the_list_is_paged_and_searched_on_the_server(window, spool):
    for i in range(120):
        spool.add(f"echo number-{i}", name=f"job {i}", tags=["odd" if i % 2 else "even"])
    window.open("/jobs")
    window.until(lambda: window.count("tbody tr") == 50, "a page")
    window.click("a", "next 50")
    window.until(lambda: window.run("return location.search").startswith("?after="), "the next page")
    window.see("number-60", "tbody")
    window.press("n")
    window.until(lambda: window.count("tbody tr") == 20, "the last page")
    window.press("/")
    window.press("command:number-77", "\ue007")
    window.see("1 found")
    assert (window.text("td.command .name"), window.text("td.command code")) == ("job 77", "echo number-77")
    window.open("/jobs?q=tag:odd&state=pending")
    window.until(lambda: window.count("tbody tr") == 50, "those that are odd")
    window.open("/jobs?q=name:%22job+1%22")
    window.see("1 found")
    window.open("/jobs?q=nowhere")
    window.see("nothing found")


def test_the_list_follows_live_but_not_under_the_hand(window, spool):
    first = spool.add("true")
    window.open("/jobs")
    window.see(first.handle, "tbody")
    second = spool.add("true")
    window.see(second.handle, "tbody")
    window.press("j")
    window.until(lambda: window.focused() == second.handle, "the first row to be chosen")
    third = spool.add("true")
    window.see("changed: show", ".bar")
    assert third.handle not in window.text("tbody")
    window.press(".")
    window.see(third.handle, "tbody")
    assert window.focused() == second.handle


def test_a_job_shows_why_and_each_attempt(view, shop):
    spool, _ = shop
    tried = {
        "number": 1,
        "started": iso(time.time() - 60),
        "ended": iso(time.time() - 58),
        "duration": 2.0,
        "exit": 7,
        "reason": "exit 7",
    }
    last = {
        "number": 2,
        "started": iso(time.time() - 30),
        "ended": iso(time.time() - 29),
        "duration": 1.0,
        "signal": "KILL",
        "reason": "killed by KILL",
    }
    record = {
        "command": "make all",
        "name": "the build",
        "attempts": [{**tried, "verdict": "failed"}, {**last, "verdict": "dead"}],
        "meta": {"a": 1},
    }
    drop(spool, "tried", record, "dead")
    view.open("/job/tried")
    view.see("tried", "h1")
    view.see("It died")
    view.see("the build")
    assert view.text(".attempts .reason").splitlines() == ["killed by KILL", "exit 7"]
    view.see("+28 s", ".attempts")
    assert "2 attempts in 31 s" in view.run("return document.querySelector('.strip [role=img]').getAttribute('aria-label')")
    view.see('{"a":1}', ".words")
    view.click("summary", "the job's file")
    view.see('"meta"', ".file")


def test_a_log_has_its_colours_and_no_other_control(view, shop):
    spool, _ = shop
    spool.add(COLOURS, id="colours")
    with pool(spool):
        comes_to(spool, "colours", "done")
    view.open("/job/colours")
    view.see("plain", ".log")
    assert view.text(".ln").splitlines() == ["red orange navy", "100% done", "plain"]
    assert view.run("return document.querySelector('.ln .f1').textContent") == "red"
    assert view.run("return document.querySelector('.ln .bold.rgb').textContent") == "orange"
    colour = view.run("return getComputedStyle([...document.querySelectorAll('.ln .rgb')].at(-1)).color")
    assert colour != "rgb(10, 20, 30)" or view.run("return matchMedia('(prefers-color-scheme: light)').matches")


def test_a_running_job_is_followed_to_its_end(window, spool):
    gate = Path(spool.root, "gate")
    job = spool.add(f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo over; exit 4", max_retries=0)
    with pool(spool):
        window.open(f"/job/{job.id}")
        window.see("begun", ".log")
        window.see("processing", ".jobhead")
        gate.touch()
        window.see("over", ".log")
        window.see("dead", ".jobhead")
        window.see("exit 4", ".attempts")
        window.see("Retry", ".acts")


def test_a_long_log_is_searched_where_it_is_not_shown(view, shop):
    spool, _ = shop
    spool.add("seq 200000; echo the needle; seq 200000", id="long-log")
    with pool(spool):
        comes_to(spool, "long-log", "done")
    view.open("/job/long-log")
    view.see("200000", ".log")
    assert view.count(".ln") <= 4000
    view.press("l")
    view.press("NEEDLE", "\ue007")
    view.see("1 of 1", ".logbar")
    view.see("the needle", ".ln.here")
    view.until(lambda: view.run("return [...CSS.highlights.get('found')].length") == 1, "the match to be marked")
    view.click("button", "to the end")
    view.until(lambda: view.run("return document.querySelector('.lines').lastElementChild.textContent") == "200000", "the end")
    view.click("button", "earlier lines")
    assert view.count(".ln") <= 4001


def test_a_log_is_downloaded_whole(view, shop, tmp_path):
    spool, _ = shop
    spool.add("seq 30000", id="loaded")
    with pool(spool):
        comes_to(spool, "loaded", "done")
    view.open("/job/loaded")
    view.see("30000", ".log")
    view.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    view.click("a", "download")
    whole = "".join(f"{i}\n" for i in range(1, 30001))
    until(lambda: [path for path in tmp_path.iterdir() if path.suffix == ".out" and path.read_text() == whole], "the log")


def test_groups_schedules_and_batches_are_shown(view, shop):
    spool, _ = shop
    queuectl("group", "crawl", "--concurrency", "2", "--rate", "10/m", spool=spool, check=True)
    queuectl("schedule", "add", "nightly", "--cron", "30 2 * * *", "backup /home", spool=spool, check=True)
    drop(spool, "frame-1", {"command": "true", "batch": "film", "group": "crawl"})
    drop(spool, "frame-2", {"command": "true", "batch": "film"}, "done")
    view.open("/groups")
    view.see("1/2")
    view.see("10/m")
    view.see("backup /home")
    view.open("/")
    view.see("1 of 2")
    view.see("nightly")


def test_what_is_no_job_is_shown_with_the_reason(view, shop):
    spool, _ = shop
    drop(spool, "odd", b'{"comand": "true"}', "dead")
    view.open("/job/odd")
    view.see("comand")
    assert json.loads(view.run("return document.querySelector('.file').textContent")) == {"comand": "true"}
