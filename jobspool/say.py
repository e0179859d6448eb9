"""What is said of jobs, in words for people: how long, where, and why. Returns texts, and prints none."""

from __future__ import annotations

import os
import re
import time

from jobspool.job import Job, seconds, too_late, waits_since
from jobspool.spool import PAUSED
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING
from jobspool.trust import opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.roster import Entry
    from jobspool.spool import Spool

LONGEST_REASON = 200  # characters, as far as a reason tells groups of dead jobs apart
UNCOUNTED = 1_000_000  # tries that nobody counts: it is tried until some time
CONTROLS = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


def printable(text: str) -> str:
    """Return the text with every character that a terminal might obey, or can't show, made visible."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(CONTROLS, lambda found: repr(found.group())[1:-1], text)


def short(id: str) -> str:
    """Return the handle that people see for an id."""
    return printable(Job(id, "", {}, 0, 0).handle)


def span(seconds: float) -> str:
    """Return a length of time as people say it: 0.2 s, 8 s, 5 min, 3 h, 2 d."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.2g} s" if seconds >= 0.01 else f"{seconds:.3f} s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def took(seconds: float) -> str:
    """Return how long something took that was measured: below ten seconds with two digits, 4.5 s, where span() has one."""
    return f"{seconds:.2g} s" if 1 <= seconds < 9.95 else span(seconds)


def until(text: str) -> float:
    """Return the seconds until that moment of a job's file, 0 where it is over."""
    return max(0.0, seconds(text) - time.time())


def when(moment: float, now: float) -> str:
    """Return a time to come as people say it."""
    return f"in {span(moment - now)}" if moment > now else "now"


def counted(count: int, thing: str) -> str:
    """Return "1 worker", "2 workers"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def tries(job: Job, settings: object) -> str:
    """Return how many tries of how many a job has had, since it was last dead or done and tried again: "2/4"."""
    if job.problem:
        return "-"
    attempts = list(job.attempts)
    count = 0
    if attempts and attempts[-1]["verdict"] in ("done", "dead") and job.state in (DONE, DEAD):
        attempts.pop()
        count = 1
    from jobspool.retry import tries_used

    count += tries_used(attempts)
    most = settings.for_job(job.record).max_retries
    return f"{count}/{most + 1}" if most < UNCOUNTED else str(count)


def age(job: Job) -> str:
    """Return the time that matters in the job's state: when due, since when running, how long ago ended."""
    now = time.time()
    if job.state == PROCESSING:
        return f"for {span(now - job.ctime)}"
    if "hold" in job.record and job.state in (PENDING, FAILED):
        return "held"
    if job.state == FAILED:
        return f"due {when(job.mtime, now)}"
    if job.state == PENDING and job.mtime > now:
        return f"due {when(job.mtime, now)}"
    if job.state == PENDING:
        return f"waiting {span(now - waits_since(job.record, job.mtime, job.ctime))}"
    return f"{span(now - job.mtime)} ago"


def said_so_far(spool: Spool, job: Job) -> dict:
    """Return what the running job has said of itself, its progress and a text; nothing where that can't be read just now."""
    from jobspool import said

    try:
        found = said.read(spool.log_path(job.id, len(job.attempts) + 1, "result")) or {}
    except (said.Unclear, OSError):
        found = {}
    return {"progress": found.get("progress"), "text": found.get("text")}


def worker(spool: Spool, entry: Entry) -> dict:
    """Return what a worker does, by its entry in workers/."""
    job = spool.read(PROCESSING, entry.job) if entry.job else None
    said = said_so_far(spool, job) if job else {}
    return {
        "name": entry.name,
        "pid": entry.pid,
        "job": entry.job,
        "since": entry.since,
        "command": job.command if job else None,
        "progress": said.get("progress"),
        "text": said.get("text"),
    }


def progress_words(worker: dict) -> str:
    """Return how far the worker's job says it is, in words with a space before; "" where it doesn't."""
    share = "" if worker["progress"] is None else f" {worker['progress']:g} %"
    return share + (f" ({worker['text']})" if worker["text"] else "")


def why_dead(job: Job) -> str:
    """Return in words why the job is in the dead letter queue."""
    if job.problem:
        return f"not a job: {job.problem}"
    if "cancelled" in job.record:
        why = job.record["cancelled"]
        return f"cancelled {why}" if why.startswith("by ") else why
    if not job.attempts:
        return "no attempt on record: moved there by hand, or not whole in time"
    if job.attempts[-1]["verdict"] not in ("dead", "failed"):
        return "moved there by hand"
    return job.attempts[-1].get("reason", "moved there by hand")


def died_of(job: Job) -> str:
    """Return the reason that dead jobs are grouped and chosen by, "" of one that isn't dead."""
    return why_dead(job)[:LONGEST_REASON] if job.state == DEAD else ""


def exit_code(job: Job) -> int:
    """Return the exit status for how the job ended: its own, 128 and its signal, or 1."""
    if job.state == DONE:
        return 0
    last = job.attempts[-1] if job.attempts and "cancelled" not in job.record else {}
    if "signal" in last:
        import signal

        number = getattr(signal, last["signal"], None)
        return 128 + (int(number) if number else int(last["signal"].removeprefix("SIG")))
    return last.get("exit") or 1


def person() -> str:
    """Return the name of the user who runs us, also behind sudo."""
    from jobspool.trust import user_name

    return os.environ.get("SUDO_USER") or user_name(os.getuid())


def pause_reason(spool: Spool) -> str:
    """Return why the spool is paused, "" where nobody said."""
    try:
        with open(f"{spool.root}/{PAUSED}", "rb", opener=opener) as file:
            return file.read(1000).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def why(spool: Spool, job: Job, settings: object) -> tuple[str, str]:
    """Return why the job is where it is, and what to type, "" for nothing."""
    name = short(job.id)
    if job.state == PROCESSING:
        far = progress_words(said_so_far(spool, job))
        comma = "," if far and not far.startswith(" (") else ""
        return f"it is running, {age(job)}{comma}{far}", f"queuectl logs -f {name}"
    if job.state == DONE:
        return f"it is done, {age(job)}", ""
    if job.state == DEAD:
        printed = f"queuectl logs {name}, " if job.attempts else ""
        return f"it died {age(job)} ({why_dead(job)})", f"{printed}queuectl {'show' if job.problem else 'retry'} {name}"
    odd = job.problem or spool.distrust(os.lstat(spool.path(job.state, job.id)), settings)
    if odd:
        return f"it is never run: {odd}", "queuectl doctor"
    if late := too_late(job.record, time.time()):
        return f"it is not run any more, {late}", f"queuectl edit {name}"
    if "hold" in job.record:
        return f"it is held ({job.record['hold']})", f"queuectl release {name}"
    if job.state == FAILED:
        return f"it {why_failed(job, settings)}", f"queuectl retry {name}"
    return _why_waiting(spool, job, settings)


def why_failed(job: Job, settings: object) -> str:
    """Return for which retry the failed job waits, and until when."""
    return f"waits for its {_ordinal(int(tries(job, settings).split('/')[0]))} retry, due {when(job.mtime, time.time())}"


def _needed(spool: Spool, job: Job, settings: object) -> tuple[list[str], str]:
    """Return what the job lacks beside a worker, in words, and what to type."""
    from jobspool import admission

    if waits := admission.waits_for(job.record, spool.state_of):
        why, parent, seen = waits.why, waits.parent, {job.id}
        while parent not in seen:
            seen.add(parent)
            above = spool.read(PENDING, parent)
            further = above and not above.problem and admission.waits_for(above.record, spool.state_of)
            if not further:
                break
            why, parent = f"{why}; {further.why.replace('it comes', f'{short(parent)} comes')}", further.parent
        return [why], f"queuectl why {short(parent)}"
    if barred := admission.closed(job.record, settings):
        why, _, cure = barred[1].partition(": ")
        return [why], cure
    running = list(spool.jobs(PROCESSING))
    reasons = []
    for need in admission.needs(job.record, settings):
        holders = [short(other.id) for other in running if need.name in admission.names(other.record)]
        if holders and len(holders) + need.count > need.total:
            kind, _, name = need.name.partition(" ")
            reasons.append(f"the {kind} {name} is taken by {', '.join(holders[:3])}{' and others' * (len(holders) > 3)}")
    if (rate := admission.rate_of(job.record, settings)) and (wait := _until_rate(spool, job, rate)) > 0:
        reasons.append(f"the rate of its group lets the next one begin in {span(wait)}")
    return reasons, ""


def _until_rate(spool: Spool, job: Job, rate: tuple[int, float]) -> float:
    from jobspool import admission, locks

    try:
        filled = os.lstat(locks.path_of(spool, f"rate {job.record['group']}")).st_mtime
    except FileNotFoundError:
        return 0.0
    now = time.time()
    return admission.take_rate(filled, now, rate)[1] - now


def _why_waiting(spool: Spool, job: Job, settings: object) -> tuple[str, str]:
    """Return what keeps the pending job from running, and what helps against the last that is said."""
    from jobspool import admission, roster

    reasons, cure = _needed(spool, job, settings) if admission.concerns(job.record) else ([], "")
    if reasons and cure:
        return "; ".join(reasons), cure
    if job.mtime > time.time():
        reasons.append(f"it may not run before its time, {when(job.mtime, time.time())}")
        cure = f"touch {spool.path(PENDING, job.id)}"
    elif not reasons and (before := _count_before(spool, job, settings.priority_aging)):
        reasons.append(f"{before} before it")
    if os.path.lexists(f"{spool.root}/{PAUSED}"):
        reason = pause_reason(spool)
        reasons.append("the spool is paused" + (f" ({reason})" if reason else ""))
        cure = "queuectl resume"
    workers = [entry for entry in roster.living(spool) if entry.role == roster.WORKER]
    if not workers:
        reasons.append("no worker is running")
        cure = "queuectl start"
    elif not reasons and not cure and all(entry.job for entry in workers):
        reasons.append(f"{counted(len(workers), 'worker')}, all busy")
    return "; ".join(reasons) or "its turn is next", cure


MOST_BEFORE = 1000  # jobs that are counted
MOST_READ = 10_000  # files that are read for it


def _count_before(spool: Spool, job: Job, aging: float | None) -> str:
    """Return how many jobs come before the pending one, "" for none; of very many "more than 1000", or "at least 5"."""
    times = {}
    for id in spool.names(PENDING):
        try:
            times[id] = os.lstat(spool.path(PENDING, id)).st_mtime_ns
        except FileNotFoundError:
            pass  # RACE: it has been claimed
    count = 0
    oldest_first = sorted(times, key=times.__getitem__)  # a younger one comes before it only by a higher priority
    for read, id in enumerate(oldest_first):
        if count > MOST_BEFORE:
            return f"more than {MOST_BEFORE}"
        if read == MOST_READ:
            return f"at least {count}" if count else ""
        other = spool.read(PENDING, id)
        count += other is not None and _comes_before(other, job, aging)
    return str(count) if count else ""


def rank(job: Job, aging: float | None = None) -> tuple:
    """Return what pending jobs run in the order of, held ones behind all others."""
    from jobspool import admission

    return ("hold" in job.record, *admission.rank(job.record.get("priority", 0), job.mtime, job.id, aging))


def _comes_before(other: Job, job: Job, aging: float | None) -> bool:
    runs = not other.problem and "hold" not in other.record and other.mtime <= time.time()
    return runs and rank(other, aging) < rank(job, aging)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
