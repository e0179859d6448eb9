#!/usr/bin/env python3
"""queuectl: the command. Words in, words out: the only module that prints or exits.

Data goes to stdout, talk to stderr; hints only where a person is watching. Each command is a usage text, which docopt parses
and `--help` prints, and the function below it. What takes long to import is imported by the command that needs it. It is long
because the whole command is one module, to be read from top to bottom, a command at a time.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time

from jobspool import __version__
from jobspool.errors import (
    AmbiguousJob,
    BrokenConfig,
    NoSuchJob,
    NotAJob,
    NotASpool,
    QueueError,
    TryAgain,
    WrongValue,
)
from jobspool.job import NEW_WORDS, Job, did_you_mean, id_of, iso, new_id, number, parse
from jobspool.spool import PAUSED, Spool, find_root, ids_of, ignored
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES, state_named
from jobspool.trust import READ, distrust_type, forbidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    Stats = dict[str, dict[str, os.stat_result]]  # by state and id

OVERVIEW = """\
queuectl: a job queue that you can ls. A job is one JSON file, its directory is its state, mv is the API.

  queuectl enqueue "make all"       add a job (one word: a shell command; after --: a program and its words)
  queuectl start [--count N]        run workers here (--detach: in the background)
  queuectl stop                     end the workers when their jobs are done (--now: at once)
  queuectl status                   the spool and its workers at a glance
  queuectl list [--state STATE]     the jobs
  queuectl show JOB                 all about one job;  queuectl logs JOB: what it printed
  queuectl dlq list | retry JOB     jobs that used up their tries
  queuectl config                   the settings
  queuectl init [DIR]               make a spool
  queuectl doctor [--fix]           what is wrong with the spool, and what to type

A JOB is any part of an id that fits one job only. `queuectl COMMAND --help` tells more, queuectl(1) all of it.
Options everywhere: --spool DIR, -h --help, --version.
"""

LEAST_JOB, LEAST_COMMAND = 12, 8  # characters of a table's first and last column
MOST_LOOKED_AT = 1000  # jobs of a state, by status
MAY_RUN = (PENDING, FAILED, PROCESSING)
MOST_WARNINGS = 100  # of a kind, in status
EXIT_USAGE, EXIT_FAILED, EXIT_NO_WORKER, EXIT_LATER, EXIT_CONFIG = 2, 1, 3, 75, 78
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141

UNSAID = bytearray()  # what `start` has to say that a full disk didn't take
MOST_UNSAID = 65_536  # bytes of it that are kept


class Wrong(Exception):
    """Wrong usage: the message says what was wrong and what to type."""


# ---- enqueue

ENQUEUE = """\
Add a job and print its id.

Usage:
  queuectl enqueue [options] [--env=<pair>]... [--] [<word>...]

One word is a command for sh -c, or a job as a JSON object. After -- come a program and its words, without a shell.
JSON may name the job with "id".

Options:
  --max-retries=<n>     How often to try again after a failure.
  --timeout=<seconds>   End an attempt that takes longer.
  --backoff-base=<x>    Retry n comes x ** n seconds after the failure.
  --priority=<n>        Higher runs first; 0 without it.
  --cwd=<dir>           Run there; in the current directory without it.
  --env=<pair>          NAME=VALUE for the job's environment; may be repeated.
  --name=<text>         A name for people.
  --id=<id>             The id, instead of a new one.
  --from=<file>         Add a job for each line: a command, or a JSON object; - reads stdin. Lines that are blank or
                        begin with # are skipped.
  -q --quiet            Say nothing on stderr.
  --spool=<dir>         The spool to use.
  -h --help             Print this.

Examples:
  queuectl enqueue "pg_dump shop | gzip > shop.gz" --max-retries 5 --timeout 600
  queuectl enqueue -- convert "in file.png" out.jpg
  queuectl enqueue '{"command": "make", "priority": 5}'
  ls *.wav | sed 's/.*/lame "&"/' | queuectl enqueue --from -
"""


def enqueue(words: dict) -> int:
    options = _options(words)
    records = [(record.pop("id", None), _with_options(record, options, words)) for record in _records(words)]
    if words["--id"] and len(records) != 1:
        raise Wrong("--id names one job, and this would add several")
    spool = open_spool(words)
    jobs = spool.add_many([(words["--id"] or id, record) for id, record in records])
    print("\n".join([printable(job.id) for job in jobs]), end="\n" if jobs else "")
    if not words["--quiet"]:
        _tell_of_workers(spool)
    return 0


def _records(words: dict) -> list[dict]:
    """Return what is to be added, as the words on the command line or the lines of a file say."""
    given, source = words["<word>"], words["--from"]
    if source is not None:
        if given:
            raise Wrong("give either --from or a command, not both")
        return _records_from(source)
    if words["--"]:
        if not given:
            raise Wrong("a program must follow --: queuectl enqueue -- PROGRAM [WORD...]")
        return [{"argv": given}]
    if not given:
        raise Wrong('what is to run? queuectl enqueue "COMMAND", or queuectl enqueue -- PROGRAM [WORD...]')
    if len(given) > 1:
        raise Wrong(_both_corrections(given))
    return [_record_in(given[0])]


def _both_corrections(given: list[str]) -> str:
    import shlex

    return (
        "several words: quote them as one command, or put -- before a program and its words:\n"
        f"  queuectl enqueue {shlex.quote(' '.join(given))}\n"
        f"  queuectl enqueue -- {shlex.join(given)}"
    )


def _records_from(source: str) -> list[dict]:
    try:
        content = sys.stdin.buffer.read() if source == "-" else _read(source)
    except OSError as error:
        raise Wrong(f"--from {source}: {error.strerror}") from None
    records = []
    for place, line in enumerate(content.split(b"\n"), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            try:
                records.append(_record_in(line.decode("utf-8")))
            except (UnicodeDecodeError, NotAJob) as error:
                raise NotAJob(f"{source} line {place}: {error} (nothing was added)") from None
    return records


def _record_in(word: str) -> dict:
    """Return the job that one word describes: a JSON object, or a shell command."""
    if word.lstrip().startswith("{"):
        record = parse(word.encode("utf-8", "surrogatepass"), 1 << 30, NEW_WORDS)
        if "attempts" in record:
            raise NotAJob("attempts are the queue's to write: leave that key out")
        return record
    if _is_list(word):
        raise NotAJob(f'a JSON list is no job: {{"argv": {word.strip()}}} would be')
    if not word.strip():
        raise NotAJob("the command is empty")
    return {"command": word}


def _is_list(word: str) -> bool:
    if not word.lstrip().startswith("["):
        return False
    try:
        return isinstance(json.loads(word), list)
    except ValueError:
        return False  # [ is a command, too


def _options(words: dict) -> dict:
    """Return what the options say of the job."""
    options = {
        "max_retries": _number_of(words, "--max-retries"),
        "timeout": _number_of(words, "--timeout"),
        "backoff_base": _number_of(words, "--backoff-base"),
        "priority": _number_of(words, "--priority"),
        "cwd": _cwd_of(words["--cwd"]),
        "env": _env_of(words["--env"]),
        "name": words["--name"],
    }
    return {word: value for word, value in options.items() if value is not None}


def _with_options(record: dict, options: dict, words: dict) -> dict:
    """Return the record with the options' words; what the record says itself wins over an option only for --from."""
    whole = {**options, **record} if words["--from"] else {**record, **options}
    return whole if "cwd" in whole else {**whole, "cwd": os.getcwd()}


def _number_of(words: dict, option: str) -> int | float | None:
    text = words[option]
    if text is None:
        return None
    try:
        value = number(text)
    except ValueError:
        unit = " of seconds" if option == "--timeout" else ""
        raise Wrong(f"{option} takes a number{unit}, not {text!r}") from None
    from jobspool.job import WORDS

    if problem := WORDS[option[2:].replace("-", "_")](value):
        raise Wrong(f"{option} {text}: it {problem}")
    return value


def _cwd_of(folder: str | None) -> str | None:
    if folder is None:
        return None
    if not os.path.isdir(folder):
        raise Wrong(f"--cwd {folder}: there is no such directory")
    return os.path.abspath(folder)


def _env_of(pairs: list[str]) -> dict[str, str] | None:
    env = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Wrong(f"--env takes NAME=VALUE, not {pair!r}")
        env[name] = value
    return env or None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _tell_of_workers(spool: Spool) -> None:
    if not sys.stderr.isatty():
        return
    from jobspool import roster

    if not any(entry.role == roster.WORKER for entry in roster.living(spool)):
        talk(f"no worker is running for {spool.root}: `queuectl start` runs what waits")


# ---- start and stop

START = """\
Run workers on the spool, here in the foreground, until they are stopped.

Usage:
  queuectl start [options]

Ctrl-C lets them finish what they run, twice interrupts it: then it is put back and not counted as a try.

Options:
  --count=<n>     How many workers; the setting `workers` without it.
  --detach        Run in the background; the log is logs/supervisor.log in the spool.
  --drain         End when nothing is left to do or to wait for.
  --any-filesystem
                  Run even where the file system can't keep the promises.
  -q --quiet      Say nothing.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl start --count 3
  queuectl start --count 3 --detach
  queuectl start --drain
"""


def start(words: dict) -> int:
    spool = open_spool(words)
    count = _count_of(words["--count"], spool)
    if os.statvfs(spool.root).f_flag & os.ST_RDONLY:
        raise QueueError(f"{spool.root} is read-only: mount it for writing to run jobs there")
    if not os.access(f"{spool.root}/{PENDING}", os.W_OK):
        raise QueueError(f"no right to write {spool.root}: its owner is the one to start workers there")
    _leave_job()
    spool.ready()
    if apart := [name for name in (*STATES, "tmp") if os.stat(f"{spool.root}/{name}").st_dev != os.stat(spool.root).st_dev]:
        raise NotASpool(f"{spool.root}/{apart[0]} is on another file system: have all of the spool on one")
    if not words["--any-filesystem"]:
        _check_filesystem(spool)
    if os.geteuid() == 0 and not words["--quiet"]:
        talk("workers run as root, and so will every job")
    if words["--detach"]:
        return _detach(spool, count, words)
    return _supervise(spool, count, words["--drain"], _quiet if words["--quiet"] else _print_events)


def _check_filesystem(spool: Spool) -> None:
    from jobspool import filesystem

    for why in filesystem.problems(spool.root, spool.spare()):
        raise NotASpool(f"{spool.root}: {why}: choose a local file system, or take the risk with --any-filesystem")


def _count_of(text: str | None, spool: Spool) -> int:
    if text is None:
        return spool.settings().workers
    from jobspool.config import value_of

    try:
        return value_of("workers", text)
    except WrongValue as error:
        raise Wrong(str(error).replace("workers can't be", "--count can't be")) from None


def _supervise(spool: Spool, count: int, drain: bool, report: Callable[[list[dict]], None]) -> int:
    from jobspool.supervisor import Supervisor

    Supervisor(spool, count, drain, report).serve()
    return 0


def _leave_job() -> None:
    """Be no part of the job that runs us, if one does, nor hold its lock: a pool may outlive it. See roster.processes()."""
    if "QUEUECTL_JOB_ID" in os.environ:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        own = ("QUEUECTL_JOB_ID", "QUEUECTL_ATTEMPT")
        environment = {name: value for name, value in os.environ.items() if name not in own}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _detach(spool: Spool, count: int, words: dict) -> int:
    """Start the supervisor as a daemon, and return once it serves: daemon(7), the old way."""
    from jobspool import durable

    spool.ready()
    path = f"{spool.root}/logs/supervisor.log"
    log = durable.open_to_append(path, spool.file_mode(spool.settings()))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reader)
            _serve_detached(spool, count, words["--drain"], log, writer)
        os._exit(0)
    os.wait()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.readline()
    if not said:
        raise QueueError(f"the workers did not start: {path} says why")
    if not words["--quiet"]:
        print(f"{counted(count, 'worker')} started in the background, supervisor {said.strip()}; log: {printable(path)}")
    return 0


def _serve_detached(spool: Spool, count: int, drain: bool, log: int, writer: int) -> None:
    """Be the daemon; write our process id to `writer` once the workers are there. Doesn't return."""
    status = 1
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor, source in enumerate((null, log, log)):
            os.dup2(source, descriptor)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))  # above all the lock of a job that starts us
        os.chdir("/")

        def report(events: list[dict]) -> None:
            if any(event["event"] == "started" for event in events):
                os.write(writer, f"{os.getpid()}\n".encode())
                os.close(writer)
            _print_events(events, "%Y-%m-%d %H:%M:%S")

        status = _supervise(spool, count, drain, report)
    except QueueError as error:
        talk(str(error))
    finally:
        sys.stdout.flush()
        os._exit(status)


def _quiet(events: list[dict]) -> None:
    pass


def _print_events(events: list[dict], clock: str = "%H:%M:%S") -> None:
    """Print a calm line for each, at one go; what a full disk doesn't take is printed later.

    Where nobody can read any more, go on without.
    """
    if sys.stdout is None:
        return
    now = time.strftime(clock)
    said = "".join(f"{now} {_event_line(event)}\n" for event in events)
    UNSAID.extend(said.encode(sys.stdout.encoding, sys.stdout.errors))
    try:
        while UNSAID:
            del UNSAID[: os.write(1, UNSAID)]
    except OSError as error:
        del UNSAID[:-MOST_UNSAID]
        if error.errno not in (errno.EPIPE, errno.EIO):
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def _event_line(event: dict) -> str:
    kind = event["event"]
    job = short(event["id"]) if "id" in event else ""
    if kind == "ended":
        attempt = event["attempt"]
        how = attempt.get("reason") or "exit 0"
        retry = f", retry due in {span(_until(attempt['due']))}" if attempt["verdict"] == "failed" else ""
        return (
            f"{attempt['verdict']:<11} {job}  attempt {attempt['number']}: {printable(how)}, {span(attempt['duration'])}{retry}"
        )
    lines = {
        "started": lambda: f"started     {counted(event['workers'], 'worker')}",
        "moved": lambda: f"moved       {job}  moved away by hand: ended, nothing recorded",
        "recovered": lambda: f"recovered   {job}  {printable(event['why'])}: {event['state']}",
        "rejected": lambda: f"rejected    {job}  not a whole job, now in dead/: {printable(event['why'])}",
        "noted": lambda: f"noted       {job}  {event['why']}",
        "drained": lambda: "drained     nothing is left to do or to wait for",
        "stopping": lambda: (
            "stopping"
            + (f"    when {counted(event['running'], 'running job')} ended; once more interrupts" if event["running"] else "")
        ),
        "interrupting": lambda: f"stopping    {counted(event['running'], 'running job')} interrupted and put back",
        "worker ended": lambda: f"worker      {event['pid']} ended ({event['status']}): another takes its place",
        "trouble": lambda: f"trouble     {printable(event['why'])}",
    }
    return lines.get(kind, lambda: kind)()


def _until(text: str) -> float:
    from jobspool.job import seconds

    return max(0.0, seconds(text) - time.time())


STOP = """\
Stop the workers on the spool, and return when they are gone.

Usage:
  queuectl stop [options]

Options:
  --now                 Interrupt what runs: it is put back, and not counted as a try.
  --timeout=<seconds>   Wait no longer than this; then exit 75, and the workers go on stopping.
  -q --quiet            Say nothing.
  --spool=<dir>         The spool to use.
  -h --help             Print this.

Examples:
  queuectl stop
  queuectl stop --now --timeout 30
"""


def stop(words: dict) -> int:
    import signal

    from jobspool import process, roster

    limit = _number_of(words, "--timeout")
    spool = open_spool(words)
    alive = roster.living(spool)
    if not alive:
        raise QueueError(f"no worker is running for {spool.root}")
    supervisors = {entry.pid for entry in alive if entry.role == roster.SUPERVISOR}
    for entry in alive:
        if entry.pid in supervisors or entry.supervisor not in supervisors:
            _signal(entry, signal.SIGQUIT if words["--now"] else signal.SIGTERM)
    if running := [short(entry.job) for entry in alive if entry.job]:
        hint = "" if words["--now"] else "; --now interrupts"
        talk_to_person(f"waiting for {counted(len(running), 'running job')} ({', '.join(running[:5])}){hint}")
    deadline = None if limit is None else time.monotonic() + limit
    for entry in alive:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if roster.is_alive(entry) and not process.wait_for(entry.pid, left):
            more = "" if words["--now"] else "; --now interrupts it"
            raise TryAgain(f"still stopping after {limit:g} s: `queuectl status` shows what runs{more}")
    if not words["--quiet"]:
        talk(f"stopped: {counted(sum(entry.role == roster.WORKER for entry in alive), 'worker')} gone")
    return 0


def _signal(entry: object, signum: int) -> None:
    try:
        os.kill(entry.pid, signum)
    except ProcessLookupError:
        pass  # it ended by itself
    except PermissionError:
        raise QueueError(f"no right to stop process {entry.pid}: it belongs to another user") from None


# ---- status and list

STATUS = """\
Show the spool and its workers at a glance. Exit 0 when a worker runs, 3 when none does.

Usage:
  queuectl status [options]

Options:
  --json          One JSON object.
  --spool=<dir>   The spool to use.
  -h --help       Print this.
"""


def status(words: dict) -> int:
    spool = open_spool(words)
    seen = _look_around(spool)
    if words["--json"]:
        print(json.dumps(seen))
    else:
        print_lines(_status_lines(spool, seen))
    return 0 if seen["workers"] else EXIT_NO_WORKER


def _look_around(spool: Spool) -> dict:
    """Return all that status tells, as the JSON object it prints."""
    from jobspool import roster

    warnings = []
    try:
        settings = spool.settings()
    except BrokenConfig as error:
        from jobspool.config import Settings

        settings = Settings()
        warnings.append(str(error))
    listed = {state: os.listdir(spool.folder(state)) for state in STATES}
    ids = {state: ids_of(names) for state, names in listed.items()}
    counts = {state: len(there) for state, there in ids.items()}
    stats = {state: _stats(spool, state, _to_look_at(ids[state]) if state == PENDING else ids[state]) for state in MAY_RUN}
    alive = roster.living(spool)
    workers = [_worker(spool, entry) for entry in alive if entry.role == roster.WORKER]
    paused = os.path.lexists(f"{spool.root}/{PAUSED}")
    supervisors = [entry.pid for entry in alive if entry.role == roster.SUPERVISOR]
    warnings += _warnings(spool, counts, len(workers), bool(supervisors), paused)
    others = {state: ignored(names) if len(names) > counts[state] else [] for state, names in listed.items()}
    warnings += _strange(spool, settings, counts, others, stats)
    return {
        "spool": spool.root,
        "states": counts,
        "oldest_pending": _earliest(stats[PENDING]),
        "next_due": _earliest(stats[FAILED]),
        "paused": paused,
        "supervisors": supervisors,
        "workers": workers,
        "warnings": warnings,
    }


def _to_look_at(ids: list[str]) -> list[str]:
    """Return those of the ids that status looks at one by one: all; of very many that are our own those that were added first."""
    if len(ids) <= MOST_LOOKED_AT:
        return ids
    from heapq import nsmallest

    own = [id for id in ids if _is_own(id)]
    others = set(ids).difference(own) if len(own) < len(ids) else ()
    return [*nsmallest(MOST_LOOKED_AT, own), *others]


def _is_own(id: str) -> bool:
    """Tell whether the id looks like one that we gave, which begins with its time; a look is all that a million of them allow."""
    return id[8:9] == "T" and id[22:23] == "-"


def _stats(spool: Spool, state: str, ids: Iterable[str]) -> dict[str, os.stat_result]:
    """Return the lstat of each of these that lies in that state, by its id."""
    found = {}
    for id in ids:
        try:
            found[id] = os.lstat(spool.path(state, id))
        except FileNotFoundError:
            pass  # RACE: it has moved on
    return found


def _earliest(stats: dict[str, os.stat_result]) -> str | None:
    return iso(min(found.st_mtime for found in stats.values())) if stats else None


def _worker(spool: Spool, entry: object) -> dict:
    job = spool.read(PROCESSING, entry.job) if entry.job else None
    return {
        "name": entry.name,
        "pid": entry.pid,
        "job": entry.job,
        "since": entry.since,
        "command": job.command if job else None,
    }


def _warnings(spool: Spool, counts: dict[str, int], workers: int, served: bool, paused: bool) -> list[str]:
    waiting = counts[PENDING] + counts[FAILED]
    warnings = []
    if workers and not served:
        warnings.append(f"the supervisor of {counted(workers, 'worker')} is gone: they end with what they run: queuectl start")
    elif waiting and not workers:
        warnings.append(f"{counted(waiting, 'job')} waiting and no worker is running: queuectl start")
    if paused:
        warnings.append(f"paused: nothing new starts until {spool.root}/{PAUSED} is removed")
    return warnings


def _strange(spool: Spool, settings: object, counts: dict[str, int], others: dict[str, list[str]], stats: Stats) -> list[str]:
    """Return what is to be said of files that are ignored, or never run: of each, or where there are many like it how many."""
    from jobspool.spool import why_ignored

    kinds: dict[tuple[str, str], list[str]] = {}
    for state, names in others.items():
        for name in names:
            kinds.setdefault((state, f"is ignored: {why_ignored(name)}"), []).append(name)
        few = counts[state] <= MOST_LOOKED_AT
        for id, why in sorted(_oddities(spool, state, settings, stats.get(state))) if few or state in stats else ():
            kinds.setdefault((state, f"is not run: {why}"), []).append(f"{id}.json")
    warnings = []
    for (state, why), names in kinds.items():
        warnings += [f"{state}/{name} {why}" for name in names[:MOST_WARNINGS]]
        if more := len(names[MOST_WARNINGS:]):
            warnings.append(f"{state}/ holds {more} more like {names[0]}: each {why}")
    return warnings


def _oddities(spool: Spool, state: str, settings: object, stats: dict[str, os.stat_result] | None) -> Iterable[tuple[str, str]]:
    """Yield the ids of the files in that state that are never run, and why; where nothing is run, of what are no files at all."""
    if stats is None:
        yield from ((id, why) for id, found in _stats(spool, state, spool.names(state)).items() if (why := distrust_type(found)))
        return
    user = os.geteuid() if settings.group else os.stat(spool.root).st_uid
    serves = user == os.geteuid() and os.access(spool.folder(state), os.W_OK)  # else the worker has other rights than we
    for id, found in stats.items():
        why = spool.distrust(found, settings, user=user) or (serves and forbidden(spool.path(state, id), found))
        if why:
            yield id, why


def _status_lines(spool: Spool, seen: dict) -> list[str]:
    from jobspool.job import seconds

    now = time.time()
    notes = {DEAD: "queuectl dlq list" if seen["states"][DEAD] else ""}
    if seen["oldest_pending"]:
        wait = now - seconds(seen["oldest_pending"])
        notes[PENDING] = f"oldest {span(wait)}" if wait >= 0 else f"next in {span(-wait)}"
    if seen["next_due"]:
        notes[FAILED] = f"next due {when(seconds(seen['next_due']), now)}"
    lines = [f"spool       {seen['spool']}"]
    lines += [f"{state:<11} {count:<7} {notes.get(state, '')}".rstrip() for state, count in seen["states"].items()]
    lines.append(f"workers     {len(seen['workers']) or 'none is running'}")
    for worker in seen["workers"]:
        doing = "idle"
        if worker["job"] and worker["since"]:
            doing = f"{short(worker['job'])} for {span(now - seconds(worker['since']))}: {worker['command'] or ''}"
        lines.append(f"  {worker['name']}  {doing}")
    lines.append(f"paused      {'yes' if seen['paused'] else 'no'}")
    shown = seen["warnings"][:10]
    lines += [f"warning     {warning}" for warning in shown]
    if len(seen["warnings"]) > len(shown):
        lines.append(f"warning     and {len(seen['warnings']) - len(shown)} more: queuectl status --json")
    return lines


DOCTOR = """\
Look at the spool for what is wrong, without a lock, and say what it means and what to type. Exit 0 only if all is well.

Usage:
  queuectl doctor [options]

Options:
  --fix           Mend what can be mended without losing anything.
  --json          One JSON object a line: kind, what, since, means, cure, fixable, fixed.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

`queuectl fsck` is the same.

Examples:
  queuectl doctor
  queuectl doctor --fix
"""


def doctor(words: dict) -> int:
    spool = Spool(os.fspath(words["--spool"] or find_root()[0]))
    if not os.path.isdir(spool.root):
        raise NotASpool(f"{spool.root} is no directory: `queuectl init {spool.root}` makes a spool there")
    from jobspool.doctor import examine
    from jobspool.trust import user_name

    if not os.access(spool.root, os.R_OK | os.X_OK, effective_ids=True):
        owner = user_name(os.stat(spool.root).st_uid)
        raise QueueError(f"{spool.root} belongs to {owner}, who lets you not look into it: become {owner}, or root")
    found = list(examine(spool))
    fixed = [finding for finding in found if words["--fix"] and _mended(finding)]
    for finding in found:
        if words["--json"]:
            print(json.dumps(_finding_as_json(finding, finding in fixed)))
        else:
            print_lines(_finding_lines(finding, finding in fixed), cut=False)
    left = list(examine(spool)) if fixed else found
    if not words["--json"]:
        print_lines([_diagnosis(spool, found, fixed, left)])
    return EXIT_FAILED if left else 0


def _mended(finding: object) -> bool:
    """Mend it if that can be done; tell whether it was."""
    if finding.mend is None:
        return False
    try:
        finding.mend()
    except OSError as error:
        talk(f"can't mend {printable(finding.what)}: {error.strerror}: {error.filename}")
        return False
    return True


def _finding_as_json(finding: object, fixed: bool) -> dict:
    from jobspool.doctor import MEANS

    known = {"kind": finding.kind, "what": finding.what, "since": finding.since and iso(finding.since)}
    return {**known, "means": MEANS[finding.kind], "cure": finding.cure, "fixable": finding.mend is not None, "fixed": fixed}


def _finding_lines(finding: object, fixed: bool) -> list[str]:
    from jobspool.doctor import MEANS

    since = f", for {span(time.time() - finding.since)}" if finding.since else ""
    fix = "queuectl doctor --fix"
    cure = "mended" if fixed else finding.cure + (f"   (or: {fix})" if finding.mend and finding.cure != fix else "")
    return [f"{finding.kind:<11} {finding.what}{since}", f"            {MEANS[finding.kind]}", f"            > {cure}"]


def _diagnosis(spool: Spool, found: list, fixed: list, left: list) -> str:
    if not found:
        return f"all is well with {spool.root}"
    if fixed:
        return f"{len(fixed)} of {counted(len(found), 'finding')} mended; " + (
            f"left: {len(left)}" if left else "all is well now"
        )
    return f"{counted(len(found), 'finding')} in {spool.root}"


LIST = """\
List the jobs, newest last.

Usage:
  queuectl list [options]

Options:
  --state=<state>   Only these: pending, processing, done (or completed), failed, dead.
  --limit=<n>       Only the n that were added last.
  --json            One JSON object a line.
  --spool=<dir>     The spool to use.
  -h --help         Print this.

Examples:
  queuectl list --state pending
  queuectl list --state failed --json | jq -r .id
"""


def list_(words: dict) -> int:
    limit = _limit_of(words["--limit"])
    wanted = words["--state"] and _state_of(words["--state"])
    spool = open_spool(words)
    settings = _settings_or_default(spool)
    jobs = _newest(spool, (wanted,) if wanted else STATES, limit)
    if words["--json"]:
        for job in jobs:
            print(json.dumps(as_json(spool, job)))
        return 0
    if not jobs:
        talk_to_person(f"no jobs{f' in {wanted}/' if wanted else ''} in {spool.root}")
        return 0
    rows = [_row(job, settings) for job in jobs]
    print_table(("job", "state", "tries", "when", "exit", "command"), rows)
    return 0


def _limit_of(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18 or int(text) == 0:
        raise Wrong(f"--limit takes a whole number above 0, not {text!r}")
    return int(text)


def _state_of(text: str) -> str:
    state = state_named(text)
    if state is None:
        raise Wrong(f"there is no state {text!r}{did_you_mean(text, STATES, '.')} They are {', '.join(STATES)}")
    return state


def _newest(spool: Spool, states: Iterable[str], limit: int | None) -> list[Job]:
    """Return the jobs in these states by the time on their files, the newest last; with `limit` those that were added last."""
    ids = {state: spool.names(state) for state in states}
    if limit and sum(map(len, ids.values())) > limit:
        chosen = _added_last(spool, ids, limit)
        ids = {state: [id for there, id in chosen if there == state] for state in ids}
    found = sorted((stat.st_mtime_ns, state, id) for state in ids for id, stat in _stats(spool, state, ids[state]).items())
    most = _settings_or_default(spool, quiet=True).max_job_bytes
    return [job for _, state, id in found if (job := spool.read(state, id, most))]


def _added_last(spool: Spool, ids: dict[str, list[str]], limit: int) -> list[tuple[str, str]]:
    """Return the states and ids of the jobs that were added last: ids of the queue's own say when, of others the mtime does."""
    from heapq import nlargest

    times = []
    for state, there in ids.items():
        own = [id for id in there if _is_own(id)]
        others = _stats(spool, state, set(there).difference(own)) if len(own) < len(there) else {}
        times += [(id, state, id) for id in nlargest(limit, own)]
        times += [(new_id(found.st_mtime, 0), state, id) for id, found in others.items()]
    return [(state, id) for _, state, id in nlargest(limit, times)]


def _row(job: Job, settings: object) -> list[str]:
    last = job.attempts[-1] if job.attempts and job.state != PROCESSING else {}
    how = last.get("exit", last.get("signal", "").removeprefix("SIG") or ("-" if not last else "lost"))
    command = f"(not a job: {job.problem})" if job.problem else job.command
    return [id_shown(job.id), job.state, tries(job, settings), age(job), str(how), command]


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
    return f"{count}/{settings.for_job(job.record).max_retries + 1}"


def age(job: Job) -> str:
    """Return the time that matters in the job's state: when due, since when running, how long ago ended."""
    now = time.time()
    if job.state == PROCESSING:
        return f"for {span(now - job.ctime)}"
    if job.state == FAILED:
        return f"due {when(job.mtime, now)}"
    if job.state == PENDING and job.mtime > now:
        return f"due {when(job.mtime, now)}"
    return f"{span(now - job.mtime)} ago" if job.state != PENDING else f"waiting {span(now - job.mtime)}"


# ---- dlq

DLQ = """\
The dead letter queue: jobs that used up their tries, and files that are no jobs.

Usage:
  queuectl dlq list [--json] [--limit=<n>] [--spool=<dir>]
  queuectl dlq retry (--all | [--] <job>...) [--spool=<dir>]
  queuectl dlq --help

Options:
  --json          One JSON object a line.
  --limit=<n>     Only the newest n.
  --all           Retry every job in it.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

A job that is retried goes to pending/ with a full new set of tries.

Examples:
  queuectl dlq list
  queuectl dlq retry k7m3q9
  queuectl dlq retry --all
"""


def dlq(words: dict) -> int:
    return _dlq_retry(words) if words["retry"] else _dlq_list(words)


def _dlq_list(words: dict) -> int:
    limit = _limit_of(words["--limit"])
    spool = open_spool(words)
    settings = _settings_or_default(spool)
    jobs = _newest(spool, (DEAD,), limit)
    if words["--json"]:
        for job in jobs:
            print(json.dumps(as_json(spool, job)))
    elif not jobs:
        talk_to_person(f"no dead jobs in {spool.root}")
    else:
        rows = [[id_shown(job.id), age(job), tries(job, settings), why_dead(job), job.command] for job in jobs]
        print_table(("job", "died", "tries", "reason", "command"), rows)
        talk_to_person("queuectl show JOB tells all; queuectl dlq retry JOB tries again")
    return 0


def why_dead(job: Job) -> str:
    """Return in words why the job is in the dead letter queue."""
    if job.problem:
        return f"not a job: {job.problem}"
    if not job.attempts:
        return "no attempt on record: moved there by hand, or not whole in time"
    if job.attempts[-1]["verdict"] not in ("dead", "failed"):
        return "moved there by hand"
    return job.attempts[-1].get("reason", "moved there by hand")


def _dlq_retry(words: dict) -> int:
    spool = open_spool(words)
    settings = spool.settings()
    dead = list(spool.jobs(DEAD)) if words["--all"] else []
    jobs = [job for job in dead if not job.problem] or [find(spool, handle, DEAD) for handle in words["<job>"]]
    for job in jobs:
        if job.state != DEAD:
            raise QueueError(f"{printable(job.id)} is {job.state}, not dead: `dlq retry` takes dead jobs only")
        if job.problem:
            path = spool.path(DEAD, job.id)
            raise QueueError(f"{printable(path)} is not a whole job ({job.problem}): mend it, then retry it")
    refused = []
    for job in {job.id: job for job in jobs}.values():
        try:
            _note_dead(spool, job, settings)
            spool.move(job, PENDING)
        except (QueueError, NoSuchJob) as error:
            refused.append(error)  # the others are retried all the same
        else:
            print(printable(job.id))
    for error in refused[:-1]:
        talk(str(error))
    if refused:
        raise refused[-1]
    if odd := sum(bool(job.problem) for job in dead):
        talk(f"{counted(odd, 'file')} in {spool.folder(DEAD)} left there, no whole job: `queuectl dlq list` says why")
    if not jobs:
        talk(f"no dead jobs to retry in {spool.root}")
    else:
        _tell_of_workers(spool)
    return 0


def _note_dead(spool: Spool, job: Job, settings: object) -> None:
    """Let a job that hands put into dead/ have its tries again, too. Raises TryAgain where somebody holds it for a while."""
    from jobspool import claim

    until = time.monotonic() + 1  # a supervisor may be noting it just now
    while claim.note_dead(spool, job.id, settings) is None:
        if time.monotonic() > until:
            raise TryAgain(f"{printable(job.id)} is just being ended, or held: try again in a moment")
        time.sleep(0.02)


# ---- config

CONFIG = """\
Show and change the settings of the spool. Running workers take them up at their next job.

Usage:
  queuectl config [list] [--json] [--spool=<dir>]
  queuectl config --key=<key> [--value=<value>] [--spool=<dir>]
  queuectl config get <key> [--spool=<dir>]
  queuectl config set <key> <value> [--spool=<dir>]
  queuectl config unset <key> [--spool=<dir>]
  queuectl config --help

Options:
  --key=<key>       The setting to show, or with --value to change.
  --value=<value>   Its new value.
  --json            One JSON object a line.
  --spool=<dir>     The spool to use.
  -h --help         Print this.

Examples:
  queuectl config --key max_retries --value 5
  queuectl config set backoff-base 3
"""


def config(words: dict) -> int:
    from jobspool import config as settings

    spool = open_spool(words)
    key = words["--key"] if words["--key"] is not None else words["<key>"]
    value = words["--value"] if words["--value"] is not None else words["<value>"]
    if key is None:
        return _config_list(spool, words["--json"])
    name = settings.name_of(key)
    if value is None and not words["unset"]:
        print(_shown(getattr(spool.settings(), name)))
        return 0
    new = ... if words["unset"] else settings.value_of(name, value)
    spool.ready()
    changed = settings.change(spool.root, name, new, spool.spare(), spool.file_mode(spool.settings()))
    talk_to_person(f"{name} is {_shown(getattr(changed, name))} for {spool.root}")
    return 0


def _config_list(spool: Spool, as_lines: bool) -> int:
    from jobspool.config import SETTINGS

    settings = spool.settings()
    rows = []
    for setting in SETTINGS.values():
        value = getattr(settings, setting.name)
        if as_lines:
            known = {"key": setting.name, "value": value, "default": setting.default}
            print(json.dumps({**known, "unit": setting.unit, "meaning": setting.meaning}))
        rows.append([setting.name, _shown(value), _shown(setting.default), setting.unit or "-", setting.meaning])
    if not as_lines:
        print_table(("key", "value", "default", "unit", "meaning"), rows, wrap=True)
    return 0


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


# ---- show and logs

SHOW = """\
Show all about one job: where it is, what it runs, each attempt, its files.

Usage:
  queuectl show [options] [--] <job>

Options:
  --json          One JSON object.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl show k7m3q9
"""


def show(words: dict) -> int:
    spool = open_spool(words)
    job = find(spool, words["<job>"])
    if words["--json"]:
        print(json.dumps(as_json(spool, job)))
    else:
        print_lines(_show_lines(spool, job), cut=False)
    return 0


def _show_lines(spool: Spool, job: Job) -> list[str]:
    settings = _settings_or_default(spool)
    lines = [f"job         {job.id}", f"state       {job.state}{_state_words(job, settings)}"]
    for word, value in job.record.items():
        if word not in ("attempts", "argv"):
            lines.append(f"{word:<11} {value if isinstance(value, str) else json.dumps(value)}")
        elif word == "argv":
            lines.append(f"argv        {job.command}")
    lines.append(f"file        {spool.path(job.state, job.id)}")
    lines += [f"attempt {attempt.get('number', '?'):<3} {_attempt_words(attempt)}" for attempt in job.attempts]
    lines += [f"log         {path} ({size} bytes)" for path, size in _logs(spool, job)]
    return lines


def _state_words(job: Job, settings: object) -> str:
    if job.problem:
        return f": not a whole job: {job.problem}"
    if job.state == DEAD:
        return f" for {span(time.time() - job.mtime)}: {why_dead(job)}"
    return f", {age(job)}, {tries(job, settings)} tries"


def _attempt_words(attempt: dict) -> str:
    how = attempt.get("reason") or f"exit {attempt.get('exit')}"
    used = f", cpu {attempt['cpu']:g} s, {attempt['memory'] / 1e6:.0f} MB" if {"cpu", "memory"} <= attempt.keys() else ""
    due = f", due {attempt['due'][:19]}Z" if attempt["verdict"] == "failed" and "due" in attempt else ""
    began = str(attempt.get("started", "?"))[:19]
    took = f"{how} after {span(attempt.get('duration', 0))}"
    return f"{began}Z  {took}{used}: {attempt['verdict']}{due} ({attempt.get('worker', '?')})"


def _logs(spool: Spool, job: Job) -> list[tuple[str, int]]:
    """Return the paths and sizes of what its attempts printed."""
    from jobspool import durable

    found = []
    for attempt in range(1, len(job.attempts) + 2):
        for stream in ("out", "err"):
            log = spool.log_path(job.id, attempt, stream)
            for path in (log, *durable.asides(log)):  # older ones of its name, too
                try:
                    found.append((path, os.lstat(path).st_size))
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):  # the id of what is no job may be too long for logs
                        raise
    return found


LOGS = """\
Print what a job printed, byte by byte: its newest attempt's standard output, or what the options say.

Usage:
  queuectl logs [options] [--] <job>

Options:
  --attempt=<n>   That attempt's; the first is 1.
  --stderr        Its standard error instead.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl logs k7m3q9
  queuectl logs k7m3q9 --attempt 1 --stderr
"""


def logs(words: dict) -> int:
    spool = open_spool(words)
    job = find(spool, words["<job>"])
    last = len(job.attempts) + (job.state == PROCESSING or _printed_more(spool, job))
    attempt = _attempt_of(words["--attempt"], last) or last
    if not last:
        if job.problem:
            raise QueueError(f"{printable(job.id)} has never run: it is not a whole job ({job.problem})")
        raise QueueError(f"{printable(job.id)} has not been tried yet: it is {job.state}")
    stream, other = ("err", "out") if words["--stderr"] else ("out", "err")
    printed = _copy_out(spool.log_path(job.id, attempt, stream))
    if not printed:
        size = dict(_logs(spool, job)).get(spool.log_path(job.id, attempt, other), 0)
        hint = "" if not size else f"; {size} bytes are on its stderr: --stderr" if other == "err" else "; see without --stderr"
        talk_to_person(f"attempt {attempt} printed nothing there{hint}")
    return 0


def _printed_more(spool: Spool, job: Job) -> bool:
    """Tell whether an attempt that isn't on record, as hands took the job away, left a log."""
    return any(os.path.exists(spool.log_path(job.id, len(job.attempts) + 1, stream)) for stream in ("out", "err"))


def _attempt_of(text: str | None, last: int) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18 or not 1 <= int(text) <= max(last, 1):
        raise Wrong(f"--attempt {text}: there are the attempts 1 to {last}" if last else f"--attempt {text}: there is none yet")
    return int(text)


def _copy_out(path: str) -> int:
    """Copy the file to stdout; return how many bytes it had."""
    copied = 0
    try:
        with open(path, "rb", opener=lambda path, _: os.open(path, READ)) as file:
            while piece := file.read(1 << 16):
                sys.stdout.buffer.write(piece)
                copied += len(piece)
    except FileNotFoundError:
        pass  # nothing was printed, so there is no file
    sys.stdout.buffer.flush()
    return copied


# ---- init

INIT = """\
Make a spool, or what is missing of one, and print its path.

Usage:
  queuectl init [options] [<dir>]

It is made as ./spool without DIR, for you alone (mode 0700).

Options:
  --group=<name>   Let the members of this group add jobs, which run as whoever starts the workers.
  --spool=<dir>    The same as DIR.
  -h --help        Print this.

Examples:
  queuectl init
  queuectl init /srv/builds --group builders
"""


def init(words: dict) -> int:
    spool = Spool.init(words["<dir>"] or words["--spool"] or "spool", words["--group"])
    print(printable(spool.root))
    return 0


# ---- words in

COMMANDS: dict[str, tuple[str, Callable[[dict], int]]] = {
    "enqueue": (ENQUEUE, enqueue),
    "start": (START, start),
    "stop": (STOP, stop),
    "status": (STATUS, status),
    "list": (LIST, list_),
    "show": (SHOW, show),
    "logs": (LOGS, logs),
    "dlq": (DLQ, dlq),
    "config": (CONFIG, config),
    "init": (INIT, init),
    "doctor": (DOCTOR, doctor),
}
OTHER_NAMES = {"fsck": "doctor"}
INSTEAD = {  # what people try, and what does it
    "retry": ": queuectl dlq retry JOB, or mv failed/JOB.json pending/",
    "cancel": ": mv processing/JOB.json dead/ ends a running job and leaves it dead",
    "kill": ": mv processing/JOB.json dead/ ends a running job and leaves it dead",
    "rm": ": rm pending/JOB.json forgets a job",
    "remove": ": rm pending/JOB.json forgets a job",
    "delete": ": rm pending/JOB.json forgets a job",
    "pause": ": touch paused in the spool starts nothing new until it is removed",
    "resume": ": rm paused in the spool",
    "add": ": queuectl enqueue adds a job",
    "version": ": queuectl --version",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: the console script's entry point."""
    sys.stdout.reconfigure(errors="backslashreplace")  # no name that a terminal's encoding lacks is a reason to say nothing
    try:
        status = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python's own flush at the end stays quiet
        return EXIT_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (Wrong, WrongValue, NotAJob) as error:
        return complain(error, EXIT_USAGE)
    except BrokenConfig as error:
        return complain(error, EXIT_CONFIG)
    except TryAgain as error:
        return complain(error, EXIT_LATER)
    except AmbiguousJob as error:
        candidates = "".join(f"\n  {state:<10} {printable(id)}" for state, id in error.candidates[:10])
        more = len(error.candidates) - 10
        return complain(f"{error}{candidates}" + (f"\n  and {more} more" if more > 0 else ""), EXIT_FAILED)
    except (QueueError, NoSuchJob) as error:
        return complain(error, EXIT_FAILED)
    except OSError as error:
        from jobspool.trouble import MAY_PASS, told

        spool = os.path.dirname(os.path.dirname(os.fspath(error.filename or "")))
        return complain(told(error, spool), EXIT_LATER if error.errno in MAY_PASS else EXIT_FAILED)


def command() -> NoReturn:
    """Be the command: run it, and end without the clean-up of all modules, which takes as long as adding a job does."""
    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def run(argv: list[str]) -> int:
    """Run what the words say. Raises what main() turns into exit statuses."""
    spool, rest = _options_first(argv)
    if not rest or rest[0] in ("help", "-h", "--help"):
        if rest[1:] and rest[1] in COMMANDS:
            rest = [rest[1], "--help"]
        else:
            print(OVERVIEW, end="")
            return 0
    if rest[0] == "--version":
        print(f"queuectl {__version__}")
        return 0
    if rest[0] in ("worker", "workers"):
        if rest[1:2] not in (["start"], ["stop"]):
            raise Wrong("queuectl worker start, queuectl worker stop: the same as queuectl start and queuectl stop")
        rest = rest[1:]
    name = OTHER_NAMES.get(rest[0], rest[0])
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        instead = INSTEAD.get(name) or f"{did_you_mean(name, COMMANDS, ':')} `queuectl --help` lists them"
        raise Wrong(f"unknown {kind} {name!r}{instead}")
    usage, function = COMMANDS[name]
    options = rest[: rest.index("--")] if "--" in rest else rest
    if "--help" in options or "-h" in options:
        print(usage, end="")
        return 0
    return function(_parsed(usage, [name, *(["--spool", spool] if spool else []), *rest[1:]]))


def _options_first(argv: list[str]) -> tuple[str | None, list[str]]:
    """Return the --spool that stands before the command, and the words from the command on."""
    if argv and argv[0] == "--spool":
        if len(argv) < 2:
            raise Wrong("--spool needs a directory: queuectl --spool DIR COMMAND")
        return argv[1], argv[2:]
    if argv and argv[0].startswith("--spool="):
        return argv[0].removeprefix("--spool="), argv[1:]
    return None, argv


def _parsed(usage: str, words: list[str]) -> dict:
    """Return what docopt makes of the words. Raises Wrong, with what was wrong."""
    from docopt import DocoptExit, docopt

    _check_options(usage, words)
    try:
        return docopt(usage, words, default_help=False)
    except DocoptExit:
        raise Wrong(_misfit(usage, words)) from None


def _check_options(usage: str, words: list[str]) -> None:
    """Raise Wrong for the first option that the usage doesn't know, or that lacks its value."""
    from docopt import parse_options

    options = parse_options(usage)
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        if word == "--":
            return
        if not word.startswith("-") or word == "-" or _is_number(word):
            continue
        name, equals, _ = word.partition("=")
        fits = [o for o in options if name in (o.longer, o.short)] or [
            o for o in options if name.startswith("--") and o.longer and o.longer.startswith(name)
        ]
        if not fits:
            raise Wrong(_unknown_option(usage, words, name, options))
        if len(fits) > 1:
            raise Wrong(f"{name} may be {' or '.join(o.longer for o in fits)}: write it out")
        if fits[0].argcount and not equals:
            if not rest or rest[0] == "--":
                raise Wrong(f"{name} needs a value: {name} {fits[0].longer[2:].upper()}")
            rest.pop(0)


def _unknown_option(usage: str, words: list[str], name: str, options: list) -> str:
    given = [word for word in words[1 : words.index(name) if name in words else None] if not word.startswith("-")]
    if words[0] == "enqueue" and given and not any(word.startswith("--") for word in words[1 : words.index(given[0])]):
        return f"unknown option {name}; " + _both_corrections(words[words.index(given[0]) :])
    import difflib

    near = difflib.get_close_matches(name, [o.longer for o in options if o.longer], 1, 0.6)
    hint = f", did you mean {near[0]}?" if near else ":"
    return f"unknown option {name}{hint} `queuectl {words[0]} --help` lists them"


def _misfit(usage: str, words: list[str]) -> str:
    """Say what doesn't fit where each option is known: words that are missing, too many, or twice."""
    lines = re.search(r"Usage:\n((?:  .*\n)+)", usage).group(1).rstrip().split("\n")
    longs = [word for word in words if word.startswith("--")]
    twice = next((word for word in longs if longs.count(word) > 1 and word != "--env"), None)
    if twice:
        return f"{twice} is given twice"
    fitting = [line for line in lines if " ".join(word for word in words if not word.startswith("-")) in line]
    if len(fitting) == 1 and "<job>" in fitting[0]:
        return f"which job? {fitting[0].strip().replace('[--] ', '')}"
    return f"{' '.join(map(printable, words))!s}: these words fit none of\n" + "\n".join(lines)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def open_spool(words: dict) -> Spool:
    """Return the spool that is meant, saying so where it has just been made."""
    spool = Spool.open(words["--spool"])
    if spool.made:
        talk(f"made a spool for you at {spool.root}")
    return spool


def find(spool: Spool, handle: str, first: str | None = None) -> Job:
    """Return the job that is meant, as Spool.find() does; an id of odd characters may be given as it is printed, too."""
    try:
        return spool.find(handle, first)
    except NoSuchJob:
        part = os.path.basename(handle)
        part = id_of(part) or part
        fits = {id: printable(id) for state in STATES for id in spool.names(state) if part in printable(id)}
        ids = [id for id in fits if fits[id] == part] or list(fits)
        if len(ids) != 1:
            raise
        return spool.find(f"{ids[0]}.json", first)


def _settings_or_default(spool: Spool, quiet: bool = False) -> object:
    """Return the settings, or where config.json is broken the defaults: looking must go on."""
    try:
        return spool.settings()
    except BrokenConfig as error:
        from jobspool.config import Settings

        if not quiet:
            talk(str(error))
        return Settings()


# ---- words out

CONTROLS = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


def printable(text: str) -> str:
    """Return the text with every character that a terminal might obey, or can't show, made visible."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(CONTROLS, lambda found: repr(found.group())[1:-1], text)


def talk(text: str) -> None:
    """Say something to whoever runs the command, on stderr; a disk that is full doesn't hear it."""
    try:
        print(f"queuectl: {printable(text)}", file=sys.stderr, flush=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def talk_to_person(text: str) -> None:
    """Say something only where a person is watching."""
    if sys.stderr.isatty():
        talk(text)


def complain(problem: object, status: int) -> int:
    """Say what was wrong, and return the exit status for it."""
    lines = str(problem).split("\n")
    print("queuectl: " + "\n".join(map(printable, lines)), file=sys.stderr, flush=True)
    return status


def as_json(spool: Spool, job: Job) -> dict:
    """Return the job as the object that --json prints: what the file says, and what its place says."""
    known = {"id": job.id, "state": job.state, "mtime": iso(job.mtime), "file": spool.path(job.state, job.id)}
    return {**known, **({"problem": job.problem} if job.problem else job.record)}


def short(id: str) -> str:
    """Return the handle that people see for an id."""
    return printable(Job(id, "", {}, 0, 0).handle)


def id_shown(id: str) -> str:
    """Return how a table names a job: by its handle on a terminal, whole in a pipe."""
    return short(id) if sys.stdout.isatty() else printable(id)


def span(seconds: float) -> str:
    """Return a length of time as people say it: 0.2 s, 8 s, 5 min, 3 h, 2 d."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.2g} s" if seconds >= 0.01 else f"{seconds:.3f} s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def when(moment: float, now: float) -> str:
    """Return a time to come as people say it."""
    return f"in {span(moment - now)}" if moment > now else "now"


def counted(count: int, thing: str) -> str:
    """Return "1 worker", "2 workers"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def print_lines(lines: list[str], cut: bool = True) -> None:
    """Print the lines, each cut to a terminal's width."""
    width = _terminal_width() if cut and sys.stdout.isatty() else None
    for line in map(printable, lines):
        print(line if width is None or len(line) <= width else line[: width - 1] + "…")


def _terminal_width() -> int:
    """Return the columns of the terminal that stdout is, as COLUMNS or the terminal says; 80 where neither does."""
    columns = os.environ.get("COLUMNS", "")
    try:
        return int(columns) if columns.isdecimal() and int(columns) else os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def print_table(heads: tuple[str, ...], rows: list[list[str]], wrap: bool = False) -> None:
    """Print a table, plain and whole into a pipe, with rich to a person: there the last column gives way, cut or wrapped."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(heads, rows, wrap)
        return
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(heads: tuple[str, ...], rows: list[list[str]], wrap: bool) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    gaps = 2 * (len(heads) - 1)
    widths = [max(cell_len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    widths[0] = min(widths[0], max(LEAST_JOB, console.width - sum(widths[1:-1]) - gaps - LEAST_COMMAND))
    widths[-1] = max(LEAST_COMMAND, min(widths[-1], console.width - sum(widths[:-1]) - gaps))
    console.width = max(console.width, sum(widths) + gaps)  # too narrow a terminal wraps lines: nothing else is cut
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, (head, width) in enumerate(zip(heads, widths, strict=True)):
        if column == 0:
            table.add_column(head, overflow="fold", width=width)  # a long id stands whole, on several lines
        else:
            table.add_column(head, no_wrap=not wrap, overflow="ellipsis", width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
