"""What the page does: each thing that the command does, with the command line that does the same, and back again where it can be."""

import json
import shlex
from pathlib import Path

import pytest
from kit import comes_to, drop, pool, queuectl, until, where

from jobspool.job import iso

# verb's label, the state that the job is in, what the dialog is given, the command line, and the state that it is in then
ACTIONS = [
    ("Retry", "dead", None, "queuectl retry {}", "pending"),
    ("Retry", "failed", None, "queuectl retry {}", "pending"),
    ("Cancel", "pending", "too slow", "queuectl cancel {} --reason 'too slow'", "dead"),
    ("Hold", "pending", "until Ann looks", "queuectl hold {} --reason 'until Ann looks'", "pending"),
    ("Release", "held", None, "queuectl release {}", "pending"),
    ("Run next", "pending", None, "queuectl front {}", "pending"),
    ("Run last", "pending", None, "queuectl back {}", "pending"),
    ("Priority", "pending", "7", "queuectl priority {} 7", "pending"),
    ("Remove", "done", None, "queuectl rm {}", None),
]
ATTEMPT = {"number": 1, "started": iso(1e9), "ended": iso(1e9 + 1), "duration": 1.0, "exit": 1, "reason": "exit 1"}


def lay(spool, id, state, command="false", reason="exit 1"):
    """A job of a person in that state."""
    record = {"command": command}
    if state == "held":
        record["hold"] = "because"
    if state in ("failed", "dead", "done"):
        record["attempts"] = [{**ATTEMPT, "verdict": state, "reason": reason}]
    return drop(spool, id, record, "pending" if state == "held" else state)


def edit(window, id):
    """Open the dead job, and edit it."""
    window.open(f"/job/{id}")
    window.see("dead", ".jobhead")
    window.press("e")


def read(spool, id):
    state = until(lambda: (where(spool, id) or [None])[0], id)
    return json.loads(Path(spool.path(state, id)).read_text())


@pytest.mark.parametrize(("label", "state", "given", "line", "then"), ACTIONS, ids=lambda value: str(value))
def test_an_action_does_what_its_command_line_does(view, shop, label, state, given, line, then):
    spool, _ = shop
    id = f"a-{label}-{state}".replace(" ", "-").lower()
    lay(spool, id, state)
    view.open(f"/job/{id}")
    shown = view.find(".acts li", label).text
    assert line.split(" {}")[0] in shown
    view.click(".acts button", label)
    if given is not None:
        view.type("dialog input", given)
        view.see(f"$ {line.format(id)}", "dialog")
        view.click("dialog button[type=submit]")
    view.see(id, ".toasts")
    assert ["queuectl", line.split()[1]] == view.text(".toasts .cmd").split()[1:3]
    assert where(spool, id) == ([then] if then else [])
    if label == "Cancel":
        assert "too slow" in read(spool, id)["cancelled"]
    if label == "Hold":
        assert read(spool, id)["hold"] == "until Ann looks"
    if label == "Priority":
        assert read(spool, id)["priority"] == 7


@pytest.mark.parametrize(("label", "state"), [("Retry", "dead"), ("Remove", "done"), ("Cancel", "pending")], ids=str)
def test_an_action_is_undone_by_one_key(view, shop, label, state):
    spool, _ = shop
    id = f"u-{label}".lower()
    before = lay(spool, id, state).read_bytes()
    view.open(f"/job/{id}")
    view.click(".acts button", label)
    if label == "Cancel":
        view.click("dialog button[type=submit]")
    view.find(".toasts button.undo")
    view.press("u")
    view.see("1 job put back", ".toasts")
    assert where(spool, id) == [state]
    assert json.loads(Path(spool.path(state, id)).read_bytes()) == json.loads(before)


def test_a_running_job_is_sent_a_signal_and_cancelled(window, spool):
    job = spool.add("trap 'echo got it' USR1; while :; do sleep 0.05; done")
    with pool(spool):
        comes_to(spool, job.id, "processing")
        window.open(f"/job/{job.id}")
        window.see("processing", ".jobhead")
        window.click(".acts button", "Signal")
        window.run(
            "const menu = document.querySelector('dialog select'); menu.value = 'USR1'; menu.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        window.see(f"queuectl kill -USR1 {job.handle}", "dialog")
        window.click("dialog button[type=submit]")
        window.see("got it", ".log")
        window.click(".acts button", "Cancel")
        window.click("dialog button[type=submit]")
        comes_to(spool, job.id, "dead")
        window.see("dead", ".jobhead")


def test_a_copy_is_added_and_can_be_opened(view, shop):
    spool, _ = shop
    lay(spool, "to-copy", "done", "echo copied")
    view.open("/job/to-copy")
    view.click(".acts button", "Again")
    view.click(".toasts a", "open it")
    view.see("echo copied", "pre.command")
    view.see("pending", ".jobhead")
    assert view.text("h1") != "to-copy"


def test_a_failed_job_is_mended_and_retried(window, spool):
    spool.add("echo before; ls /nowhere", id="broken", max_retries=0)
    with pool(spool):
        comes_to(spool, "broken", "dead")
        window.open("/")
        window.click(".reasons .examples a", "broken")
        window.see("/nowhere", ".log")
        window.press("e")
        window.type(".mender textarea[name=command]", "ls /")
        assert "queuectl retry --edit broken" in window.text(".mender")
        window.click(".mender button", "Save and retry")
        comes_to(spool, "broken", "done")
        window.see("done", ".jobhead")
        window.see("usr", ".log")
    assert read(spool, "broken")["command"] == "ls /"
    assert len(read(spool, "broken")["attempts"]) == 2


def test_what_was_saved_and_retried_is_undone_at_one_go(window, spool):
    spool.add("exit 1", id="broken", max_retries=0)
    queuectl("start", "--drain", spool=spool)
    before = read(spool, "broken")
    edit(window, "broken")
    window.type(".mender textarea[name=command]", "true")
    window.click(".mender button", "Save and retry")
    comes_to(spool, "broken", "pending")
    window.find(".toasts button.undo")
    window.press("u")
    window.see("1 job put back", ".toasts")
    assert (where(spool, "broken"), read(spool, "broken")) == (["dead"], before)


def test_an_edit_that_is_no_job_is_refused_and_kept(view, shop):
    spool, _ = shop
    lay(spool, "mend-me", "dead")
    edit(view, "mend-me")
    view.forgiving = True  # 422 stands in the console
    view.click(".mender summary")
    whole = '{"command": "true", "timout": 3}'
    view.run("document.querySelector('textarea[name=whole]').value = arguments[0]", whole)
    view.run("document.querySelector('.mender details').dispatchEvent(new Event('toggle'))")  # it comes late where much is to do
    view.click(".mender button", "Save")
    view.see("timeout", ".mender .problem")
    assert view.run("return document.querySelector('textarea[name=whole]').value") == whole
    assert "timout" not in read(spool, "mend-me")


def test_a_field_and_the_text_are_edited_beside_each_other(view, shop):
    spool, _ = shop
    lay(spool, "both-ways", "dead")
    edit(view, "both-ways")
    view.type(".mender input[name=timeout]", "9")
    view.click(".mender summary")
    view.run("document.querySelector('textarea[name=whole]').value = arguments[0]", '{"command": "echo text", "timeout": 9}')
    view.type(".mender input[name=max_retries]", "2")
    view.click(".mender button:not([name])", "Save")
    view.see("is saved", ".toasts")
    record = read(spool, "both-ways")
    assert [record.get(word) for word in ("command", "timeout", "max_retries")] == ["echo text", 9, 2]


def test_an_edit_over_somebody_elses_is_refused(view, shop):
    spool, _ = shop
    lay(spool, "two-hands", "dead")
    edit(view, "two-hands")
    view.type(".mender textarea[name=command]", "echo mine")
    lay(spool, "two-hands", "dead", "echo theirs")
    view.forgiving = True  # 412 stands in the console
    view.click(".mender button", "Save")
    view.see("What you typed stays here", ".mender .problem")
    assert read(spool, "two-hands")["command"] == "echo theirs"


# ---- the dead letter queue


@pytest.fixture
def morgue(window, spool):
    """Three that died of one reason and two of another, in a window on the dead letter queue."""
    for i in range(3):
        lay(spool, f"one-{i}", "dead", reason="exit 1")
    for i in range(2):
        lay(spool, f"twelve-{i}", "dead", reason="exit 12")
    window.open("/dead")
    window.until(lambda: window.count("tbody tr") == 5, "the dead")
    return window


def test_the_dead_are_grouped_by_reason_and_a_group_is_retried(morgue, spool):
    assert morgue.text(".group b").split() == ["5", "3", "2"]
    morgue.click(".group", "exit 1")
    morgue.until(lambda: morgue.count("tbody tr") == 3, "those of exit 1 alone")
    morgue.click("button", "Retry these 3")
    morgue.see("3 jobs tried again", ".toasts")
    assert {id: where(spool, id) for id in ("one-0", "one-1", "one-2")} == {
        "one-0": ["pending"],
        "one-1": ["pending"],
        "one-2": ["pending"],
    }
    assert where(spool, "twelve-0") == ["dead"]
    morgue.click("button.undo")
    morgue.see("3 jobs put back", ".toasts")
    assert where(spool, "one-0") == ["dead"]


def test_some_of_the_dead_are_chosen_and_retried(morgue, spool):
    for id in ("one-1", "twelve-0"):
        morgue.click(f"[data-key='{id}'] input")
    morgue.see("Retry 2 chosen")
    assert set(morgue.text(".cmdhold code").split()) == {"queuectl", "dlq", "retry", "one-1", "twelve-0"}
    morgue.click("button", "Retry 2 chosen")
    morgue.see("2 jobs tried again", ".toasts")
    assert (where(spool, "one-1"), where(spool, "twelve-0"), where(spool, "one-0")) == (["pending"], ["pending"], ["dead"])
    morgue.until(lambda: morgue.count("tbody tr") == 3, "the others")


def test_all_of_the_dead_are_removed_and_put_back(morgue, spool):
    morgue.click("button", "Remove all")
    morgue.see("$ queuectl dlq purge --all", "dialog")
    morgue.click("dialog button", "Remove 5")
    morgue.see("5 jobs removed", ".toasts")
    morgue.see("Nothing is dead")
    assert where(spool, "one-0") == []
    morgue.click("button.undo")
    morgue.see("5 jobs put back", ".toasts")
    morgue.until(lambda: morgue.count("tbody tr") == 5, "the dead again")


def test_a_dead_job_is_looked_at_and_mended_in_its_place(morgue, spool):
    Path(spool.log_path("one-2", 1, "err")).write_text("no such file\n")
    morgue.click("[data-key='one-2'] a")
    morgue.see("no such file", ".look .log")
    morgue.click(".look button", "Edit")
    morgue.type(".look textarea[name=command]", "true")
    morgue.click(".look button", "Save and retry")
    until(lambda: where(spool, "one-2") == ["pending"], "it to wait again")
    assert read(spool, "one-2")["command"] == "true"
    morgue.click(".toasts a", "open it")
    morgue.see("one-2", "h1")


# ---- adding


def test_a_command_is_checked_as_it_is_typed_and_added(view):
    view.open("/add")
    view.press("echo 'from the page'")
    view.type("input[name=priority]", "high")
    view.see("priority", ".adder .problem")
    assert view.run("return document.querySelector('input[name=priority]').getAttribute('aria-invalid')") == "true"
    view.type("input[name=priority]", "5")
    view.see("queuectl enqueue", ".adder .cmdhold")
    line = view.text(".adder .cmdhold code")
    view.forgiving = True  # 422 stands in the console
    view.click(".adder button", "Add")
    view.see("is added", ".toasts")
    view.click(".toasts a", "open it")
    view.see("echo 'from the page'", "pre.command")
    assert "--priority" in line
    view.see("5", ".words")


def paste(view, text):
    view.run(
        "const text = document.getElementById('job-text'); text.value = arguments[0]; text.dispatchEvent(new Event('input'))",
        text,
    )


def test_a_wrong_word_is_named_with_the_nearest(view):
    view.forgiving = True
    view.open("/add")
    paste(view, '{"command": "make", "priorty": 1}')
    view.see("priority", ".adder .problem")


def test_what_is_no_json_is_told_in_the_commands_words(view):
    view.forgiving = True
    view.open("/add")
    paste(view, '{"command": }')
    view.see("not JSON: Expecting value: line 1 column 13", ".adder .problem")
    paste(view, '{"command": "true"}\n{"command": "true",}')
    view.see("line 2: not JSON", ".adder .problem")
    view.click(".adder button", "Add")
    view.see("line 2: not JSON", ".adder .problem")
    assert view.count(".toast") == 0


def test_what_is_typed_into_a_field_is_not_called_a_string(view):
    view.forgiving = True
    view.open("/add")
    view.press("true")
    view.type("input[name=timeout]", "abc")
    view.see("timeout must be a number", ".adder .problem")
    assert "string" not in view.text(".adder .problem")
    view.type("input[name=timeout]", "")
    paste(view, '{"command": "true", "timeout": "abc"}')
    view.see("and no string", ".adder .problem")


def test_many_jobs_are_pasted(view, shop):
    spool, _ = shop
    view.open("/add")
    lines = "\n".join(json.dumps({"command": f"echo {i}", "batch": "pasted"}) for i in range(3))
    paste(view, lines)
    view.click(".adder button", "Add 3")
    view.see("3 jobs added", ".toasts")
    assert sum(job.record.get("batch") == "pasted" for job in spool.jobs("pending")) == 3


def drop_files(view, **texts):
    """Drop files on the page; return whether the browser was kept from opening them itself."""
    return view.run(
        """
        const files = new DataTransfer();
        for (const [name, text] of Object.entries(arguments[0])) files.items.add(new File([text], `${name}.json`));
        const dropped = (type) => new DragEvent(type, {dataTransfer: files, bubbles: true, cancelable: true});
        return ["dragover", "drop"].map((type) => !document.querySelector("main").dispatchEvent(dropped(type)));
        """,
        texts,
    )


@pytest.mark.parametrize("path", ["/add", "/", "/job/not-there"])
def test_a_file_is_dropped_and_gives_its_job_its_name(view, shop, path):
    spool, _ = shop
    view.forgiving = "not-there" in path
    view.open(path)
    name = f"from-afar-{len(path)}"
    assert drop_files(view, **{name: '{"command": "echo dropped", "priority": 2}'}) == [True, True]
    view.see("queuectl enqueue", ".adder .cmdhold")
    view.click(".adder button", "Add")
    view.see(f"{name} is added", ".toasts")
    assert [read(spool, name)[word] for word in ("command", "priority")] == ["echo dropped", 2]


def test_many_files_are_dropped_and_an_id_inside_one_counts(view, shop):
    spool, _ = shop
    view.open("/jobs")
    drop_files(view, **{"many-1": '{\n  "command": "true"\n}', "many-2": '{"id": "own-id", "command": "true"}'})
    view.click(".adder button", "Add 2")
    view.see("2 jobs added", ".toasts")
    assert [read(spool, id)["command"] for id in ("many-1", "own-id")] == ["true", "true"]


def test_a_file_that_is_dropped_beside_an_edit_takes_it_not_away(view, shop):
    lay(shop[0], "under-edit", "pending")
    view.open("/job/under-edit")
    view.click(".acts button", "Edit")
    view.find(".mender textarea")
    assert drop_files(view, other='{"command": "true"}') == [True, True]
    assert view.count(".mender") == 1


def test_what_is_shown_as_a_command_line_adds_the_same(view, shop):
    spool, _ = shop
    view.open("/add")
    view.press("printf '%s' \"$HOME\"")
    view.type("input[name=name]", "it's me")
    view.see("--name", ".adder .cmdhold")
    words = shlex.split(view.text(".adder .cmdhold code"))
    id = queuectl(*words[1:], spool=spool, check=True).stdout.split()[0]
    record = until(lambda: read(spool, id), id)
    assert (record["command"], record["name"]) == ("printf '%s' \"$HOME\"", "it's me")
