"""What `make screenshots` does: a spool with an hour of life in it, real workers, and a picture of each view, at three widths, dark and light.

The hour is made up: what its jobs did stands in the journal and in done/, as if they had run. What the pictures show is the page as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from browser.window import Window, missing, start_browser, web
from kit import TOP, drop, pool, until
from palette import small

from jobspool import Spool
from jobspool.job import iso, new_id

FOLDER = TOP / "docs" / "screenshots"
WIDTHS = (1280, 820, 390)
TALLEST = {1280: 860, 820: 1000, 390: 900}  # pixels
MOST = 150_000  # bytes of a picture
VIEWS = {"overview": "/", "job": "/job/nightly-report", "dead": "/dead", "jobs": "/jobs", "add": "/add"}
SHOWN = ("overview", "job", "dead")  # of which there are pictures without ALL

COMMANDS = (
    *(
        "./thumbs.sh uploads/IMG_{n}.jpg",
        "python manage.py send_invoice {n}",
        "curl -fsS https://feeds.example.org/{n}.xml -o feeds/{n}.xml",
    ),
    *(
        "pg_dump shop_{n} | zstd -T0 > /backup/shop_{n}.sql.zst",
        "ffmpeg -i talk{n}.mov -c:v libx264 talk{n}.mp4",
        "./frame.sh {n}",
    ),
)
REPORT = "./collect.sh 2026-11 && pyhton report.py --month 2026-11"
REPORT_PRINTED = (
    "\033[2m02:30:01\033[0m collecting \033[1m2026-11\033[0m\n"
    + "".join(
        f"\033[2m02:30:{i:02d}\033[0m \033[32mok\033[0m  {name:<10} \033[36m{rows}\033[0m rows\n"
        for i, (name, rows) in enumerate((("orders", 48213), ("refunds", 311), ("vouchers", 1204), ("customers", 9877)), 2)
    )
    + "\033[2m02:30:07\033[0m \033[33mwarning:\033[0m 3 orders have no customer\n./run.sh: line 1: \033[1;31mpyhton: command not found\033[0m\n"
)


def main() -> int:
    if why := missing():
        print(f"screenshots: {why}", file=sys.stderr)
        return 1
    views = VIEWS if "ALL" in sys.argv[1:] else {name: VIEWS[name] for name in SHOWN}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with stage() as scene:
        take_all(scene, views)
    return 0


@contextlib.contextmanager
def stage():
    """A folder for the scene, by a name that is fit to be seen, where nobody has it."""
    folder = Path("/tmp/shop")
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        with tempfile.TemporaryDirectory(prefix="shop-") as other:
            yield Path(other)
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def take_all(scene: Path, views: dict[str, str]) -> None:
    spool = Spool.init(scene / "spool")
    furnish(spool, random.Random(11))
    with pool(spool, 4), web(spool) as served, contextlib.closing(Quitting(start_browser(scene))) as browser:
        window = Window(browser.driver, served)
        until(lambda: len(list(spool.jobs("processing"))) >= 3, "jobs to run")
        time.sleep(3)  # a little life, to be seen
        for name, path in views.items():
            take(window, name, path)


class Quitting:
    """A browser that is closed as a file is."""

    def __init__(self, driver: object) -> None:
        self.driver = driver

    def close(self) -> None:
        self.driver.quit()


def take(window: Window, name: str, path: str) -> None:
    """Write the pictures of one view."""
    for width in WIDTHS:
        for theme in ("dark", "light"):
            window.theme(theme)
            window.wide(width, TALLEST[width])
            window.open(path)
            window.until(lambda: window.text("#link").strip() == "live" and window.count("main .state, main textarea"), path)
            time.sleep(1)  # what is drawn a moment later
            target = FOLDER / f"{name}-{width}-{theme}.png"
            target.write_bytes(small(window.driver.get_screenshot_as_png()))
            size = target.stat().st_size
            print(f"{target.relative_to(TOP)}  {size / 1000:.0f} kB{'  TOO LARGE' if size > MOST else ''}", flush=True)


# ---- the scene


def furnish(spool: Spool, luck: random.Random) -> None:
    """Lay an hour of jobs into the spool, some that failed, and some that are still to run."""
    now = time.time()
    lines = []
    for minute in range(60):
        busy = 0.5 + 0.5 * abs((minute % 34) - 17) / 17
        for _ in range(int(luck.uniform(14, 30) * busy)):
            lines += lived(spool, luck, now - 3600 + minute * 60 + luck.uniform(0, 55), 8 + 40 * (minute in range(30, 41)))
    lines.sort(key=lambda line: line["time"])
    folder = Path(spool.root, "journal")
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "00000001.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report(spool, now)
    for i in range(8):
        died(
            spool,
            luck,
            now - luck.uniform(60, 3000),
            f"convert scans/{4400 + i}.tif scans/{4400 + i}.png",
            "command not found: convert",
        )
    for i in range(3):
        died(spool, luck, now - luck.uniform(60, 3000), f"rsync -a /srv/shop/ backup{i}:/srv/shop/", "timeout after 10 min")
    waiting(spool, luck, now)


def lived(spool: Spool, luck: random.Random, added: float, wait: float) -> list[dict]:
    """A job that was added then, waited, ran, and is done or was tried again; return what the journal says of it."""
    id, command = new_id(added, luck.getrandbits(30)), luck.choice(COMMANDS).format(n=luck.randint(100, 999))
    claimed, took = added + luck.expovariate(1 / wait), luck.expovariate(1 / 5)
    ended, fails = claimed + took, luck.random() < 0.06
    by = {"worker": f"shop:{luck.randint(4711, 4714)}", "by": "worker"}

    def say(when: float, event: str, source: str | None, target: str, **more: object) -> dict:
        return {"time": iso(when), "event": event, "job": id, "from": source, "to": target, **more}

    def end(when: float, number: int, verdict: str, reason: str) -> dict:
        how = {"attempt": number, "verdict": verdict, "reason": reason, "duration": took, "commit": 0.004, **by}
        return say(when, "ended", "processing", verdict, **how)

    lines = [say(added, "added", None, "pending", by="command", user="ann", command="enqueue")]
    lines.append(say(claimed, "claimed", "pending", "processing", attempt=1, waited=claimed - added, **by))
    if fails:
        lines.append(end(ended, 1, "failed", luck.choice(("exit 1", "exit 1", "exit 22", "timeout after 10 min"))))
        lines.append(say(ended + 2, "due", "failed", "pending", by="supervisor"))
        lines.append(say(ended + 2.1, "claimed", "pending", "processing", attempt=2, waited=0.1, **by))
        ended += 2.1 + took
    lines.append(end(ended, 1 + fails, "done", "exit 0"))
    lay(
        spool,
        "done",
        id,
        {"command": command, "attempts": [attempt(1, ended - took, ended, "exit 0", "done", by["worker"])]},
        ended,
    )
    return lines


def attempt(number: int, started: float, ended: float, reason: str, verdict: str, worker: str) -> dict:
    """An attempt as a job file has it."""
    times = {"started": iso(started), "ended": iso(ended), "duration": round(ended - started, 3)}
    code = {"exit": int(reason.removeprefix("exit "))} if reason.startswith("exit ") else {}
    return {"number": number, **times, "worker": worker, **code, "reason": reason, "verdict": verdict}


def lay(spool: Spool, state: str, id: str, record: dict, when: float) -> None:
    os.utime(drop(spool, id, record, state), (when, when))


def report(spool: Spool, now: float) -> None:
    """The job that everybody looks for: it was tried four times."""
    attempts, ended = [], now - 240
    for number, wait in enumerate((0, 4, 8, 16), 1):
        ended += wait + 6
        last = attempt(number, ended - 6, ended, "exit 127", "dead" if number == 4 else "failed", "shop:4712")
        attempts.append({**last, "cpu": 1.31, "memory": 48_300_032})
        Path(spool.log_path("nightly-report", number, "err")).write_text(REPORT_PRINTED)
    record = {"command": REPORT, "name": "the monthly report", "max_retries": 3, "timeout": 600, "tags": ["report", "monthly"]}
    lay(spool, "dead", "nightly-report", {**record, "cwd": "/srv/shop", "attempts": attempts}, ended)


def died(spool: Spool, luck: random.Random, when: float, command: str, reason: str) -> None:
    tried = attempt(1, when - 1, when, reason, "dead", "shop:4711")
    lay(spool, "dead", new_id(when - 5, luck.getrandbits(30)), {"command": command, "max_retries": 0, "attempts": [tried]}, when)


def waiting(spool: Spool, luck: random.Random, now: float) -> None:
    """What runs while the pictures are taken, and what waits behind it."""
    progress = 'i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo "frame $i of 100"; echo "{\\"progress\\": $i, \\"text\\": \\"frame $i of 100\\"}" > "$QUEUECTL_RESULT"; sleep 2; done'
    spool.add(progress, name="the trailer", batch="film", priority=9)
    spool.add("sh -c 'sleep 500' ./backup.sh /home", name="backup of /home", priority=9)
    spool.add("sh -c 'sleep 500' rsync -a --delete /srv/media/ nas:/media/", priority=8)
    for i in range(37):
        lay(spool, "done", f"frame-{i:03d}", {"command": f"./frame.sh {i}", "batch": "film"}, now - 3500)
    spool.add_many(
        [
            {
                "command": f"sleep 0.{luck.randint(1, 9)}; ./thumbs.sh uploads/IMG_{luck.randint(1000, 9999)}.jpg || true",
                "batch": "film",
            }
            for _ in range(60)
        ]
    )
    spool.add_many([(None, {"command": f"sleep 60; ./newsletter.sh {i}", "priority": -1}) for i in range(24)])
    spool.add("backup /srv", start=now + 7200, name="nightly")
    Path(spool.root, "schedules").mkdir(exist_ok=True)
    Path(spool.root, "schedules", "nightly.json").write_text('{"cron": "30 2 * * *", "job": {"command": "backup /home"}}')


if __name__ == "__main__":
    sys.path[:0] = [str(TOP / "tests"), str(TOP)]
    sys.exit(main())
