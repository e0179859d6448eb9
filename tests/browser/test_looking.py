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
    window.see("1 job is pending")
    spool.add("sh -c 'echo broken >&2; exit 3'", max_retries=0)
    with pool(spool, 2):
        window.see("2 workers, idle. Nothing is pending.")
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


def test_the_axis_of_a_plot_holds_the_longest(window, spool):
    recent = {"job": "waited", "from": "pending", "to": "processing", "by": "worker", "worker": "w"}
    lines = [
        {"time": iso(time.time() - 60 * i), "event": "claimed", **recent, "attempt": 1, "waited": 68.0 if i == 9 else 1.0}
        for i in range(20, 0, -1)
    ]
    folder = Path(spool.root, "journal")
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "00000001.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    window.open("/")
    window.see("68 s at most", ".plots")
    assert window.text(".ytop").splitlines()[1] == "90 s"
    assert (
        min(
            float(each.split(",")[1])
            for each in window.run("return document.querySelector('polyline.longest')").get_attribute("points").split()
        )
        > 0
    )


def test_a_change_is_told_once(window, spool):
    spool.add("true", id="told-once")
    window.open("/")
    window.see("told-once", ".changes")
    event = window.driver.execute_async_script(
        "const done = arguments[0]; fetch('/api/v1/events?last=1', {headers: {'X-Queuectl': '1'}}).then((said) => said.json()).then((said) => done(said.events[0]))"
    )
    window.driver.execute_async_script(
        """
        const [event, done] = arguments;
        import("/static/live.js").then(({live}) => {
          live.dispatchEvent(new CustomEvent("change", {detail: {events: [event]}}));
          requestAnimationFrame(() => requestAnimationFrame(done));
        });
        """,
        event,
    )
    assert window.text(".changes .open").split() == ["told-once"]


OLD_LISTS = """
    const done = arguments[0], ask = window.fetch, known = new Map();
    const asked = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => name.includes("/jobs?"));
    window.fetch = async (address, given) => known.get(new URL(address, location).href)?.clone() ?? ask(address, given);
    Promise.all(asked.map(async (name) => known.set(name, await ask(name, {headers: {"X-Queuectl": "1"}})))).then(() => done());
"""  # lists of jobs are as they are now, and get no newer


def test_what_runs_does_not_wait(window, spool):
    job = spool.add("sleep 60")
    window.open("/")
    window.see(job.handle, ".short")
    window.driver.execute_async_script(OLD_LISTS)
    with pool(spool):
        window.see(job.handle, ".workers")
        window.see("nothing waits")
        assert job.handle not in window.text(".short")


def test_times_grow_old_where_they_stand(view, shop):
    spool, _ = shop
    died = [{"number": 1, "started": iso(time.time() - 6), "ended": iso(time.time() - 5), "reason": "exit 1", "verdict": "dead"}]
    drop(spool, "grows-old", {"command": "false", "attempts": died}, "dead")
    view.open("/dead")
    view.see("grows-old", "tbody")
    for css in ("tbody tr[data-key='grows-old'] td.when", ".choose .when"):
        before = view.text(css)
        view.until(lambda css=css, before=before: view.text(css) != before, f"{css} to say more than {before!r}")


def test_a_job_that_is_not_there_has_no_empty_headings(view, shop):
    view.forgiving = True  # 404 stands in the console
    view.open("/job/never-was")
    view.see("There is no job never-was")
    assert (
        view.run("return [...document.querySelectorAll('main h2, main pre')].filter((each) => each.checkVisibility()).length")
        == 0
    )


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


def test_who_scrolls_up_follows_no_more_until_the_end_is_seen_again(window, spool):
    gates = [Path(spool.root, f"gate-{number}") for number in (1, 2)]
    wait = "while [ ! -e {} ]; do sleep 0.05; done; seq 50; echo after {};"
    job = spool.add("seq 500; " + "".join(wait.format(gate, gate.name) for gate in gates) + "sleep 60")
    pane = "const pane = document.querySelector('.log'); "

    def follows():
        return window.run("return document.querySelector('.logbar label.check input').checked")

    with pool(spool):
        window.open(f"/job/{job.id}")
        window.see("500", ".log")
        assert follows()
        window.run(pane + "pane.scrollTop = 100")
        window.until(lambda: not follows(), "the tick to go")
        gates[0].touch()
        window.see("after gate-1", ".log")
        assert (follows(), window.run(pane + "return pane.scrollTop")) == (False, 100)
        window.run(pane + "pane.scrollTop = pane.scrollHeight")
        window.until(follows, "the tick to come back")
        gates[1].touch()
        window.see("after gate-2", ".log")
        window.until(lambda: window.run(pane + "return pane.scrollHeight - pane.scrollTop - pane.clientHeight") < 24, "the end")


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
    view.see("0 of 2 running, 1 waiting")


def test_what_is_no_job_is_shown_with_the_reason(view, shop):
    spool, _ = shop
    drop(spool, "odd", b'{"comand": "true"}', "dead")
    view.open("/job/odd")
    view.see("comand")
    assert json.loads(view.run("return document.querySelector('.file').textContent")) == {"comand": "true"}
