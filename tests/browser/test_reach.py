"""Who can use the page: by keyboard alone, by a screen reader as far as axe can tell, on a telephone, in the dark and in the light."""

import pytest
from browser.test_doing import lay
from kit import drop, pool, queuectl, until, where

VIEWS = [
    "/",
    "/jobs",
    "/jobs?q=nothing-like-it",
    "/dead",
    "/add",
    "/groups",
    "/job/reached",
    "/job/reached-done",
    "/job/not-there",
]
TAB, ENTER, ESCAPE, SHIFT_TAB = "\ue004", "\ue007", "\ue00c", "\ue008\ue004"


@pytest.fixture(scope="module")
def furnished(shop):
    """A spool with something in each view."""
    spool, _ = shop
    lay(spool, "reached", "dead", "printf 'x'")
    with open(spool.log_path("reached", 1, "err"), "w") as log:
        log.write(
            "\033[31mred\033[0m \033[2mdim\033[0m \033[44;33mpainted\033[0m \033[38;5;17mdark blue\033[0m \033[7minverse\033[0m\n"
        )
        log.write("".join(f"\033[{code}mcolour {code}\033[0m\n" for code in (*range(30, 38), *range(90, 98))))
    queuectl("group", "crawl", "--concurrency", "2", spool=spool, check=True)
    lay(spool, "reached-failed", "failed")
    lay(spool, "reached-held", "held")
    drop(spool, "reached-batch", {"command": "true", "batch": "film", "group": "crawl", "tags": ["one"], "env": {"A": "b"}})
    lay(spool, "reached-done", "done")
    with pool(spool, 1):
        yield


def at_rest(view, path):
    view.open(path)
    view.until(lambda: not view.count("main[aria-busy]"), "the view")
    view.until(lambda: view.count("main tbody tr, main .log .ln, main textarea, main .quiet, main h1"), path)
    view.until(lambda: view.text("#link").strip() == "live", "the link")


@pytest.mark.parametrize("path", VIEWS)
def test_axe_finds_nothing(view, furnished, path):
    view.forgiving = path == "/job/not-there"
    at_rest(view, path)
    for theme in ("dark", "light"):
        view.theme(theme)
        assert view.axe() == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_in_what_opens(view, furnished, theme):
    view.theme(theme)
    at_rest(view, "/dead")
    view.click("[data-key='reached'] a")
    view.see("dark blue", ".look .log")
    view.click(".look button", "Edit")
    view.find(".look textarea")
    assert view.axe() == []
    view.press(ESCAPE)
    view.press("?")
    view.find("dialog.keys")
    assert view.axe() == []
    view.press(ESCAPE)
    view.click("button", "Remove all")
    view.find("dialog .danger")
    assert view.axe() == []


@pytest.mark.parametrize("path", VIEWS)
def test_nothing_is_wider_than_the_window(view, furnished, path):
    view.forgiving = path == "/job/not-there"
    at_rest(view, path)
    for width in (390, 820, 1280):
        view.wide(width, 800)
        assert view.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
        hidden = view.run(
            "return [...document.querySelectorAll('main button, main a, main input')].filter((each) => each.offsetParent &&"
            " each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.log, .scroll')).map((each) => each.outerHTML.slice(0, 99))"
        )
        assert hidden == []


def test_long_ids_are_cut_and_their_reason_stays(window, spool):
    for i in range(3):
        id = f"{i}-{'a-very-long-id-' * 6}"
        spool.add("exit 3", id=id, max_retries=0)
    with pool(spool):
        until(lambda: len(list(spool.jobs("dead"))) == 3, "three to die")
    window.open("/")
    window.see("exit 3", ".reasons")
    window.until(lambda: window.count(".examples a") == 3, "the examples")
    for width in (390, 820, 1280):
        window.wide(width, 800)
        assert window.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
        shown, whole = window.run(
            "const reason = document.querySelector('.reasons .open'); return [reason.clientWidth, reason.scrollWidth]"
        )
        assert shown >= whole > 20


def test_no_word_runs_into_the_next_in_the_list_of_jobs(window, spool):
    job = spool.add("sleep 60")
    with pool(spool):
        until(lambda: where(spool, job.id) == ["processing"], "it to run")
        window.open("/jobs")
        window.see("processing", "tbody")
        for width in (390, 820, 1280):
            window.wide(width, 800)
            word, name = window.run(
                "return ['.state', 'a.open'].map((css) => document.querySelector(`tbody ${css}`).getBoundingClientRect()).map((box) => [box.left, box.right])"
            )
            assert word[1] < name[0]


def test_each_change_of_a_job_stands_on_one_line_and_each_time_too(window, spool):
    queuectl("enqueue", "--id", "laid-out", "--max-retries", "0", "exit 3", spool=spool, check=True)
    with pool(spool):
        until(lambda: where(spool, "laid-out") == ["dead"], "it to die")
    window.open("/job/laid-out")
    window.see("queuectl enqueue", ".changes")
    lines = window.run(
        "return [...document.querySelectorAll('.changes li')].map((line) => [line.querySelector('time'), line.querySelector('.who')]"
        ".map((part) => part.getBoundingClientRect())).map(([time, who]) => [Math.abs(time.bottom - who.bottom) < 5, who.right])"
    )
    assert len(lines) == 3
    assert {tuple(line) for line in lines} == {(True, lines[0][1])}
    heights = window.run("return [...document.querySelectorAll('.words .date')].map((each) => each.offsetHeight)")
    assert len(heights) == 2
    assert max(heights) < 30  # px: one line
    track = window.run("return getComputedStyle(document.querySelector('.attempts progress')).backgroundColor")
    assert track == "rgb(35, 42, 50)"


def test_the_keys_are_named_where_nothing_hovers(window):
    window.open("/")
    window.press("?")
    window.find("dialog.keys")
    rules = "return [...document.styleSheets[0].cssRules].filter((rule) => rule.media?.mediaText === '(hover: none)').flatMap((rule) => [...rule.cssRules]).map((rule) => rule.selectorText)"
    hiding = [rule for rule in window.run(rules) if "kbd" in rule]
    assert hiding
    assert [window.count(f"dialog {rule}") for rule in hiding] == [0] * len(hiding)
    assert "." in window.text("dialog.keys kbd").splitlines()


def test_a_dead_job_is_found_mended_and_retried_by_keys_alone(window, spool):
    lay(spool, "by-keys", "dead", "flase")
    window.open("/")
    window.press("g", "d")
    window.see("by-keys", "tbody")
    window.press("j")
    window.until(lambda: window.focused() == "by-keys", "the row to be chosen")
    window.press(ENTER)
    window.see("flase", ".look pre")
    window.press("e")
    window.until(lambda: window.focused("return document.activeElement.name") == "command", "the command to be edited")
    from selenium.webdriver import ActionChains

    ActionChains(window.driver).key_down("\ue009").send_keys("a").key_up("\ue009").send_keys("true").key_down("\ue009").send_keys(
        ENTER
    ).key_up("\ue009").perform()
    until(lambda: where(spool, "by-keys") == ["pending"], "it to wait again")
    window.see("tried again", ".toasts")
    window.press("u")
    until(lambda: where(spool, "by-keys") == ["dead"], "it to be put back")


def test_everything_is_reached_by_tab_and_the_focus_is_seen(view, furnished):
    at_rest(view, "/job/reached")
    view.run("document.activeElement.blur()")
    wanted = view.run(
        "return [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]"
        ".filter((each) => each.checkVisibility({visibilityProperty: true}) && !each.closest('details:not([open]) > :not(summary)')).length"
    )
    seen = set()
    for _ in range(wanted + 3):
        view.press(TAB)
        seen.add(
            view.run("const each = document.activeElement; each.dataset.seen ??= String(Math.random()); return each.dataset.seen")
        )
        assert view.run(
            "const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none' || document.activeElement === document.body"
        )
    assert len(seen) >= wanted


def test_the_first_tab_skips_to_the_content(view, furnished):
    at_rest(view, "/jobs")
    view.run("document.activeElement.blur()")
    view.press(TAB)
    assert view.focused() == "Skip to the content"
    view.press(ENTER)
    assert view.focused("return document.activeElement.id") == "main"


def test_a_dialog_gives_the_focus_back(view, furnished):
    at_rest(view, "/job/reached-held")
    view.click(".acts button", "Cancel")
    view.find("dialog input")
    view.press(ESCAPE)
    view.until(lambda: view.count("dialog") == 0, "the dialog to go")
    assert view.focused().startswith("Cancel")


def test_single_keys_can_be_switched_off(view, furnished):
    at_rest(view, "/")
    view.press("?")
    view.click("dialog.keys input")
    view.press(ESCAPE)
    view.press("g", "j")
    assert view.run("return location.pathname") == "/"
    view.run("localStorage.removeItem('queuectl-keys')")


def test_dark_and_light_are_the_systems_or_chosen(view, furnished):
    at_rest(view, "/")
    dark = view.run("return getComputedStyle(document.body).backgroundColor")
    view.theme("light")
    light = view.run("return getComputedStyle(document.body).backgroundColor")
    assert dark != light
    view.press("t")
    view.until(lambda: view.run("return getComputedStyle(document.body).backgroundColor") == dark, "dark")
    at_rest(view, "/jobs")
    assert view.run("return getComputedStyle(document.body).backgroundColor") == dark
    view.press("t", "t")
    assert view.run("return getComputedStyle(document.body).backgroundColor") == light


def test_what_changes_is_told_to_a_screen_reader_but_seldom(window, spool):
    job = spool.add("sleep 0.2")
    window.open(f"/job/{job.id}")
    window.see("pending", ".jobhead")
    window.run(
        "window.heard = []; new MutationObserver(() => heard.push(document.getElementById('says').textContent)).observe(document.getElementById('says'), {childList: true, characterData: true, subtree: true})"
    )
    with pool(spool):
        window.see("done", ".jobhead")
    window.until(lambda: f"{job.handle} is done" in window.run("return heard"), "it to be told")
    assert len([each for each in window.run("return heard") if each]) <= 3
