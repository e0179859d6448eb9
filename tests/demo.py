"""What `make demo` shows: real workers run real jobs through every state, and each must end where it should.

Each command is printed before it runs, as a person would type it. `make demo WEB=1` goes on: workers and the page run until
Ctrl-C, with a few jobs more, one of which has failed and is easily mended.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent
DEMO = TOP / ".demo"
SPOOL = DEMO / "spool"

TWICE = 'test "$QUEUECTL_ATTEMPT" -ge 3 || { echo "not yet" >&2; exit 1; }; echo "third time lucky"'
DEAF = "trap '' TERM; echo 'I ignore TERM'; while :; do sleep 1; done"

# id, words after `queuectl enqueue --id ID`, and the state in which the job must end
JOBS = (
    ("succeeds", ["echo 'Hello World'"], "done"),
    ("fails-twice", [TWICE], "done"),
    ("never-works", ["ls /nowhere", "--max-retries", "2"], "dead"),
    ("too-slow", ["sleep 60", "--timeout", "1", "--max-retries", "0"], "dead"),
    ("deaf", [DEAF, "--timeout", "1", "--max-retries", "0"], "dead"),
    ("no-shell", ["--", "printf", "%s\\n", "a file name.txt"], "done"),
)

# id, words after `queuectl enqueue --id ID`: what the page has to show
REPORT = "echo 'the orders of November:'; sleep 1; wc -l orders/2026-11.cvs"
FRAMES = 'for i in $(seq 100); do echo "frame $i"; echo "{\\"progress\\": $i}" > "$QUEUECTL_RESULT"; sleep 1; done'
SHOWN = (
    ("monthly-report", [REPORT, "--name", "the monthly report", "--max-retries", "1"]),
    ("long", [FRAMES, "--name", "a film of 100 frames"]),
    ("later", ["echo 'good morning'", "--delay", "1h"]),
    ("colours", [r"for i in $(seq 16 231); do printf '\033[38;5;%dm%d\033[0m ' $i $i; done; echo"]),
)


def main() -> int:
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    os.chdir(DEMO)
    os.environ["PATH"] = f"{bin_with_queuectl()}:{os.environ['PATH']}"
    os.environ.pop("QUEUECTL_SPOOL", None)

    say("A spool is a directory. Short waits, for a demo: retry n comes 1 ** n seconds after a failure.")
    run("queuectl init")
    run("queuectl config --key backoff_base --value 1")
    run("queuectl config --key grace --value 1")

    say("Jobs come by command ...")
    for id, words, _ in JOBS:
        options, command = ([], words) if words[0] == "--" else (words[1:], words[:1])
        run(" ".join(map(quoted, ["queuectl", "enqueue", *options, "--id", id, *command])))
    say("... or by mv, from any tool that can write a file:")
    run("""echo '{"command": "date +%A; sleep 1", "priority": 5}' > dropped.json""")
    run("mv dropped.json spool/pending/")
    run("queuectl list")

    say("Three workers, until nothing is left to do or to wait for:")
    run("queuectl start --count 3 --drain")

    say("Where everything is now:")
    run("queuectl status", expect=3)
    run("ls spool/pending spool/processing spool/done spool/failed spool/dead")
    run("queuectl dlq list")
    run("queuectl show fails-twice")
    run("queuectl logs fails-twice")
    return judge() or (show_page() if os.environ.get("WEB", "0") not in ("", "0") else 0)


def bin_with_queuectl() -> Path:
    """Make a directory with a `queuectl` that runs this checkout with this Python."""
    folder = DEMO / "bin"
    folder.mkdir()
    script = folder / "queuectl"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(TOP / "queuectl.py"))} "$@"\n')
    script.chmod(0o755)
    return folder


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def quoted(word: str) -> str:
    """Quote the word for a shell as a person would."""
    return f'"{word}"' if "'" in word and not set('"$`\\!') & set(word) else shlex.quote(word)


def run(line: str, expect: int = 0) -> None:
    print(f"$ {line}", flush=True)
    status = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL).returncode
    if status != expect:
        raise SystemExit(f"demo: that ended with {status}, not {expect}")


def show_page() -> int:
    """Serve the page with workers behind it until Ctrl-C."""
    say("Now in a browser. A few jobs more, of which one fails:")
    orders = DEMO / "orders"
    orders.mkdir()
    (orders / "2026-11.csv").write_text("".join(f"{number},42.00\n" for number in range(1, 312)))
    for id, words in SHOWN:
        run(" ".join(map(quoted, ["queuectl", "enqueue", *words[1:], "--id", id, *words[:1]])))
    run(
        f"queuectl enqueue --batch film --array 1-30 {quoted('sleep $((QUEUECTL_ARRAY_INDEX % 5)).5; echo frame $QUEUECTL_ARRAY_INDEX')} | tail -n 1"
    )
    run("queuectl start --count 3 --detach")
    say("Open the link. Why is there no monthly report? Mend its job, and try it again. Ctrl-C ends the page and the workers:")
    print("$ queuectl web", flush=True)
    page = subprocess.Popen(["queuectl", "web"], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return page.wait()
    except KeyboardInterrupt:
        page.terminate()
        page.wait()
        return 0
    finally:
        run("queuectl stop --now")


def judge() -> int:
    """Return 0 if each job ended where it should, having said so."""
    say("Did each job end where it should?")
    wrong = 0
    for id, state in [(id, state) for id, _, state in JOBS] + [("dropped", "done")]:
        path = SPOOL / state / f"{id}.json"
        ended = path.exists() and json.loads(path.read_text())["attempts"][-1]["verdict"] == state
        print(f"{'yes' if ended else 'NO '}  {id} is {state}")
        wrong += not ended
    reasons = {id: last_reason(id) for id in ("too-slow", "deaf")}
    if not all(reason.startswith("timeout") for reason in reasons.values()):
        print(f"NO   the timeouts ended what they should: {reasons}")
        wrong += 1
    print("\ndemo: all is as it should be" if not wrong else f"\ndemo: {wrong} things are wrong")
    return 1 if wrong else 0


def last_reason(id: str) -> str:
    path = SPOOL / "dead" / f"{id}.json"
    return json.loads(path.read_text())["attempts"][-1].get("reason", "") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
