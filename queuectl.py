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
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice

from jobspool import __version__, say
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
from jobspool.say import (
    age,
    counted,
    exit_code,
    pause_reason,
    person,
    printable,
    progress_words,
    short,
    span,
    took,
    tries,
    until,
    when,
    why_dead,
    why_failed,
)
from jobspool.spool import PAUSED, Spool, find_root, ids_of, ignored, is_unfinished, read_file
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES, state_named
from jobspool.trust import distrust_type, forbidden, opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from jobspool.shown import Shown

    Stats = dict[str, dict[str, os.stat_result]]  # by state and id

OVERVIEW = """\
queuectl: a job queue that you can ls.
A job is one JSON file, its directory is its state, mv is the API.

  enqueue "make all"    add a job: one word is a shell command
  enqueue -- make all   add a program and its words, without a shell
  run "make all"        add a job, show what it prints, exit as it did
  again JOB             add a copy

  start [--count N]     run workers here (--detach: in the background)
  stop                  end them when their jobs are done (--now: at once)
  scale N, restart      more or fewer of them; anew, after an upgrade
  install-service       have systemd run them from boot on

  status, top           the spool and its workers at a glance, or live
  web                   a page that shows all this, and an API
  list                  the jobs (--state, --name, --tag, --since, --grep)
  show JOB, why JOB     all about one; why it is where it is
  logs [-f] [JOB...]    what they printed, or print
  wait [JOB...]         until they, or all, have ended
  batch [NAME], stats   how far batches are; how jobs went
  events [-f] [JOB...]  what became of jobs, and by whom
  metrics               all that in numbers, for Prometheus

  cancel, kill JOB...   end them, with all that they started
  retry JOB...          try them again, now
  edit JOB              in your editor
  hold, release JOB...  let them wait, let them go
  front, back JOB...    next in line, or last; priority JOB N
  group [NAME]          limits: how many at once, how often
  schedule add NAME     a job again and again; schedule lists them
  pause, resume         let nothing new start; go on
  rm JOB..., clean      remove them and their logs; the old ones
  dlq list              the jobs that used up their tries

  config, init [DIR]    the settings; make a spool
  doctor [--fix]        what is wrong with the spool, and what to type
  completion SHELL      let the shell complete all this

A JOB is any part of an id that fits one job only, @last or @failed.
`queuectl COMMAND --help` tells more, with examples; queuectl(1) all of it.
Options everywhere: --spool DIR, --color=WHEN, -h --help, --version.
"""

LEAST_JOB, LEAST_COMMAND = 12, 8  # characters of a table's first and last column
MOST_LOOKED_AT = 1000  # jobs of a state, by status
LINES_SHOWN, MOST_SHOWN = 5, 4000  # lines, and bytes, of each stream that show prints
MAY_RUN = (PENDING, FAILED, PROCESSING)
MOST_WARNINGS = 100  # of a kind, in status
EXIT_USAGE, EXIT_FAILED, EXIT_NO_WORKER, EXIT_LATER, EXIT_CONFIG = 2, 1, 3, 75, 78
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141

RUNNING = [""]  # the command's name
BY: dict[str, str] = {}  # what the journal says of who moves jobs here, once that was asked


class Wrong(Exception):
    """Wrong usage: the message says what was wrong and what to type."""


# ---- enqueue

JOB_WORDS = """\
  --max-retries=<n>       How often to try again after a failure.
  --timeout=<time>        End an attempt that takes longer: 30 (seconds), 10m, 1h30m.
  --idle-timeout=<time>   End an attempt that prints nothing for so long.
  --grace=<time>          The time between TERM and KILL when it is ended.
  --stop-signal=<name>    Send this instead of TERM: INT, USR1.
  --memory=<size>         End an attempt that has more memory in use: 512M, 2G.
  --cpu-time=<time>       End a process of it that takes more processor time.
  --open-files=<n>        No more files than these may be open in a process of it.
  --core-size=<size>      The largest file a crash may leave; 0: none.
  --nice=<n>              How much it gives way to others: 0 to 19.
  --ionice=<class>        The same for the disk: best-effort, idle.
  --delay=<time>          Not before so much time has gone by.
  --at=<time>             Not before then: 17:00, 'tomorrow 7:00', 'next monday 9am', 2026-12-01T08:00.
  --expires=<time>        Not run any more from then on, or after so much time: it goes to dead/.
  --deadline=<time>       The same, and an attempt that still runs then is ended.
  --retry-until=<time>    Try again until then, however often.
  --backoff=<how>         exponential, linear, fixed, or the wait before each retry: 10s,1m,10m.
  --backoff-base=<x>      Retry n comes x ** n seconds after the failure; x * n if linear, x if fixed.
  --exits=<list>          What exit codes mean: 3=done,64=dead,65=retry,75=snooze.
  --snooze=<time>         How long it waits when it snoozes (exit 75), which is not counted as a try.
  --priority=<n>          Higher runs first; 0 without it.
  --group=<name>          Of this group, whose limits hold: queuectl group.
  --batch=<name>          Of this batch: queuectl batch tells how far it is.
  --lock=<names>          Never beside another job with one of these locks: db,disk.
  --slots=<list>          What it takes of what there is of the setting `slots`: gpu=1,license=2.
  --after=<jobs>          Not before these jobs are done: k7m3q9,p4x1z8.
  --after-any=<jobs>      Not before these have ended, done or dead.
  --after-fail=<jobs>     Only when these are dead; when one is done, it is given up.
  --dead-parent=<what>    What comes of it when a job of --after is dead: wait (until that is tried again), cancel, run.
  --cwd=<dir>             Run there; in the current directory without it.
  --env=<pair>            NAME=VALUE for the job's environment; may be repeated.
  --hold=<reason>         Let it wait until it is released.
  --keep=<time>           How long it is kept when it has ended: 7d, forever; as the spool, or its group, keeps them without it.
  --name=<text>           A name for people.
  --tag=<text>            A word to choose jobs by; may be repeated.
"""
ITS_NAME = """\
  --id=<id>               The id, instead of a new one.
  --unique=<key>          The id, too; where such a job waits or runs, add none, and print its id.
  --unique-until=<what>   done: while such a job waits or runs (without it); started: only while it waits.
  --unique-for=<time>     And for so long behind its end.
  --replace               But let the one that waits be this one, and follow one that runs: the last that is added counts,
                          and with --delay runs once there is quiet.
  --fail                  But exit 1.
"""
ENQUEUE = f"""\
Add a job and print its id.

Usage:
  queuectl enqueue [options] [--env=<pair>]... [--tag=<text>]... [--] [<word>...]

One word is a command for sh -c, or a job as a JSON object. After -- come a program and its words, without a shell.
JSON may name the job with "id". A job may write progress, a result, or when to try again to $QUEUECTL_RESULT: queuectl-spool(5).

Options:
{JOB_WORDS}{ITS_NAME}  --wait                  Return when it has ended, and exit as it did; of several, 1 if one of them failed.
  --follow                Show what it prints meanwhile, as run does.
  --from=<file>           Add a job for each line: a command, or a JSON object; - reads stdin. Lines that are blank or
                          begin with # are skipped.
  --each=<file>           Add a job for each line that is not blank, with the line in the place of {{}}; - reads stdin. In a shell
                          command it is quoted.
  --json                  One JSON object a line, the job, instead of its id.
  --array=<range>         Add a job for each number, as 1-100 or 0-9,20: QUEUECTL_ARRAY_INDEX in its environment.
  --then=<command>        Add one more, which runs when all these have ended, done or dead.
  -q --quiet              Say nothing on stderr.
  --spool=<dir>           The spool to use.
  -h --help               Print this.

Examples:
  queuectl enqueue "pg_dump shop | gzip > shop.gz" --max-retries 5 --timeout 600
  queuectl enqueue -- convert "in file.png" out.jpg
  queuectl enqueue '{{"command": "make", "priority": 5}}'
  ls *.wav | queuectl enqueue --each - -- lame {{}} {{}}.mp3
  queuectl enqueue --array 1-100 --batch render --then "echo all there" './frame.sh $QUEUECTL_ARRAY_INDEX'
"""


def enqueue(words: dict) -> int:
    records = _records(words)
    if (words["--id"] or words["--unique"]) and (len(records) != 1 or words["--array"] is not None):
        raise Wrong("--id and --unique name one job, and this would add several")
    if words["--unique"] is not None and words["--then"] is not None:
        raise Wrong("--then comes behind what is added, and with --unique that may be nothing: enqueue that job with --after KEY")
    start = _start(words)
    _check_its_name(words)
    spool = open_spool(words)
    options = _options(words, spool)
    _tell_of_waiting(spool, start, options, words)
    records = [(record.pop("id", None), _with_options(record, options, words)) for record in records]
    if words["--array"] is not None:
        records = [(None, record) for record in _as_array([record for _, record in records], words["--array"])]
    unique = words["--unique"] is not None
    jobs = [_added_unique(spool, records[0][1], start, words)] if unique else _added(spool, records, start, words)
    print_jobs(spool, jobs, words)
    if not words["--quiet"]:
        _tell_of_workers(spool)
    return _see_ended(spool, jobs, words) if words["--wait"] or words["--follow"] else 0


def _added(spool: Spool, records: list[tuple], start: float | None, words: dict) -> list[Job]:
    """Add a job for each (id or None, record), and the one that comes then, and return them. Raises Wrong."""
    if words["--then"] is not None and spool.settings().max_job_bytes < 40 * len(records):
        raise Wrong(f"--then can't name {len(records)} jobs in a file of max_job_bytes: add them in parts")
    with Progress("adding jobs", len(records), words["--quiet"]) as progress:
        jobs = spool.add_many(
            [(id if words["--id"] is None else words["--id"], record, start) for id, record in records], progress.tell
        )
    return jobs + (_added_then(spool, jobs, words) if words["--then"] is not None and jobs else [])


def _tell_of_waiting(spool: Spool, start: float | None, options: dict, words: dict) -> None:
    """Say what keeps the new jobs from running for long, and when they may. Raises Wrong where they never could."""
    from jobspool.job import last_moment

    last = last_moment(options)
    if start is not None and last is not None and start >= last:
        raise Wrong("it could never run: it is too late for it before its time has come")
    if words["--quiet"]:
        return
    if words["--at"] is not None:
        talk_to_person(f"due {time.strftime('%a %Y-%m-%d %H:%M:%S %Z', time.localtime(start))}")
    if "slots" in options or "group" in options:
        from jobspool import admission

        settings = _settings_or_default(spool)
        if barred := admission.closed(options, settings):
            talk(f"it will wait: {barred[1]}")
        elif "group" in options and options["group"] not in settings.groups:
            talk_to_person(f"the group {options['group']} has no limits: queuectl group {options['group']} --concurrency N")


def _added_then(spool: Spool, jobs: list[Job], words: dict) -> list[Job]:
    """Add the job that comes when all these have ended, and return it in a list."""
    record = {**_record_in(words["--then"]), "after_any": [job.id for job in jobs]}
    record |= {"batch": words["--batch"]} if words["--batch"] is not None else {}
    return spool.add_many([_with_options(record, {}, words)])


def _as_array(records: list[dict], text: str) -> list[dict]:
    """Return each of the jobs for each number of the range. Raises Wrong."""
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise Wrong(f"--array takes numbers such as 1-100 or 0-9,20, not {text!r}")
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
        if len(numbers) > MOST_OF_AN_ARRAY:
            raise Wrong(f"--array {text}: no more than {MOST_OF_AN_ARRAY} jobs at once")
    return [
        {**record, "env": {**record.get("env", {}), "QUEUECTL_ARRAY_INDEX": str(number)}}
        for record in records
        for number in numbers
    ]


MOST_OF_AN_ARRAY = 1_000_000


OF_UNIQUE = ("--unique-until", "--unique-for", "--replace", "--fail")


def _check_its_name(words: dict) -> None:
    """Raise Wrong where the options that name a new job, or say what comes of its name, don't fit each other."""
    _check_id(words["--id"])
    if words["--unique"] is None:
        if alone := next((each for each in OF_UNIQUE if words[each]), None):
            raise Wrong(f"{alone} is of --unique: queuectl enqueue --unique KEY {alone} ...")
        return
    if words["--id"] is not None or (words["--replace"] and words["--fail"]):
        raise Wrong("give one of --id and --unique, and one of --replace and --fail")
    if words["--unique-until"] not in (None, "done", "started"):
        raise Wrong(f"--unique-until takes done or started, not {words['--unique-until']!r}")


def _added_unique(spool: Spool, record: dict, start: float | None, words: dict) -> Job:
    """Add the job, or return the one of that key that there is. Raises Wrong, JobExists."""
    from jobspool import hands
    from jobspool.job import quoted

    key = quoted(words["--unique"])
    _check_id(key)
    within = -1.0 if words["--unique-until"] == "started" else _seconds_of(words, "--unique-for") or 0.0
    policy = "replace" if words["--replace"] else "fail" if words["--fail"] else "skip"
    job, added = hands.add_unique(spool, key, record, start, within, policy, spool.settings())
    if not added and not words["--quiet"]:
        talk_to_person(f"{printable(job.id)} is {job.state} already")
    return job


def _check_id(id: str | None) -> None:
    """Raise Wrong for an id that would mean something else where a job is named."""
    if id is not None and (id.startswith("@") or id == "-" or re.search(r"~\d+$", id)):
        raise Wrong(f"--id {id}: such a name means something else: @ and - name jobs, and ~1 ends what was set aside")


def _see_ended(spool: Spool, jobs: list[Job], words: dict) -> int:
    """Wait for the jobs that were added, and return the exit status for how they ended."""
    if words["--follow"] and len(jobs) == 1:
        return _follow_to_end(spool, jobs[0], words["--quiet"])
    if words["--follow"]:
        _follow_logs(spool, jobs, [1] * len(jobs), ("out", "err"), None)
    from jobspool import follow

    return _code_of_all([exit_code(job) for job in follow.ends(spool, [job.id for job in jobs], None)])


def _code_of_all(codes: list[int]) -> int:
    """Return the exit status for these: the only one itself, of several 0 if all are, else 1."""
    return codes[0] if len(codes) == 1 else int(any(codes))


def _records(words: dict) -> list[dict]:
    """Return what is to be added, as the words on the command line or the lines of a file say."""
    given, source = words["<word>"], words["--from"]
    if words["--each"] is not None:
        return _records_each(words)
    if source is not None:
        if given:
            raise Wrong("give either --from or a command, not both")
        return _records_from(source)
    if words["--"]:
        if not given:
            raise Wrong("a program must follow --: queuectl enqueue -- PROGRAM [WORD...]")
        return [{"argv": given}]
    if given == ["-"]:
        raise Wrong("- is no command: queuectl enqueue --from - adds a job for each line of stdin")
    if not given:
        more = "" if sys.stdin.isatty() else "; --from - adds a job for each line of stdin"
        raise Wrong(f'what is to run? queuectl enqueue "COMMAND", or queuectl enqueue -- PROGRAM [WORD...]{more}')
    if len(given) > 1:
        raise Wrong(_both_corrections(given))
    return [_record_in(given[0])]


def _records_each(words: dict) -> list[dict]:
    """Return a job for each line of the file, which stands for {} in the command's words."""
    import shlex

    given, source = words["<word>"], words["--each"]
    if words["--from"] is not None:
        raise Wrong("give either --from or --each, not both")
    if not any("{}" in word for word in given):
        raise Wrong(f"--each needs a command with {{}} in it: queuectl enqueue --each {source} -- PROGRAM {{}}")
    if len(given) > 1 and not words["--"]:
        raise Wrong(_both_corrections(given))
    lines = [line for line in os.fsdecode(_content_of(source, "--each")).split("\n") if line.strip()]
    if words["--"]:
        return [{"argv": [word.replace("{}", line) for word in given]} for line in lines]
    return [{"command": given[0].replace("{}", shlex.quote(line))} for line in lines]


def _content_of(source: str, option: str) -> bytes:
    """Return the file's content, or stdin's for -. Raises Wrong."""
    try:
        return sys.stdin.buffer.read() if source == "-" else _read(source)
    except OSError as error:
        raise Wrong(f"{option} {source}: {error.strerror}") from None


def _both_corrections(given: list[str]) -> str:
    import shlex

    return (
        "several words: quote them as one command, or put -- before a program and its words:\n"
        f"  queuectl enqueue {shlex.quote(' '.join(given))}\n"
        f"  queuectl enqueue -- {shlex.join(given)}"
    )


def _records_from(source: str) -> list[dict]:
    content = _content_of(source, "--from")
    records = []
    for place, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if line.strip() and not line.lstrip().startswith(b"#"):
            try:
                records.append(_record_in(line.decode("utf-8")))
            except (UnicodeDecodeError, NotAJob) as error:
                raise NotAJob(f"{source} line {place}: {error} (nothing was added)") from None
    return records


BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # and CR before LF: as other systems write lines


def _record_in(word: str) -> dict:
    """Return the job that one word describes: a JSON object, or a shell command."""
    if word.lstrip().startswith("{"):
        record = _parsed_json(word.encode("utf-8", "surrogatepass"))
        return _without_attempts(record)
    if _is_list(word):
        raise NotAJob(f'a JSON list is no job: {{"argv": {word.strip()}}} would be')
    if not word.strip():
        raise NotAJob("the command is empty")
    return {"command": word}


def _parsed_json(content: bytes) -> dict:
    """Return the new job that the JSON says. Raises NotAJob, with the place where it is no JSON."""
    try:
        return parse(content, 1 << 30, NEW_WORDS)
    except NotAJob as error:
        raise NotAJob(f"{error}{_caret(content, str(error))}") from None


def _without_attempts(record: dict) -> dict:
    """Return the record that a person wrote. Raises NotAJob where it tells of attempts."""
    for word in ("attempts", "cancelled"):
        if word in record:
            raise NotAJob(f"{word} {'are' if word == 'attempts' else 'is'} the queue's to write: leave that key out")
    return record


def _is_list(word: str) -> bool:
    if not word.lstrip().startswith("["):
        return False
    try:
        return isinstance(json.loads(word), list)
    except ValueError:
        return False  # [ is a command, too


def _options(words: dict, spool: Spool) -> dict:
    """Return what the options say of the job."""
    options = {
        "max_retries": _number_of(words, "--max-retries"),
        "timeout": _seconds_of(words, "--timeout"),
        "grace": _seconds_of(words, "--grace"),
        "idle_timeout": _seconds_of(words, "--idle-timeout"),
        "stop_signal": _stop_signal(words),
        "limits": _limits_of(words),
        "nice": _number_of(words, "--nice"),
        "ionice": _word_of(words, "--ionice"),
        "snooze": _seconds_of(words, "--snooze"),
        "expires": _moment_of(words, "--expires"),
        "deadline": _moment_of(words, "--deadline"),
        "retry_until": _moment_of(words, "--retry-until"),
        "backoff": _setting_of(words, "backoff"),
        "exits": _setting_of(words, "exits"),
        "backoff_base": _number_of(words, "--backoff-base"),
        "priority": _number_of(words, "--priority"),
        "group": _word_of(words, "--group"),
        "locks": _list_of(words, "--lock", "locks"),
        "slots": _setting_of(words, "slots"),
        "after": _parents_of(words, spool, "--after"),
        "after_any": _parents_of(words, spool, "--after-any"),
        "after_fail": _parents_of(words, spool, "--after-fail"),
        "dead_parent": _word_of(words, "--dead-parent"),
        "cwd": _cwd_of(words["--cwd"]),
        "env": _env_of(words["--env"]),
        "hold": words["--hold"],
        "keep": _word_of(words, "--keep"),
        "batch": _word_of(words, "--batch"),
        "name": words["--name"],
        "tags": words["--tag"] or None,
    }
    return {word: value for word, value in options.items() if value is not None}


def _with_options(record: dict, options: dict, words: dict) -> dict:
    """Return the record with the options' words; what the record says itself wins over an option only for --from."""
    whole = {**options, **record} if words["--from"] else {**record, **options}
    return whole if "cwd" in whole else {**whole, "cwd": _here()}


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise Wrong("the current directory is gone: go to another, or say --cwd") from None


def _number_of(words: dict, option: str) -> int | float | None:
    text = words[option]
    if text is None:
        return None
    try:
        value = number(text)
    except ValueError:
        raise Wrong(f"{option} takes a number, not {text!r}") from None
    return _as_word(option, text, value)


def _as_word(option: str, text: str, value: object) -> object:
    """Return the value if the job's word of that name may have it. Raises Wrong."""
    from jobspool.job import WORDS

    if (rule := WORDS.get(option[2:].replace("-", "_"))) and (problem := rule(value)):
        raise Wrong(f"{option} {text}: it {problem}")
    return value


def _seconds_of(words: dict, option: str) -> int | float | None:
    """Return the seconds that the option's value names: a number of them, or a time with units. Raises Wrong."""
    text = words[option]
    if text is None:
        return None
    from jobspool.times import EXAMPLES, duration

    try:
        value = number(text)
    except ValueError:
        try:
            value = duration(text)
        except ValueError:
            raise Wrong(f"{option} takes a number of seconds, or a time such as {EXAMPLES}; not {text!r}") from None
    return _as_word(option, text, int(value) if value == int(value) else value)


def _moment_of(words: dict, option: str) -> str | None:
    """Return the moment that the option's value names, as the job's file has it. Raises Wrong."""
    when = _start_of(words, option)
    return None if when is None else iso(when)


def _start_of(words: dict, option: str) -> float | None:
    """Return the moment that the option's value names, in seconds since 1970. Raises Wrong."""
    if words[option] is None:
        return None
    from jobspool.times import moment

    try:
        when = moment(words[option], time.time())
    except ValueError as error:
        raise Wrong(f"{option}: {error}") from None
    if when <= time.time() and option != "--at":
        raise Wrong(f"{option} {words[option]}: that was {span(time.time() - when)} ago")
    return when


def _setting_of(words: dict, name: str) -> object:
    """Return what the option of the setting's name says. Raises Wrong."""
    if words[f"--{name}"] is None:
        return None
    from jobspool.config import value_of

    try:
        return value_of(name, words[f"--{name}"])
    except WrongValue as error:
        raise Wrong(str(error).replace(name, f"--{name}", 1)) from None


def _word_of(words: dict, option: str) -> str | None:
    """Return the text of the option, where the job's word of that name may be so. Raises Wrong."""
    return None if words[option] is None else _as_word(option, words[option], words[option])


def _list_of(words: dict, option: str, word: str) -> list[str] | None:
    """Return the words between commas. Raises Wrong."""
    if words[option] is None:
        return None
    from jobspool.job import WORDS

    found = [each.strip() for each in words[option].split(",")]
    if problem := WORDS[word](found):
        raise Wrong(f"{option} {words[option]}: it {problem}")
    return found


def _stop_signal(words: dict) -> str | None:
    text = words["--stop-signal"]
    return None if text is None else _signal_of(text).name.removeprefix("SIG")


def _limits_of(words: dict) -> dict | None:
    """Return the limits that the options name. Raises Wrong."""
    cpu = _seconds_of(words, "--cpu-time")
    limits = {
        "memory": _bytes_of(words, "--memory"),
        "cpu": None if cpu is None else max(1, int(cpu)),
        "files": _count_in(words, "--open-files"),
        "core": _bytes_of(words, "--core-size"),
    }
    return {word: value for word, value in limits.items() if value is not None} or None


SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _bytes_of(words: dict, option: str) -> int | None:
    """Return the bytes that the option's value names: 512M, 2GiB. Raises Wrong."""
    text = words[option]
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise Wrong(f"{option} takes a size such as 512M or 2G, not {text!r}")
    return int(float(found[1]) * SIZES[found[2].upper()])


def _parents_of(words: dict, spool: Spool, option: str) -> list[str] | None:
    """Return the ids of the jobs that the option names. Raises Wrong, NoSuchJob, AmbiguousJob."""
    handles = words[option]
    return None if handles is None else [find(spool, each.strip()).id for each in handles.split(",")]


def _start(words: dict) -> float | None:
    """Return from when a new job may run. Raises Wrong."""
    if words["--delay"] is not None and words["--at"] is not None:
        raise Wrong("give either --delay or --at")
    delay = _seconds_of(words, "--delay")
    return _start_of(words, "--at") if delay is None else time.time() + delay


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
  --log=<target>  Where to say what happens: stdout, stderr, a file (which may be rotated), syslog or journald.
  --log-format=<format>
                  text, a calm line for each event, or json, an object a line.
  --log-level=<level>
                  error, warning, info or debug; info without it.
  --verbose       A line for each start of a job, too: --log-level debug.
  --otel          Deliver a span of each attempt to an OpenTelemetry collector: see queuectl-trace(7).
  --max-load=<load>
                  Start nothing while the load of the machine is higher.
  --min-free-memory=<size>
                  ... while less memory is free: 512M, 2G.
  --min-free-disk=<size>
                  ... while less of the spool's disk is free.
  --when=<command>
                  ... unless this command, which is run every few seconds, exits 0.
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
    _gate_of(spool, words)  # a wrong one is told of before anything begins
    _log_form(words)
    _check_tracing(words)
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
    tell = _quiet if words["--quiet"] and words["--log"] is None else _reporter(words)
    if not words["--drain"] or words["--quiet"] or not sys.stdout.isatty():
        return _supervise(spool, count, words, tell)
    with Progress("jobs") as progress:
        return _supervise(spool, count, words, _above(progress, spool, tell))


LOOK_EVERY = 1.0  # seconds between looks at how much there is to drain


def _above(progress: Progress, spool: Spool, tell: Callable[[list[dict]], None]) -> Callable[[list[dict]], None]:
    """Return what tells of events, above a bar for how many jobs have come to their end."""
    done = left = 0
    looked = -LOOK_EVERY

    def told(events: list[dict]) -> None:
        nonlocal done, left, looked
        with progress.hidden():
            tell(events)
        ended = sum(event["event"] == "ended" and event["attempt"]["verdict"] in ("done", "dead") for event in events)
        done, left = done + ended, max(0, left - ended)
        if (clock := time.monotonic()) - looked >= LOOK_EVERY:
            left, looked = sum(spool.count(state) for state in MAY_RUN), clock
        progress.tell(done, done + left)

    return told


def _reporter(words: dict, target: str = "stdout", copies: tuple[int, ...] = (), mode: int | None = None) -> Callable:
    """Return what tells of events as the options say; without --log at `target`. Raises Wrong."""
    from jobspool import telling

    form, level = _log_form(words), "debug" if words["--verbose"] else words["--log-level"] or "info"
    given = words["--log"] is not None
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    try:
        tell = telling.teller(words["--log"] if given else target, form, level, encoding, () if given else copies, mode)
    except telling.NoLog as problem:
        raise Wrong(f"--log {words['--log']}: {problem}") from None
    watched = sys.stderr.isatty() and form == "text" and (words["--log"] or target) in telling.STREAMS
    return _hinting(tell) if watched else tell


def _log_form(words: dict) -> str:
    """Return the form of the log. Raises Wrong where one of its options can't be."""
    from jobspool import telling

    for option, known in (("--log-format", telling.FORMS), ("--log-level", telling.LEVELS)):
        if words[option] is not None and words[option] not in known:
            raise Wrong(f"{option} is one of {', '.join(known)}, not {words[option]!r}")
    if words["--log"] == "":
        raise Wrong("--log needs a target: stdout, stderr, a file, syslog or journald")
    if words["--log"] is not None:
        _check_target(words["--log"])
    return words["--log-format"] or "text"


def _check_target(target: str) -> None:
    """Raise Wrong for the name of a file that was hardly meant for one."""
    from jobspool import telling

    kind, known = target.partition(":")[0], (*telling.STREAMS, *telling.SOCKETS)
    if kind in known or "/" in kind or "." in kind:
        return
    if target in telling.FORMS:
        raise Wrong(f"--log says where: --log-format {target} is how; --log ./{target} is a file of that name")
    import difflib

    if near := ["stdout"] if target == "-" else difflib.get_close_matches(kind.lower(), known, 1, 0.75):
        raise Wrong(f"--log {target}: did you mean {near[0]}? --log ./{target} is a file of that name")


def _hinting(tell: Callable[[list[dict]], None]) -> Callable[[list[dict]], None]:
    """Return what tells of events, and after the first failure how to see more of it."""
    hinted = False

    def report(events: list[dict]) -> None:
        nonlocal hinted
        tell(events)
        if not hinted and (failed := next(filter(_is_failure, events), None)):
            hinted = True
            talk(
                f"`queuectl logs {short(failed['id'])}` shows what it printed, `queuectl why {short(failed['id'])}` what to type"
            )

    return report


def _is_failure(event: dict) -> bool:
    return event["event"] == "ended" and event["attempt"]["verdict"] in ("failed", "dead")


def _check_filesystem(spool: Spool) -> None:
    from jobspool import filesystem

    for why in filesystem.problems(spool.root, spool.spare()):
        raise NotASpool(f"{spool.root}: {why}: choose a local file system, or take the risk with --any-filesystem")


def _count_of(text: str | None, spool: Spool, what: str = "--count") -> int:
    if text is None:
        return spool.settings().workers
    from jobspool.config import value_of

    try:
        return value_of("workers", text)
    except WrongValue as error:
        raise Wrong(str(error).replace("workers can't be", f"{what} can't be")) from None


GATES = ("--max-load", "--min-free-memory", "--min-free-disk", "--when")


def _gate_of(spool: Spool, words: dict) -> object:
    """Return what tells when the machine lets nothing new start, None where it always does. Raises Wrong."""
    if not any(words.get(option) for option in GATES):
        return None
    from jobspool.machine import Gate

    load = _number_of(words, "--max-load")
    return Gate(spool.root, load, _bytes_of(words, "--min-free-memory"), _bytes_of(words, "--min-free-disk"), words["--when"])


def _supervise(spool: Spool, count: int, words: dict, report: Callable[[list[dict]], None]) -> int:
    from jobspool.supervisor import Supervisor

    manager = os.environ.pop("NOTIFY_SOCKET", None)  # which is not for jobs
    for name in ("TRACEPARENT", "TRACESTATE"):
        os.environ.pop(name, None)  # nor is the trace of who started us

    def noted(events: list[dict]) -> None:
        if any(event["event"] == "started" for event in events):
            _notify(manager, "READY=1")
        report(events)

    gate = _gate_of(spool, words)
    verbose = words["--verbose"] or words["--log-level"] == "debug"
    Supervisor(spool, count, words["--drain"], noted if manager else report, verbose, gate, _tracer_of(spool, words)).serve()
    return 0


def _check_tracing(words: dict) -> None:
    """Raise Wrong where spans are asked for and can't be delivered, NotInstalled without what delivers them."""
    if words["--otel"]:
        from jobspool import tracer

        if why := tracer.unfit():
            raise Wrong(f"--otel: {why}")


def _tracer_of(spool: Spool, words: dict) -> object:
    """Return what gives attempts their spans, None where nobody asks for them."""
    if not words["--otel"] or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    from jobspool.tracer import Tracer

    form, level = words["--log-format"] or "text", words["--log-level"] or "info"
    own = {"form": form, "level": level, "encoding": sys.stdout.encoding, "spool": spool.root, "version": __version__}
    return Tracer({"target": words["--log"] or (os.devnull if words["--quiet"] else "stdout"), **own})


def _notify(address: str, said: str) -> None:
    """Tell the service manager that started us: sd_notify(3)."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        try:
            to.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            to.send(said.encode())
        except OSError as error:
            talk(f"can't tell {address} that we are ready: {error.strerror}")


def _leave_job() -> None:
    """Be no part of the job that runs us, if one does, nor hold its lock: a pool may outlive it. See roster.processes()."""
    if "QUEUECTL_JOB_ID" in os.environ:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        own = ("QUEUECTL_JOB_ID", "QUEUECTL_ATTEMPT")
        environment = {name: value for name, value in os.environ.items() if name not in own}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _start_anew(spool: Spool, words: dict) -> NoReturn:
    """Become `queuectl start` with these words: the command line of a supervisor says what it was given, see _given_before()."""
    sys.stdout.flush()
    own = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    os.execv(sys.executable, [sys.executable, *own[1:], "--spool", spool.root, "start", *_as_typed(words)])


def _as_typed(words: dict) -> list[str]:
    """Return the options of `words` as somebody would type them."""
    given = [(name, value) for name, value in words.items() if name.startswith("--") and name != "--spool"]
    return [word for name, value in given if value not in (None, False) for word in ((name,) if value is True else (name, value))]


def _detach(spool: Spool, count: int, words: dict) -> int:
    """Start the supervisor as a daemon, and return once it serves: daemon(7), the old way."""
    from jobspool import durable

    if words["--log"] is not None:
        from jobspool.telling import absolute

        _reporter(words)  # what is wrong with it is told here
        if absolute(words["--log"]) != words["--log"]:
            _start_anew(spool, {**words, "--log": absolute(words["--log"])})
    spool.ready()
    path = f"{spool.root}/logs/supervisor.log"
    log = durable.open_to_append(path, spool.file_mode(spool.settings()))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reader)
            _serve_detached(spool, count, words, log, writer, path)
        os._exit(0)
    os.wait()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.readline()
    if not said:
        raise QueueError(f"the workers did not start: {path} says why")
    if not words["--quiet"]:
        from jobspool import roster

        if (alive := sum(entry.role == roster.WORKER for entry in roster.living(spool))) > count:
            talk_to_person(f"with those that ran already there are {alive}: `queuectl scale N` says how many there are to be")
        log = printable(path if words["--log"] in (None, "stdout", "stderr") else words["--log"])
        print(f"{counted(count, 'worker')} started in the background, supervisor {said.strip()}; log: {log}")
    return 0


def _serve_detached(spool: Spool, count: int, words: dict, log: int, writer: int, path: str) -> None:
    """Be the daemon, whose log lies at `path`; write our process id to `writer` once the workers are there. Doesn't return."""
    status = 1
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor, source in enumerate((null, log, log)):
            os.dup2(source, descriptor)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))  # above all the lock of a job that starts us
        os.chdir("/")
        tell = _reporter(words, path, (1, 2), spool.file_mode(spool.settings()))

        def report(events: list[dict]) -> None:
            if any(event["event"] == "started" for event in events):
                os.write(writer, f"{os.getpid()}\n".encode())
                os.close(writer)
            tell(events)

        status = _supervise(spool, count, {**words, "--log": words["--log"] or path}, report)
    except (QueueError, Wrong) as error:
        talk(str(error))
    finally:
        sys.stdout.flush()
        os._exit(status)


def _quiet(events: list[dict]) -> None:
    pass


STOP = """\
Stop the workers on the spool, and return when they are gone.

Usage:
  queuectl stop [options]

Options:
  --now                 Interrupt what runs: it is put back, and not counted as a try.
  --timeout=<time>      Wait no longer than this; then exit 75, and the workers go on stopping.
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

    limit = _seconds_of(words, "--timeout")
    spool = open_spool(words)
    alive = roster.living(spool)
    if not alive:
        raise QueueError(f"no worker is running for {spool.root}")
    supervisors = {entry.pid for entry in alive if entry.role == roster.SUPERVISOR}
    for entry in alive:
        if entry.pid in supervisors or entry.supervisor not in supervisors:
            gently = signal.SIGUSR1 if entry.pid in supervisors else signal.SIGTERM
            _signal(entry, signal.SIGQUIT if words["--now"] else gently)
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


SCALE = """\
Let so many workers run, now and from now on: running supervisors take it up at once.

Usage:
  queuectl scale [options] <n>

Options:
  --json          One JSON object: spool, workers, supervisors.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl scale 8
"""


def scale(words: dict) -> int:
    from jobspool import config as settings
    from jobspool import roster

    spool = open_spool(words)
    try:
        count = _count_of(words["<n>"], spool, "scale's number")
    except Wrong as error:
        raise Wrong(f"{error}; queuectl pause lets nothing new start") from None
    spool.ready()
    settings.change(spool.root, "workers", count, spool.spare(), spool.file_mode(spool.settings()))
    supervisors = sum(entry.role == roster.SUPERVISOR for entry in roster.living(spool))
    if words["--json"]:
        print(json.dumps({"spool": spool.root, "workers": count, "supervisors": supervisors}))
    elif not supervisors:
        talk(f"no worker is running: `queuectl start` will start {count}")
    else:
        talk_to_person(f"{counted(count, 'worker')}" + (f" for each of {supervisors} supervisors" if supervisors > 1 else ""))
    return 0


RESTART = """\
Stop the workers when their jobs are done, and start as many in the background: after an upgrade.

Usage:
  queuectl restart [options]

Options:
  --now           Interrupt what runs: it is put back, and not counted as a try.
  -q --quiet      Say nothing.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl restart
"""


def restart(words: dict) -> int:
    from jobspool import roster

    spool = open_spool(words)
    living = roster.living(spool)
    workers = sum(entry.role == roster.WORKER for entry in living)
    given = _given_before([entry.pid for entry in living if entry.role == roster.SUPERVISOR])
    if workers:
        stop({**words, "--timeout": None})
        given["--count"] = str(min(workers, 1024))
        given["--any-filesystem"] = True  # what ran there may run there
    _start_anew(spool, {**given, "--detach": True, "--quiet": words["--quiet"]})


def _given_before(pids: list[int]) -> dict:
    """Return the options that the first of these supervisors was started with, and that last; {} where nothing tells.

    Its command line does, which nobody can write as somebody else: not a file, for --when would be run.
    """
    from jobspool import process

    for pid in pids:
        words = process.arguments(pid)
        for place in range(1, len(words)):
            with suppress(Wrong):
                _, rest = _options_first(words[place:])
                if rest[:1] in (["worker"], ["workers"]):
                    del rest[0]
                if rest[:1] == ["start"]:
                    return _lasting(_parsed(START, rest), pid)
    return {}


KEPT = ("--log", "--log-format", "--log-level", "--verbose", "--otel", *GATES)  # by restart


def _lasting(words: dict, pid: int) -> dict:
    given = {name: words[name] for name in KEPT}
    if given["--log"] is not None:
        from jobspool.telling import absolute

        with suppress(OSError):
            given["--log"] = absolute(given["--log"], os.readlink(f"/proc/{pid}/cwd"))
    return given


SERVICE = """\
Have systemd run the workers of this spool from boot on: writes a unit, and says what to type then.

Usage:
  queuectl install-service [options]

Options:
  --user          For this user's own systemd, from login on (`loginctl enable-linger`: from boot on).
  --count=<n>     How many workers; the setting `workers` without it.
  --log=<target>  As `start` takes it, and these two:
  --log-format=<format>
  --log-level=<level>
  --otel          As `start` takes it.
  --print         Only print the unit.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl install-service --user
  queuectl --spool /srv/builds/spool install-service --print
"""


def install_service(words: dict) -> int:
    from jobspool import durable, service

    spool = open_spool(words)
    if words["--count"] is not None:
        _count_of(words["--count"], spool)
    _log_form(words)
    target = None
    if words["--log"] is not None:
        from jobspool.telling import absolute

        target = absolute(words["--log"])
    own = {name: words[name] for name in ("--count", "--log", "--log-format", "--log-level", "--otel")}
    given = _as_typed({**own, "--log": target})
    program = os.path.abspath(sys.argv[0])
    unit = service.unit(spool, [program] if os.access(program, os.X_OK) else [sys.executable, program], given, words["--user"])
    if words["--print"]:
        print(unit, end="")
        return 0
    name = f"queuectl-{re.sub('[^A-Za-z0-9_.-]+', '-', spool.root.strip('/'))}.service"
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    folder = f"{home}/systemd/user" if words["--user"] else "/etc/systemd/system"
    path = f"{folder}/{name}"
    durable.make_parents(path)
    durable.replace(path, f"{path}.{os.getpid()}", unit.encode(), 0o644)
    print(path)
    systemctl = "systemctl --user" if words["--user"] else "systemctl"
    talk(f"now type: {systemctl} daemon-reload && {systemctl} enable --now {name}")
    return 0


# ---- which jobs

SELECTION = """\
  --state=<state>   Only jobs in this state, or these: pending, processing, done (or completed), failed,dead.
  --name=<glob>     Only jobs with a name like this, as 'nightly*'.
  --tag=<text>      Only jobs with this tag.
  --group=<name>    Only jobs of this group.
  --batch=<name>    Only jobs of this batch.
  --since=<age>     Only jobs that came to their state within this time: 90s, 10m, 1h, 7d.
  --grep=<text>     Only jobs with this text in their command.
"""
OF_JOBS = f"""\
{SELECTION}  --json            One JSON object a line, the job as it is then, instead of its id.
  --spool=<dir>     The spool to use.
  -h --help         Print this.
"""
WHICH = """\
A JOB is any part of an id that fits one job only, @last (the one that was added last), @failed (the one that failed last),
or - for ids on stdin, as `queuectl list -q` prints them.
"""
CHOICES = ("--state", "--name", "--tag", "--group", "--batch", "--since", "--grep")


def chosen(
    spool: Spool, words: dict, first: str | None = None, states: Iterable[str] = STATES
) -> tuple[list[Job], list[Exception]]:
    """Return the jobs that the words name, and those in these states that they select, each once; with --all only the latter.

    And what is refused: why a word names no job, or several. Where nothing else is named, that is raised.
    """
    if words.get("--all"):
        return selected(spool, words, states), []
    jobs, refused = _found(spool, words, first)
    if any(words.get(choice) for choice in CHOICES):
        jobs += selected(spool, words, states)
    elif not words["<job>"]:
        raise Wrong("which job? Give a part of its id, @last, @failed, or a choice such as --state failed")
    return list({(job.state, job.id): job for job in jobs}.values()), refused


def _found(spool: Spool, words: dict, first: str | None) -> tuple[list[Job], list[Exception]]:
    jobs, refused = [], []
    for handle in _handles(words["<job>"]):
        try:
            jobs.append(find(spool, handle, first))
        except (NoSuchJob, AmbiguousJob) as error:
            refused.append(error)
    if refused and not jobs:
        raise refused[0]
    return jobs, refused


def _handles(handles: list[str]) -> list[str]:
    """Return the handles, with those that stdin lists in the place of -."""
    return [each for handle in handles for each in (filter(None, sys.stdin.read().split("\n")) if handle == "-" else [handle])]


def selected(spool: Spool, words: dict, states: Iterable[str] = STATES, limit: int | None = None) -> list[Job]:
    """Return the jobs that the options choose, the newest last."""
    since = _age_in(words, "--since")
    choosy = words.get("--reason") is not None or any(map(words.get, CHOICES[1:]))
    jobs = _newest(spool, _states_of(words, states), None if choosy else limit)
    now = time.time()
    jobs = [job for job in jobs if _fits(job, words) and (since is None or now - _came(job) <= since)]
    return jobs[-limit:] if limit else jobs


def _fits(job: Job, words: dict) -> bool:
    if words["--name"] is not None:
        from fnmatch import fnmatchcase

        if not fnmatchcase(job.record.get("name", ""), words["--name"]):
            return False
    if words["--tag"] is not None and words["--tag"] not in job.record.get("tags", ()):
        return False
    if any(words[f"--{word}"] is not None and job.record.get(word) != words[f"--{word}"] for word in ("group", "batch")):
        return False
    reason = words.get("--reason")  # which only list knows
    if reason is not None and (job.state != DEAD or say.died_of(job) != reason):
        return False
    return words["--grep"] is None or words["--grep"] in job.command


def _came(job: Job) -> float:
    """Return when the job came to its state: the mtime of one that waits for its time is of the future."""
    return job.mtime if job.state in (DONE, DEAD) else job.ctime


def _age_in(words: dict, option: str) -> float | None:
    """Return the seconds that the option's value names. Raises Wrong."""
    if words[option] is None:
        return None
    from jobspool.times import EXAMPLES, duration

    with suppress(ValueError):
        value = duration(words[option])
        if value or option == "--older-than":
            return value
    raise Wrong(f"{option} takes a time such as {EXAMPLES}, not {words[option]!r}")


def _mentioned(spool: Spool, word: str) -> Job:
    """Return the job that @last or @failed stands for. Raises NoSuchJob."""
    if word == "@last":
        found = _added_last(spool, {state: spool.names(state) for state in STATES}, 1)
    elif word == "@failed":
        found = _came_last(spool, (FAILED, DEAD))
    else:
        raise Wrong(f"{word}: there are @last, the job that was added last, and @failed, the one that failed last")
    if not found or not (job := spool.read(*found[0])):
        raise NoSuchJob(f"no job {'has failed' if word == '@failed' else 'is there'} in {spool.root}")
    return job


def _came_last(spool: Spool, states: Iterable[str]) -> list[tuple[str, str]]:
    """Return the state and id of the job that came last to one of these states, in a list that is empty where there is none."""
    stats = {(state, id): found for state in states for id, found in _stats(spool, state, spool.names(state)).items()}
    return [max(stats, key=lambda place: stats[place].st_ctime_ns)] if stats else []


def _each(
    spool: Spool, jobs: Iterable[Job], words: dict, deed: Callable[[Job], Job | None], refused: Iterable[Exception] = ()
) -> int:
    """Do it to each job and print the ids of those to which it was done, or which it returns; exit 1 where any is refused."""
    refused, jobs = list(refused), list(jobs)
    with Progress("jobs", len(jobs)) as progress:
        for count, job in enumerate(jobs, 1):
            try:
                done = deed(job) or job
            except (QueueError, NoSuchJob) as error:
                refused.append(error)
            else:
                print(_done_to(spool, done) if words.get("--json") else printable(done.id), flush=True)
            progress.tell(count)
    _tell_of_refused(refused)
    if not jobs:
        talk_to_person(f"no such jobs in {spool.root}")
    return 0


def _tell_of_refused(refused: list[Exception]) -> None:
    """Say why each was refused: the last one by raising it, for the exit status."""
    for error in refused[:-1]:
        talk(str(error))
    if refused:
        raise refused[-1]


def _reason_of(words: dict) -> str:
    """Return the reason that the person gave, "" for none. Raises Wrong."""
    reason = words["--reason"] or ""
    if problem := _no_text(reason):
        raise Wrong(f"--reason {problem}")
    return reason


def _no_text(text: str) -> str | None:
    """Return why the text can't stand in a job's file, None where it can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return "can't contain a NUL" if "\0" in text else None


def _done_to(spool: Spool, job: Job) -> str:
    """Return the job as it lies there now, as JSON; one that is no more says so."""
    try:
        return json.dumps(as_json(spool, spool.find(f"{job.id}.json")))
    except NoSuchJob:
        return json.dumps({"id": job.id, "state": None})


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
        settings = spool.settings_or_default()
        warnings.append(str(error))
    listed = {state: os.listdir(spool.folder(state)) for state in STATES}
    ids = {state: ids_of(names) for state, names in listed.items()}
    counts = {state: len(there) for state, there in ids.items()}
    stats = {state: _stats(spool, state, _to_look_at(ids[state]) if state == PENDING else ids[state]) for state in MAY_RUN}
    alive = roster.living(spool)
    workers = [say.worker(spool, entry) for entry in alive if entry.role == roster.WORKER]
    paused = os.path.lexists(f"{spool.root}/{PAUSED}")
    supervisors = [entry.pid for entry in alive if entry.role == roster.SUPERVISOR]
    reason = pause_reason(spool) if paused else ""
    held = _held(spool, ids[PENDING])
    warnings += _warnings(spool, counts, held, len(workers), bool(supervisors), paused)
    others = {state: ignored(names) if len(names) > counts[state] else [] for state, names in listed.items()}
    warnings += _strange(spool, settings, counts, others, stats)
    return {
        "spool": spool.root,
        "states": counts,
        "held": held,
        "oldest_pending": _oldest(spool, stats[PENDING]),
        "next_due": _earliest(stats[FAILED]),
        "paused": paused,
        "pause_reason": reason or None,
        "supervisors": supervisors,
        "workers": workers,
        "warnings": warnings,
    }


def _held(spool: Spool, ids: list[str]) -> int | None:
    """Return how many of the pending jobs are held, None where there are too many to read."""
    if len(ids) > MOST_LOOKED_AT:
        return None
    return sum(_is_held(spool, id) for id in ids)


def _is_held(spool: Spool, id: str) -> bool:
    """Tell whether the pending job is held. Few are, and a look at a file's bytes is quicker than reading it as a job."""
    with suppress(OSError):
        content, _ = read_file(spool.path(PENDING, id), 0)
        if b"hold" in content or b"\\" in content:
            job = spool.read(PENDING, id)
            return job is not None and "hold" in job.record
    return False


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


def _oldest(spool: Spool, stats: dict[str, os.stat_result]) -> str | None:
    from jobspool import vital

    since = vital.oldest(spool, sorted((found.st_mtime, id) for id, found in stats.items()))
    return None if since is None else iso(since)


def _earliest(stats: dict[str, os.stat_result]) -> str | None:
    return iso(min(found.st_mtime for found in stats.values())) if stats else None


def _warnings(spool: Spool, counts: dict[str, int], held: int | None, workers: int, served: bool, paused: bool) -> list[str]:
    waiting = counts[PENDING] + counts[FAILED] - (held or 0)
    warnings = []
    if workers and not served:
        warnings.append(f"the supervisor of {counted(workers, 'worker')} is gone: they end with what they run: queuectl start")
    elif waiting and not workers:
        warnings.append(f"{counted(waiting, 'job')} waiting and no worker is running: queuectl start")
    if paused:
        warnings.append(f"paused: nothing new starts until {spool.root}/{PAUSED} is removed: queuectl resume")
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
    if seen["held"]:
        notes[PENDING] = f"{notes.get(PENDING, '')}, {seen['held']} held".removeprefix(", ")
    if seen["next_due"]:
        notes[FAILED] = f"next due {when(seconds(seen['next_due']), now)}"
    lines = [f"spool       {seen['spool']}"]
    lines += [f"{state:<11} {count:<7} {notes.get(state, '')}".rstrip() for state, count in seen["states"].items()]
    lines.append(f"workers     {len(seen['workers']) or 'none is running'}")
    for worker in seen["workers"]:
        doing = "idle"
        if worker["job"] and worker["since"]:
            taken = f"{span(now - seconds(worker['since']))}{progress_words(worker)}"
            doing = f"{short(worker['job'])} for {taken}: {worker['command'] or ''}"
        lines.append(f"  {worker['name']}  {doing}")
    reason = f" ({seen['pause_reason']})" if seen["pause_reason"] else ""
    lines.append(f"paused      {'yes' if seen['paused'] else 'no'}{reason}")
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


LIST = f"""\
List the jobs, newest last; those that are pending (--state pending) in the order in which they will run.

Usage:
  queuectl list [options]

Options:
{SELECTION}  --reason=<text>   Only dead jobs that died of exactly this, as the page groups them: 'exit 1'.
  --limit=<n>       Only the n that were added last.
  --tree            Each job below the one that it comes after.
  --sort=<field>    In the order of this field, -field for the reverse: as in --format, and time.
  --format=<text>   A line for each job with the fields that stand in braces: '{{handle}} {{state}} {{exit}}'. There are id,
                    handle, state, name, command, priority, tries, when, reason, exit, duration, added and all words of the
                    job's file.
  -q --quiet        Only the ids, one a line: for `queuectl retry -` and the like.
  --json            One JSON object a line.
  --spool=<dir>     The spool to use.
  -h --help         Print this.

Examples:
  queuectl list --state pending
  queuectl list --state failed --json | jq -r .id
  queuectl list --reason 'exit 1' -q
"""


def list_(words: dict) -> int:
    limit = _limit_of(words["--limit"])
    spool = open_spool(words)
    settings = _settings_or_default(spool)
    reason = words["--reason"]
    jobs = selected(spool, words, STATES if reason is None else (DEAD,), limit)
    if words["--state"] == PENDING and not words["--sort"]:
        jobs = sorted(jobs, key=lambda job: say.rank(job, settings.priority_aging))
    if words["--tree"]:
        jobs, depths = _as_tree(jobs)
        rows = [["  " * depths[job.id] + id_shown(job.id), *_row(job, settings)[1:]] for job in jobs]
        print_table(("job", "state", "tries", "when", "exit", "command"), rows)
        return 0
    if words["--sort"]:
        jobs = _sorted(jobs, words["--sort"], settings)
    if words["--format"] is not None:
        for job in jobs:
            print(_formatted(job, words["--format"], settings))
        return 0
    if words["--quiet"]:
        print_lines([job.id for job in jobs], cut=False)
        return 0
    if words["--json"]:
        print_json(as_json(spool, job) for job in jobs)
        return 0
    if not jobs:
        talk_to_person(
            f"no such jobs in {spool.root}{_elsewhere(spool, words)}"
            if reason is not None or any(map(words.get, CHOICES))
            else f'no jobs in {spool.root}: queuectl enqueue "COMMAND" adds one'
        )
        return 0
    rows = [_row(job, settings) for job in jobs]
    print_table(("job", "state", "tries", "when", "exit", "command"), rows)
    return 0


def _as_tree(jobs: list[Job]) -> tuple[list[Job], dict[str, int]]:
    """Return the jobs, each behind the first that it comes after, and how deep each lies."""
    from jobspool.admission import parents

    known = {job.id: job for job in jobs}
    children: dict[str | None, list[Job]] = {}
    for job in jobs:
        children.setdefault(
            next((parent for parent in parents(job.record) if parent in known and parent != job.id), None), []
        ).append(job)
    found, depths, left = [], {}, [(job, 0) for job in reversed(children.get(None, []))]
    while left:
        job, depth = left.pop()
        if job.id not in depths:
            depths[job.id] = depth
            found.append(job)
            left += [(child, depth + 1) for child in reversed(children.get(job.id, []))]
    circling = [job for job in jobs if job.id not in depths]  # they come after themselves
    return [*found, *circling], {**{job.id: 0 for job in circling}, **depths}


def _elsewhere(spool: Spool, words: dict) -> str:
    """Return where else a person who looks for failures may look, "" for nowhere."""
    return f"; {count} are dead" if words["--state"] == FAILED and (count := spool.count(DEAD)) else ""


def _fields(job: Job, settings: object) -> dict:
    """Return what --format and --sort may name of the job."""
    last = job.attempts[-1] if job.attempts else {}
    reason = why_dead(job) if job.state == DEAD else last.get("reason", "")
    known = {"id": job.id, "handle": short(job.id), "state": job.state, "name": "", "priority": 0, "time": _came(job)}
    known |= {"tries": tries(job, settings), "when": age(job), "reason": reason, "exit": last.get("exit", last.get("signal", ""))}
    added = job.id if _is_own(job.id) else new_id(min(job.mtime, job.ctime), 0)
    return {**known, "duration": last.get("duration", ""), "added": added, **job.record, "command": job.command}


def _sorted(jobs: list[Job], field: str, settings: object) -> list[Job]:
    name = field.removeprefix("-")
    values = {id(job): _field(_fields(job, settings), name, "--sort") for job in jobs}

    def place(job: Job) -> tuple:
        value = values[id(job)]
        return (0, value, "") if isinstance(value, (int, float)) else (1, 0, str(value))

    return sorted(jobs, key=place, reverse=field.startswith("-"))


def _formatted(job: Job, text: str, settings: object) -> str:
    fields = _fields(job, settings)
    line = re.sub(r"\{(\w+)\}", lambda found: printable(_as_text(_field(fields, found[1], "--format"))), text)
    return line.replace("\\t", "\t").replace("\\n", "\n")


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _field(fields: dict, name: str, option: str) -> object:
    from jobspool.job import WORDS

    if name not in fields and name not in WORDS:
        raise Wrong(
            f"{option} knows no field {name!r}{did_you_mean(name, [*fields, *WORDS], ':')} `queuectl list --help` lists them"
        )
    return fields.get(name, "")


def _limit_of(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18 or int(text) == 0:
        raise Wrong(f"--limit takes a whole number above 0, not {text!r}")
    return int(text)


def _state_of(text: str) -> str:
    state = state_named(text)
    if state is None:
        near = OTHER_STATES.get(text.lower())
        hint = f", did you mean {near!r}?" if near else did_you_mean(text, STATES, ".")
        raise Wrong(f"there is no state {text!r}{hint} They are {', '.join(STATES)}")
    return state


OTHER_STATES = {
    "running": PROCESSING,
    "active": PROCESSING,
    "queued": PENDING,
    "waiting": PENDING,
    "success": DONE,
    "error": DEAD,
}


def _states_of(words: dict, states: Iterable[str]) -> Iterable[str]:
    """Return the states that --state names, one or several with commas between; without it `states`."""
    return tuple(map(_state_of, words["--state"].split(","))) if words.get("--state") else states


def _newest(spool: Spool, states: Iterable[str], limit: int | None) -> list[Job]:
    """Return the jobs in these states by the time on their files, the newest last; with `limit` those that were added last."""
    ids = {state: spool.names(state) for state in states}
    if limit and sum(map(len, ids.values())) > limit:
        chosen = _added_last(spool, ids, limit)
        ids = {state: [id for there, id in chosen if there == state] for state in ids}
    found = sorted((stat.st_mtime_ns, state, id) for state in ids for id, stat in _stats(spool, state, ids[state]).items())
    most = spool.settings_or_default().max_job_bytes
    return [job for _, state, id in found if (job := spool.read(state, id, most))]


def _added_last(spool: Spool, ids: dict[str, list[str]], limit: int) -> list[tuple[str, str]]:
    """Return the states and ids of the jobs that were added last: ids of the queue's own say when, of others the mtime does."""
    from heapq import nlargest

    times = []
    for state, there in ids.items():
        own = [id for id in there if _is_own(id)]
        others = _stats(spool, state, set(there).difference(own)) if len(own) < len(there) else {}
        times += [(id, state, id) for id in nlargest(limit, own)]
        times += [(new_id(min(found.st_mtime, found.st_ctime), 0), state, id) for id, found in others.items()]
    return [(state, id) for _, state, id in nlargest(limit, times)]


def _row(job: Job, settings: object) -> list[str]:
    last = job.attempts[-1] if job.attempts and job.state != PROCESSING else {}
    how = last.get("exit", last.get("signal", "").removeprefix("SIG") or ("-" if not last else "lost"))
    command = f"(not a job: {job.problem})" if job.problem else job.command
    return [id_shown(job.id), job.state, tries(job, settings), age(job), str(how), command]


# ---- dlq

DLQ = """\
The dead letter queue: jobs that used up their tries, and files that are no jobs.

Usage:
  queuectl dlq [list] [--json] [--limit=<n>] [--since=<age>] [--spool=<dir>]
  queuectl dlq retry (--all | [--] <job>...) [--spool=<dir>]
  queuectl dlq show [--json] [--spool=<dir>] [--] <job>
  queuectl dlq purge (--all | [--] <job>...) [--older-than=<age>] [--yes] [--spool=<dir>]
  queuectl dlq --help

Options:
  --json          One JSON object a line.
  --limit=<n>     Only the newest n.
  --since=<age>   Only those that died within this time.
  --all           Retry, or remove, every job in it.
  --older-than=<age>
                  Remove only those that died longer ago: 90s, 10m, 1h, 7d.
  --yes           Don't ask a person who removes several.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

A job that is retried goes to pending/ with a full new set of tries; purge removes jobs and their logs.

Examples:
  queuectl dlq list
  queuectl dlq retry k7m3q9
  queuectl dlq retry --all
"""


def dlq(words: dict) -> int:
    if words["show"]:
        return show({**words, "<job>": words["<job>"][0]})
    if words["purge"]:
        return _dlq_purge(words)
    return _dlq_retry(words) if words["retry"] else _dlq_list(words)


def _dlq_purge(words: dict) -> int:
    spool = open_spool(words)
    age = _age_in(words, "--older-than")
    jobs = _newest(spool, (DEAD,), None) if words["--all"] else [find(spool, handle, DEAD) for handle in _handles(words["<job>"])]
    if alive := [job for job in jobs if job.state != DEAD]:
        raise QueueError(f"{printable(alive[0].id)} is {alive[0].state}, not dead: `queuectl rm` removes any")
    return _remove(spool, [job for job in jobs if age is None or time.time() - job.mtime > age], [], words)


def _dlq_list(words: dict) -> int:
    limit = _limit_of(words["--limit"])
    spool = open_spool(words)
    settings = _settings_or_default(spool)
    since = _age_in(words, "--since")
    jobs = [job for job in _newest(spool, (DEAD,), limit) if since is None or time.time() - _came(job) <= since]
    if words["--json"]:
        print_json(as_json(spool, job) for job in jobs)
    elif not jobs:
        talk_to_person(f"no dead jobs in {spool.root}")
    else:
        rows = [[id_shown(job.id), age(job), tries(job, settings), why_dead(job), job.command] for job in jobs]
        print_table(("job", "died", "tries", "reason", "command"), rows)
        talk_to_person("queuectl show JOB tells all; queuectl dlq retry JOB tries again")
    return 0


def _dlq_retry(words: dict) -> int:
    from jobspool import hands

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
    each = {job.id: job for job in jobs}.values()
    status = _each(spool, each, words, lambda job: hands.retry(spool, job, settings))
    if odd := sum(bool(job.problem) for job in dead):
        talk(f"{counted(odd, 'file')} in {spool.folder(DEAD)} left there, no whole job: `queuectl dlq list` says why")
    if not jobs:
        talk(f"no dead jobs to retry in {spool.root}")
    else:
        _tell_of_workers(spool)
    return status


# ---- what a person does to jobs

CANCEL = f"""\
Cancel jobs: those that wait go to dead/ with the reason, those that run are ended: TERM, their grace, KILL.
Returns when no process of them is left.

Usage:
  queuectl cancel [options] [--] [<job>...]

{WHICH}
Options:
  --reason=<text>   Why, for whoever wonders.
{OF_JOBS}
Examples:
  queuectl cancel k7m3q9
  queuectl cancel --name 'nightly*' --reason "the disk is full"
  queuectl cancel --state pending
"""


def cancel(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    settings = spool.settings()
    jobs, refused = chosen(spool, words, states=MAY_RUN)
    if any(job.state == PROCESSING for job in jobs):
        talk_to_person(f"what runs gets TERM, and after its grace ({settings.grace:g} s by the spool's settings) KILL")
    why = f"by {person()}" + (f": {reason}" if (reason := _reason_of(words)) else "")
    return _each(spool, jobs, words, lambda job: hands.cancel(spool, job, why, settings), refused)


KILL = f"""\
End running jobs as cancel does; or with a signal, send that to each of their processes, and let it take its course.

Usage:
  queuectl kill [options] [--] [<job>...]

{WHICH}
Options:
  --signal=<name>   Send only this: HUP, 10, ...; also as -HUP or -10.
  --reason=<text>   Why, for whoever wonders.
{OF_JOBS}
Examples:
  queuectl kill k7m3q9
  queuectl kill -USR1 k7m3q9
"""


def kill(words: dict) -> int:
    if words["--signal"] is None:
        return cancel(words)
    from jobspool import hands

    number = _signal_of(words["--signal"])
    spool = open_spool(words)
    jobs, refused = chosen(spool, words, PROCESSING, (PROCESSING,))
    return _each(spool, jobs, words, lambda job: hands.signal(spool, job, number), refused)


def _signal_of(text: str) -> int:
    import signal

    name = text.upper().removeprefix("SIG")
    try:
        return signal.Signals(int(name)) if name.isdecimal() else signal.Signals[f"SIG{name}"]
    except (ValueError, KeyError):
        names = [each.name.removeprefix("SIG") for each in signal.Signals]
        raise Wrong(f"there is no signal {text!r}{did_you_mean(name, names, ':')} `kill -l` lists them") from None


RETRY = f"""\
Try jobs again, now: dead ones with a full new set of tries, failed ones with those that are left.

Usage:
  queuectl retry [options] [--] [<job>...]

{WHICH}
Options:
  --failed          All that failed and wait for their next try.
  --all             All that failed or are dead.
  --reset           With a full new set of tries for failed ones, too.
  --edit            Edit each of them first.
{OF_JOBS}
Examples:
  queuectl retry @failed
  queuectl retry --all --since 1h
  queuectl list --state failed -q | queuectl retry -
"""


def retry(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    settings = spool.settings()
    every = words["--all"] or words["--failed"]
    jobs, refused = chosen(spool, {**words, "--all": every}, states=(FAILED,) if words["--failed"] else (FAILED, DEAD))
    jobs = [job for job in jobs if not job.problem or not every]

    def retried(job: Job) -> None:
        if words["--edit"]:
            edit({**words, "<job>": f"{job.id}.json", "--json": False})
            job = spool.find(f"{job.id}.json")
        hands.retry(spool, job, settings, words["--reset"])

    status = _each(spool, jobs, words, retried, refused)
    _tell_of_workers(spool) if jobs else talk_to_person(f"nothing to retry in {spool.root}")
    return status


HOLD = f"""\
Let jobs wait until they are released.

Usage:
  queuectl hold [options] [--] [<job>...]

{WHICH}
Options:
  --reason=<text>   Why, for whoever wonders.
{OF_JOBS}
Examples:
  queuectl hold k7m3q9 --reason "until the tape is in"
"""


def hold(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    settings = spool.settings()
    reason = _reason_of(words) or f"by {person()}"
    jobs, refused = chosen(spool, words, states=(PENDING, FAILED))
    return _each(spool, jobs, words, lambda job: hands.hold(spool, job, reason, settings), refused)


RELEASE = f"""\
Let held jobs be in line again, where they were.

Usage:
  queuectl release [options] [--] [<job>...]

{WHICH}
Options:
  --all             All that are held.
{OF_JOBS}
Examples:
  queuectl release k7m3q9
  queuectl release --all
"""


def release(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    settings = spool.settings()
    jobs, refused = chosen(spool, words, states=(PENDING, FAILED))
    jobs = [job for job in jobs if "hold" in job.record or words["<job>"]]
    return _each(spool, jobs, words, lambda job: hands.release(spool, job, settings), refused)


PRIORITY = f"""\
Give jobs that wait another priority: higher runs first, within one priority the oldest.

Usage:
  queuectl priority [options] [--] [<job>...]

{WHICH}
The number comes last: queuectl priority JOB... N

Options:
  --to=<n>          The same: as queuectl priority --state pending --to 5.
{OF_JOBS}
Examples:
  queuectl priority k7m3q9 10
  queuectl priority --tag nightly -5
"""


def priority(words: dict) -> int:
    from jobspool import hands

    number = _number_of({**words, "--priority": words["--to"]}, "--priority")
    if number is None:
        raise Wrong("which priority? queuectl priority JOB N")
    spool = open_spool(words)
    settings = spool.settings()
    jobs, refused = chosen(spool, words, states=(PENDING, FAILED))
    return _each(spool, jobs, words, lambda job: hands.change(spool, job, {"priority": number}, settings), refused)


def _with_priority(words: list[str]) -> list[str]:
    """Return the words with the number that comes last as an option, which docopt takes also where it is negative."""
    return [*words[:-1], f"--to={words[-1]}"] if re.fullmatch(r"[+-]?\d+", words[-1]) and len(words) > 1 else words


FRONT = f"""\
Let jobs that wait be the next to run: with the highest priority there is, and before all others of it.

Usage:
  queuectl front [options] [--] [<job>...]

{WHICH}
Options:
{OF_JOBS}
Examples:
  queuectl front k7m3q9
"""


def front(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    settings = spool.settings()
    jobs, refused = chosen(spool, words, states=(PENDING,))
    return _each(spool, reversed(jobs), words, lambda job: hands.to_front(spool, job, settings), refused)


BACK = f"""\
Let jobs that wait be the last to run of their priority: as `touch` does.

Usage:
  queuectl back [options] [--] [<job>...]

{WHICH}
Options:
{OF_JOBS}
Examples:
  queuectl back k7m3q9
"""


def back(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    jobs, refused = chosen(spool, words, states=(PENDING,))
    return _each(spool, jobs, words, lambda job: hands.to_back(spool, job), refused)


SCHEDULE = f"""\
Recurring jobs: each schedule adds a job at its times, once for each, as long as workers run.

Usage:
  queuectl schedule add [options] [--env=<pair>]... [--tag=<text>]... <name> [--] [<word>...]
  queuectl schedule [list] [--json] [--spool=<dir>]
  queuectl schedule (show | pause | resume | run-now | rm) [--json] [--spool=<dir>] <name>
  queuectl schedule --help

A schedule is a file, schedules/NAME.json in the spool, which a person may write, edit or remove.

Options:
  --cron=<fields>         When, in cron's notation: "30 2 * * *", "*/10 9-17 * * mon-fri".
  --every=<time>          Or every so often: 10m, 1h30m.
  --zone=<name>           The time zone that cron's hours are of: Europe/Berlin; the machine's without it.
  --catch-up=<what>       Of the times that came while no worker ran: none, one (the last; without it), all.
  --overlap=<what>        While one of its jobs is unfinished: skip (add none; without it), queue, allow.
  --jitter=<time>         A random time, up to this, is added to each.
  --replace               Change the schedule of that name.
  --json                  One JSON object a line.
{JOB_WORDS}  --spool=<dir>           The spool to use.
  -h --help               Print this.

Examples:
  queuectl schedule add backup --cron "30 2 * * *" --zone Europe/Berlin "tar cf /backup/home.tar /home"
  queuectl schedule add poll --every 10m --overlap skip --timeout 5m -- ./poll.sh
  queuectl schedule list
"""


def schedule(words: dict) -> int:
    spool = open_spool(words)
    if words["add"]:
        return _schedule_add(spool, words)
    if words["<name>"] is None:
        return _schedule_list(spool, words)
    from jobspool import hands
    from jobspool import schedule as schedules

    name = words["<name>"]
    settings = spool.settings()
    names = schedules.names(spool)
    if name not in names:
        raise NoSuchJob(f"there is no schedule {name!r}{did_you_mean(name, names, ':')} `queuectl schedule` lists them")
    if words["rm"]:
        schedules.remove(spool, name)
        talk_to_person(f"removed {schedules.path_of(spool, name)}; its jobs stay")
        return 0
    one = schedules.load(spool, name, settings)
    if words["show"]:
        print(json.dumps({"name": name, **one.record}) if words["--json"] else "\n".join(_schedule_lines(spool, one, settings)))
    elif words["run-now"]:
        print_jobs(spool, [schedules.run_now(spool, one)], words)
        _tell_of_workers(spool)
    else:
        record = {word: value for word, value in one.record.items() if word != "paused"}
        hands.write_schedule(spool, name, {**record, **({"paused": True} if words["pause"] else {})}, settings)
        talk_to_person(f"{name} {'is paused: `queuectl schedule resume` lets it go on' if words['pause'] else 'goes on'}")
    return 0


def _schedule_add(spool: Spool, words: dict) -> int:
    from jobspool import hands
    from jobspool import schedule as schedules
    from jobspool.job import check_id

    words["--from"] = words["--each"] = None
    for option in ("--delay", "--at", "--expires", "--deadline", "--retry-until"):
        if words[option] is not None:
            raise Wrong(f"{option} is of one moment, and a schedule's jobs come again and again")
    try:
        [job] = _records(words)
    except Wrong as error:
        raise Wrong(str(error).replace("queuectl enqueue", "queuectl schedule add NAME")) from None
    job.pop("id", None)
    name = check_id(words["<name>"])
    if name in schedules.names(spool) and not words["--replace"]:
        raise Wrong(f"there is a schedule {name!r}: --replace changes it")
    given = {
        "cron": words["--cron"],
        "every": _seconds_of(words, "--every"),
        "zone": words["--zone"],
        "catch_up": words["--catch-up"],
        "overlap": words["--overlap"],
        "jitter": _seconds_of(words, "--jitter"),
        "job": _with_options(job, _options(words, spool), words),
    }
    record = {word: value for word, value in given.items() if value is not None}
    settings = spool.settings()
    try:
        one = hands.write_schedule(spool, name, record, settings)
    except schedules.NotASchedule as error:
        raise Wrong(f"{error}") from None
    schedules.begin(spool, name, settings)
    print(printable(schedules.path_of(spool, name)))
    nexts = ", ".join(map(one.shown, islice(one.ticks(time.time()), 3)))
    talk_to_person(f"next: {nexts or 'never'}")
    return 0


def _schedule_list(spool: Spool, words: dict) -> int:
    from jobspool import schedule as schedules

    rows = schedules.all_told(spool, _settings_or_default(spool))
    if words["--json"]:
        print_json(rows)
    elif rows:
        print_table(("schedule", "when", "next", "command"), [_schedule_row(row) for row in rows])
    else:
        talk_to_person(f'no schedules in {spool.root}: queuectl schedule add NAME --cron "30 2 * * *" "COMMAND"')
    return 0


def _schedule_row(row: dict) -> list[str]:
    from jobspool.job import command_line, seconds

    if "problem" in row:
        return [row["name"], "-", "never", f"(no schedule: {row['problem']})"]
    came = row.get("cron") or f"every {row['every']:g} s"
    came += f" {row['zone']}" if "zone" in row else ""
    following = "paused" if row.get("paused") else when(seconds(row["next"][0]), time.time()) if row["next"] else "never"
    return [row["name"], came, following, command_line(row["job"])]


def _schedule_lines(spool: Spool, one: object, settings: object) -> list[str]:
    from jobspool import schedule as schedules

    lines = [f"schedule    {one.name}{' (paused)' if one.paused else ''}"]
    lines += [f"{word:<11} {value if isinstance(value, str) else json.dumps(value)}" for word, value in one.record.items()]
    lines += [f"next        {one.shown(tick)}" for tick in islice(() if one.paused else one.ticks(spool.now()), 3)]
    lines.append(f"seen to     {one.shown(schedules.last(spool, one.name, settings))}")
    lines += [f"unfinished  {id}" for id in schedules.unfinished(spool, one)]
    return [printable(line) for line in [*lines, f"file        {schedules.path_of(spool, one.name)}"]]


BATCH = """\
Show batches: how many of their jobs have ended, and how.

`queuectl wait --batch NAME` waits for one, `queuectl cancel --batch NAME` ends it.

Usage:
  queuectl batch [options] [<name>]

Options:
  --json          One JSON object a line.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl batch render
"""


def batch(words: dict) -> int:
    spool = open_spool(words)
    counts: dict[str, dict[str, int]] = {}
    for job in spool.jobs():
        name = job.record.get("batch")
        if name is not None and words["<name>"] in (None, name):
            found = counts.setdefault(name, dict.fromkeys(STATES, 0))
            found[job.state] += 1
    if words["<name>"] is not None and not counts:
        raise NoSuchJob(f"no job of a batch {words['<name>']!r} is in {spool.root}: `queuectl batch` lists them")
    for name in sorted(counts):
        found = counts[name]
        total, ended = sum(found.values()), found[DONE] + found[DEAD]
        if words["--json"]:
            print(json.dumps({"batch": name, "total": total, "ended": ended, **found}))
        else:
            said = ", ".join(f"{count} {state}" for state, count in found.items() if count)
            print_lines([f"{name:<16} {_drawn(ended, total)} {ended}/{total}  {said}"])
    return 0


def _drawn(done: int, total: int, width: int = 20) -> str:
    """Return a bar of so many characters."""
    full = width * done // total if total else 0
    return f"[{'#' * full}{'.' * (width - full)}]"


STATS = """\
Tell from the records how jobs went: attempts and how they ended, how long they took, and how long jobs waited for the first.

Usage:
  queuectl stats [options]

Options:
  --since=<age>   Of the attempts that ended within this time: 1h, 7d; a day without it.
  --by=<word>     A line for each name (or program; without it), group or batch.
  --json          One JSON object a line.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl stats --since 1h
  queuectl stats --by group --json
"""


def stats(words: dict) -> int:
    from jobspool.stats import summary

    window = _age_in(words, "--since") or 86_400.0
    by = words["--by"] or "name"
    if by not in ("name", "group", "batch"):
        raise Wrong(f"--by takes name, group or batch, not {by!r}")
    spool = open_spool(words)
    now = time.time()
    jobs = (job for state in (DONE, DEAD, FAILED, PENDING) for job in spool.jobs(state) if not job.problem)
    rows = summary(jobs, now - window, now, by)
    if words["--json"]:
        print_json(rows)
        return 0
    heads = (by, "attempts", "done", "failed", "dead", "per hour", "not done", "took p50", "p90", "p99", "waited p50", "p99")
    print_table(heads, [_stats_row(row) for row in rows])
    return 0


def _stats_row(row: dict) -> list[str]:
    def said(value: float | None) -> str:
        return "-" if value is None else took(value)

    share = "-" if row["failure_share"] is None else f"{row['failure_share'] * 100:.3g} %"
    counts = [str(row[word]) for word in ("attempts", "done", "failed", "dead")]
    times = [said(row[word]) for word in ("duration_p50", "duration_p90", "duration_p99", "wait_p50", "wait_p99")]
    return [row["name"], *counts, f"{row['per_hour']:g}", share, *times]


EVENTS = f"""\
Print what became of jobs: each change of state, in order, with its time, and by whom: a worker, a command, or by hand.

Usage:
  queuectl events [options] [--] [<job>...]

{WHICH}
Options:
  -f --follow            Print what happens from now on, until Ctrl-C; behind what --since or --after asks for.
  --since=<age>          What happened within this time: 90s, 10m, 1h, 7d; an hour without it.
  --all                  Everything that is kept.
  --after=<cursor>       What came behind an event, by the "cursor" that --json prints of it.
  --cursor-file=<file>   Go on where the file says that we were, and write there how far we have come.
  --json                 One JSON object a line.
  --spool=<dir>          The spool to use.
  -h --help              Print this.

Examples:
  queuectl events -f
  queuectl events --since 10m k7m3q9
  queuectl events --json --cursor-file seen | jq -r 'select(.to == "dead") | .job'
"""


def events(words: dict) -> int:
    from jobspool import audit, journal
    from jobspool import events as looks

    spool = open_spool(words)
    if not spool.settings().journal_bytes:
        raise QueueError("the journal is switched off: queuectl config set journal_bytes 67108864 lets it be written")
    if words["--after"] is not None and not journal.is_cursor(words["--after"]):
        raise Wrong(f"--after takes a cursor, as 12:3456, that --json has printed, and not {words['--after']!r}")
    _check_place(words)
    jobs, refused = _found(spool, words, None)
    ids = {job.id for job in jobs}
    if words["<job>"] and not ids:
        return 0  # nobody named one on stdin
    if not words["--follow"]:
        audit.catch_up(spool)
    cursor, moment = _from_where(spool, words)
    reader = journal.Reader(spool.root, cursor)
    with suppress(KeyboardInterrupt):
        for found in looks.follow(spool, reader) if words["--follow"] else _read_all(reader):
            shown = [each for each in found if each["job"] and (not ids or each["job"] in ids) and looks.happened(each, moment)]
            _print_changes(shown, words)
            if words["--cursor-file"] and found:
                _keep_cursor(words["--cursor-file"], reader.cursor)
            if reader.lost:
                reader.lost = False
                talk("some events are missing here: they were older than what is kept")
    _tell_of_refused(refused)
    return 0


PLACES = ("--since", "--all", "--after")  # of which one says where events begin


def _check_place(words: dict) -> None:
    """Raise Wrong where the options say twice where events begin, or no file can hold how far we have come."""
    given = [option for option in PLACES if words[option]]
    if len(given) > 1:
        raise Wrong(f"{' and '.join(given)}: give one of them, as each says where to begin")
    if (path := words["--cursor-file"]) is None:
        return
    if given and given != ["--after"]:
        raise Wrong(f"{given[0]} and --cursor-file: the file says where to begin; without it that is the oldest that is kept")
    from jobspool import durable

    spare = f"{path}.{os.getpid()}"
    try:
        if not path or os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        durable.remove(spare)  # of a process of our number that was killed
        os.close(durable.write_new(spare, b""))
        durable.remove(spare)
    except OSError as error:
        raise Wrong(f"--cursor-file {path}: it can't be written: {error.strerror}: name a file in a directory of yours") from None


def _from_where(spool: Spool, words: dict) -> tuple[str | None, float]:
    """Return the cursor from which events are read, None for the oldest, and from when on they count (seconds since 1970)."""
    from jobspool import events as looks
    from jobspool import journal

    path = words["--cursor-file"]
    if words["--after"]:
        return _in_the_past(spool, words["--after"]), 0.0
    if path and (kept := _read_cursor(path)):
        return kept, 0.0
    if words["--all"] or words["--cursor-file"]:
        return None, 0.0
    age = _age_in(words, "--since")
    if words["--follow"] and age is None:
        return journal.end(spool.root), 0.0
    moment = time.time() - (3600.0 if age is None else age)
    return looks.since(spool, moment), moment


def _in_the_past(spool: Spool, cursor: str) -> str:
    """Return the cursor. Raises Wrong where the journal has not come so far."""
    from jobspool import journal

    end = journal.end(spool.root)
    if journal.place(cursor) > journal.place(end):
        raise Wrong(f"--after {cursor}: that is to come, as the journal of {spool.root} ends at {end}: --all prints all of it")
    return cursor


def _read_all(reader: object) -> Iterator[list[dict]]:
    while found := reader.read():
        yield found


def _read_cursor(path: str) -> str | None:
    """Return the cursor that the file holds, None where it isn't there yet. Raises Wrong."""
    from jobspool import journal

    try:
        text = _read(path).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    if text and not journal.is_cursor(text):
        raise Wrong(f"{path} holds no cursor: remove it to begin with the oldest event that is kept")
    return text or None


def _keep_cursor(path: str, cursor: str) -> None:
    from jobspool import durable

    durable.replace(path, f"{path}.{os.getpid()}", f"{cursor}\n".encode(), synced=False)


def _print_changes(found: list[dict], words: dict) -> None:
    if words["--json"]:
        print_json({**event, "handle": Job(event["job"], "", {}, 0, 0).handle} for event in found)
    else:
        for event in found:
            print(printable(_change_line(event)))
    sys.stdout.flush()


def _change_line(event: dict) -> str:
    """Return what happened, in words: when, which job, from which state to which, why, and by whom."""
    from jobspool.job import seconds

    moment = seconds(event["time"])
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03d}"
    source, target = event.get("from"), event.get("to")
    way = f"{source or '':>10} -> {target or ''}" if source != target else f"{source or '':>10}  {event['event']}"
    return f"{clock}  {short(event['job']):<12}  {way:<25}  {_change_words(event)}".rstrip()


MEASURED = (("waited", "waited"), ("duration", "after"))  # words of an event, and how a person is told


def _change_words(event: dict) -> str:
    said = [f"attempt {event['attempt']}"] if "attempt" in event else []
    if event.get("reason"):
        said += filter(None, [_why_of(event)])
    elif "exit" in event:
        said += [f"exit {event['exit']}"]
    said += [f"{how} {took(event[word])}" for word, how in MEASURED if isinstance(event.get(word), (int, float))]
    return ", ".join([*said, _by_whom(event)])


def _why_of(event: dict) -> str:
    """Return the reason without the user, where the end of the line names that: "" for a hold "by root" of root's own command."""
    reason = str(event["reason"])
    if event.get("by") != "command":
        return reason
    found = re.match(rf"(cancelled )?by {re.escape(str(event.get('user')))}(?:(: )|$)", reason)
    if found is None:
        return reason
    kind, colon, rest = found[1] or "", found[2] or "", reason[found.end() :]
    return f"{kind.strip()}{colon if kind else ''}{rest}"


def _by_whom(event: dict) -> str:
    if event.get("by") == "command":
        return f"by {event.get('user')} (queuectl {event.get('command')})"
    return {"hand": "by hand", "worker": f"worker {event.get('worker')}"}.get(event.get("by"), f"by the {event.get('by')}")


METRICS = """\
Print the spool in numbers, in OpenMetrics text, for Prometheus. It needs prometheus_client: pip install 'queuectl[metrics]'.

Usage:
  queuectl metrics [options] [--label=<pair>]...

Options:
  --textfile=<dir>   Write <dir>/queuectl.prom, or the file that ends with .prom, at one go, for node_exporter's textfile
                     collector; - prints what that reads.
  --every=<time>     Write it again and again, until it is stopped.
  --serve=<address>  Serve http://<address>/metrics until it is stopped; a port alone is one of this machine only.
  --label=<pair>     NAME=VALUE, a label that all of them get; may be repeated.
  --spool=<dir>      The spool to use.
  -h --help          Print this.

Examples:
  queuectl metrics
  queuectl metrics --textfile /var/lib/prometheus/node-exporter --every 15s
  queuectl metrics --serve 9419
"""


LEAST_EVERY = 0.1  # seconds between two files


def metrics(words: dict) -> int:
    from jobspool.metrics import checked_labels, text

    labels, address, path = checked_labels(words["--label"]), _address_of(words, "--serve"), _textfile_of(words)
    every = _seconds_of(words, "--every")
    if every is not None and (path is None or every < LEAST_EVERY):
        raise Wrong(f"--every is of --textfile DIR, and {LEAST_EVERY:g} seconds at least: --textfile DIR --every 15s")
    if address is not None and words["--textfile"] is not None:
        raise Wrong("give one of --serve and --textfile")
    spool = open_spool(words)
    if address is not None:
        return _serve_metrics(spool, *address, labels)
    if path is None:
        print(text(spool, words["--textfile"] is None, labels).decode(), end="")
    elif every is None:
        _write_metrics(spool, path, labels)
    else:
        _keep_writing_metrics(spool, path, labels, every)
    return 0


def _textfile_of(words: dict) -> str | None:
    """Return the path of the file that is to be written, None for none. Raises Wrong."""
    given = words["--textfile"]
    if given in (None, "-"):
        return None
    path = os.path.abspath(given if given.endswith(".prom") else f"{given}/queuectl.prom")
    if not given or not os.path.isdir(os.path.dirname(path)):
        ending = "" if given.endswith(".prom") else "; the name of a file has to end with .prom"
        where = "the one of node_exporter's --collector.textfile.directory"
        raise Wrong(f"--textfile {given}: no such directory: name {where}{ending}")
    return path


def _address_of(words: dict, option: str) -> tuple[str, int] | None:
    """Return the host and the port that the option names: of a port alone the host is this machine's own. Raises Wrong."""
    if words[option] is None:
        return None
    host, _, port = words[option].rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536) or (not host and ":" in words[option]):
        raise Wrong(f"{option} takes a port, as 9419, or an address, as 10.0.0.5:9419 or [::1]:9419; not {words[option]!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _serve_metrics(spool: Spool, host: str, port: int, labels: dict[str, str]) -> int:
    from jobspool.metrics import server, text

    text(spool, labels=labels)  # what is wrong is told of before anything begins
    try:
        serving = server(spool, host, port, labels)
    except OSError as error:
        raise QueueError(f"can't serve at {host}, port {port}: {error.strerror}: choose another with --serve") from None
    shown = f"[{host}]" if ":" in host else host
    talk(f"serving http://{shown}:{serving.server_port}/metrics: Ctrl-C ends it")
    serving.serve_forever()
    return 0


def _write_metrics(spool: Spool, path: str, labels: dict[str, str]) -> None:
    """Let the file for node_exporter be as things are now; whoever reads it meanwhile gets the old one or the new, whole."""
    from jobspool import durable
    from jobspool.metrics import text

    content = text(spool, False, labels)
    spare = f"{path}.{os.getpid()}"
    durable.remove(spare)  # of a process of our number that was killed
    durable.replace(path, spare, content, 0o644)


def _keep_writing_metrics(spool: Spool, path: str, labels: dict[str, str], every: float) -> None:
    """Write the file again and again until TERM, INT or HUP comes; trouble that may pass is said once."""
    import signal

    from jobspool.trouble import told

    ends = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # they wait until a file is whole
    said = ""
    while True:
        try:
            _write_metrics(spool, path, labels)
            trouble = ""
        except OSError as error:
            trouble = told(error, spool.root)
        if trouble not in ("", said):
            talk(f"{trouble}; {path} is as it was")
        said = trouble
        if signal.sigtimedwait(ends, every) is not None:
            return


GROUP = """\
Show the groups of jobs, or change the limits of one: running workers take them up at once.

Usage:
  queuectl group [options] [<name>]

Options:
  --concurrency=<n>   No more than n of its jobs run at once; none: any number.
  --rate=<rate>       No more begin: 10/m, 3/10s; none: any number. After a rest so many begin at once, then one by one.
  --weight=<w>        Its share beside other groups, which have 1; none: they run in the order in which all came.
  --pause             Let none of its jobs start.
  --resume            Let them start again.
  --keep-done=<time>  How long its jobs stay in done/: 7d, forever; none: as all others.
  --keep-dead=<time>  The same for dead/.
  --json              One JSON object a line.
  --spool=<dir>       The spool to use.
  -h --help           Print this.

Examples:
  queuectl group crawl --concurrency 2 --rate 10/m
  queuectl group crawl --pause
"""


def group(words: dict) -> int:
    from jobspool import config as settings

    spool = open_spool(words)
    changes = {name: words[f"--{name}"] for name in ("concurrency", "rate", "weight") if words[f"--{name}"] is not None}
    changes |= {f"keep_{state}": words[f"--keep-{state}"] for state in (DONE, DEAD) if words[f"--keep-{state}"] is not None}
    if words["--pause"] or words["--resume"]:
        changes["paused"] = "true" if words["--pause"] else "none"
    if changes and words["<name>"] is None:
        raise Wrong("which group? queuectl group NAME [--concurrency N] [--rate 10/m] [--pause]")
    if changes:
        spool.ready()
        settings.change_group(spool.root, words["<name>"], changes, spool.spare(), spool.file_mode(spool.settings()))
    return _show_groups(spool, words)


def _show_groups(spool: Spool, words: dict) -> int:
    groups = spool.settings().groups
    counts: dict[str, dict[str, int]] = {name: {} for name in groups if words["<name>"] in (None, name)}
    for state in MAY_RUN:
        for job in spool.jobs(state):
            name = job.record.get("group")
            if name is not None and words["<name>"] in (None, name):
                found = counts.setdefault(name, {})
                found[state] = found.get(state, 0) + 1
    rows = [
        {"group": name, **{state: counts[name].get(state, 0) for state in MAY_RUN}, **groups.get(name, {})}
        for name in sorted(counts)
    ]
    if words["--json"]:
        print_json(rows)
        return 0
    heads = ("group", "pending", "failed", "running", "concurrency", "rate", "weight", "paused")
    shown = [[str(row.get("processing" if head == "running" else head, "-")) for head in heads] for row in rows]
    print_table(heads, [[*row[:-1], "yes" if row[-1] == "True" else "no"] for row in shown]) if rows else talk_to_person(
        f"no groups in {spool.root}: queuectl enqueue --group NAME adds jobs to one"
    )
    return 0


PAUSE = """\
Let nothing new start, in the whole spool; what runs goes on. The same as `touch paused` in it.

Usage:
  queuectl pause [options]

Options:
  --reason=<text>   Why, for whoever wonders.
  --json            One JSON object: spool, paused, pause_reason.
  --spool=<dir>     The spool to use.
  -h --help         Print this.

Examples:
  queuectl pause --reason "backup until 6"
"""


def pause(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    hands.pause(spool, _reason_of(words), spool.settings())
    _say_paused(spool, words, f"paused {spool.root}: `queuectl resume` lets jobs start again")
    return 0


def _say_paused(spool: Spool, words: dict, talk: str) -> None:
    """Say whether the spool is paused by now, as JSON or to a person."""
    if words["--json"]:
        paused = os.path.lexists(f"{spool.root}/{PAUSED}")
        print(json.dumps({"spool": spool.root, "paused": paused, "pause_reason": (paused and pause_reason(spool)) or None}))
    else:
        talk_to_person(talk)


RESUME = """\
Let jobs start again in a spool that is paused. The same as `rm paused` in it.

Usage:
  queuectl resume [options]

Options:
  --json          One JSON object: spool, paused, pause_reason.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl resume
"""


def resume(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    _say_paused(spool, words, f"{spool.root} {'goes on' if hands.resume(spool) else 'was not paused'}")
    return 0


RM = f"""\
Remove jobs and their logs: never what runs.

Usage:
  queuectl rm [options] [--] [<job>...]

{WHICH}
Options:
  --yes             Don't ask a person who removes several.
{OF_JOBS}
Examples:
  queuectl rm k7m3q9
  queuectl rm --state dead --name 'test*'
"""


def rm(words: dict) -> int:
    spool = open_spool(words)
    return _remove(spool, *chosen(spool, words, states=(PENDING, FAILED, DONE, DEAD)), words)


def _remove(spool: Spool, jobs: list[Job], refused: list[Exception], words: dict) -> int:
    """Remove the jobs and their logs, once a person who is there has agreed to several."""
    from jobspool import hands

    if len(jobs) > 1 and not words["--yes"] and not _agreed(f"remove {counted(len(jobs), 'job')} and their logs?"):
        raise QueueError("nothing was removed")
    return _each(spool, jobs, words, lambda job: hands.remove(spool, job), refused)


def _agreed(question: str) -> bool:
    """Ask the person, if one is there, and tell whether that is a yes; a script is not asked."""
    return _answer(f"{question} [y/N]") in (None, "y", "yes")


def _answer(question: str, before: str = "") -> str | None:
    """Ask the person, with `before` in front, and return the answer in small letters; None where nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(f"{before}queuectl: {printable(question)} ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower()


AGAIN = f"""\
Add copies of jobs, which are in any state, and print their ids.

Usage:
  queuectl again [options] [--] [<job>...]

{WHICH}
Options:
{OF_JOBS}
Examples:
  queuectl again @last
"""


def again(words: dict) -> int:
    from jobspool import hands

    spool = open_spool(words)
    jobs, refused = chosen(spool, words)
    try:
        return _each(spool, jobs, words, lambda job: hands.again(spool, job), refused)
    finally:
        _tell_of_workers(spool)


EDIT = """\
Edit a job in $VISUAL, $EDITOR or vi. It is held meanwhile, so that it does not run; it is put back only if it is a whole job, and
stays as it was where it isn't, or the editor fails.

Usage:
  queuectl edit [options] [--] <job>

Options:
  --json          One JSON object: the job as it is then.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl edit @failed
"""


def edit(words: dict) -> int:
    spool = open_spool(words)
    settings = spool.settings()
    job = find(spool, words["<job>"])
    if job.state == PROCESSING:
        raise QueueError(f"{printable(job.id)} is running: cancel it first, or wait for its end")
    if job.problem:
        return _edit_file(spool, job, settings)
    from jobspool import hands

    held = f"{hands.EDITED} {person()}, process {os.getpid()}"
    if hands.is_edited(job):
        raise QueueError(f"{printable(job.id)} is just being {job.record['hold']}")
    if job.state in (PENDING, FAILED) and ("hold" not in job.record or job.record["hold"].startswith(hands.EDITED)):
        hands.hold(spool, job, held, settings)
    new = None
    try:
        with _ended_in_order():
            new = _edited(spool, {word: value for word, value in job.record.items() if word not in hands.OF_ONE_LIFE}, settings)
    finally:
        job = spool.find(f"{job.id}.json")
        if new is None and job.record.get("hold") == held:
            hands.release(spool, job, settings)
    if new is not None:
        hands.replace(spool, job, new, held, settings)
    if words["--json"]:
        print(_done_to(spool, job))
    else:
        more = f": `queuectl retry {short(job.id)}` runs it" if job.state in (DONE, DEAD) and new is not None else ""
        talk_to_person(f"{short(job.id)} is {'changed' if new is not None else 'as it was'}, and {job.state}{more}")
    return 0


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let TERM and HUP end what is done as Ctrl-C does, so that nothing of it is left."""
    import signal

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _edit_file(spool: Spool, job: Job, settings: object) -> int:
    """Let a file that is no job become one."""
    path = spool.path(job.state, job.id)
    if odd := spool.distrust(os.lstat(path), settings):
        raise QueueError(f"{printable(path)} is not edited: {odd}")
    new = _edited(spool, read_file(path, settings.max_job_bytes)[0], settings)
    if new is not None:
        from jobspool import durable
        from jobspool.job import written

        durable.replace(path, spool.spare(), written(new), spool.file_mode(settings))
        talk_to_person(f"{short(job.id)} is a whole job now: `queuectl retry {short(job.id)}` runs it")
    return 0


def _edited(spool: Spool, before: dict | bytes, settings: object) -> dict | None:
    """Return the job as the person has it now, None where it is as before. Raises QueueError where it is given up."""
    from jobspool import durable
    from jobspool.job import written

    content = before if isinstance(before, bytes) else written(before)
    path = f"{spool.spare()}.json"
    os.close(durable.write_new(path, content))
    try:
        while True:
            _call_editor(path)
            now = _read(path)
            if now == content:
                return None
            try:
                return _without_attempts(parse(now, settings.max_job_bytes))
            except NotAJob as error:
                complain(f"it is not a whole job: {error}{_caret(now, str(error))}", EXIT_FAILED)
                if not (_answer("[e]dit it again, or [g]ive up?") or "").startswith("e"):
                    raise QueueError("given up: the job is as it was") from None
    finally:
        durable.remove(path)


def _call_editor(path: str) -> None:
    import subprocess

    words = _program_in("VISUAL") or _program_in("EDITOR") or ["vi"]
    try:
        status = subprocess.run([*words, path], check=False).returncode
    except OSError as error:
        raise QueueError(f"can't run the editor {words[0]}: {error.strerror}: set EDITOR") from None
    if status:
        raise QueueError(f"{words[0]} ended with {status}: the job is as it was")


def _program_in(variable: str) -> list[str]:
    """Return the words of the program that the variable names, none where it is empty. Raises QueueError."""
    import shlex

    try:
        return shlex.split(os.environ.get(variable, ""))
    except ValueError as error:
        raise QueueError(f"{variable} is no command line ({error}): {os.environ[variable]}") from None


def _caret(content: bytes, problem: str) -> str:
    """Return the line where the problem is, with a caret under its place, "" where it has none."""
    found = re.search(r"line (\d+) column (\d+)", problem)
    if not found:
        return ""
    line, column = int(found[1]), int(found[2])
    text = content.decode("utf-8", "replace").split("\n")[line - 1]
    if column >= 60:  # a long line is shown from before the place
        text, column = "…" + text[column - 40 :], 42
    text = text[:100]
    return f"\n  {printable(text)}\n  {' ' * len(printable(text[: column - 1]))}^"


CLEAN = """\
Remove old jobs and their logs: of done/, or of the state that is given; never what runs.

Usage:
  queuectl clean [options]

Options:
  --older-than=<age>   Only those that came there longer ago: 90s, 10m, 1h, 7d.
  --keep=<n>           All but the newest n.
  --dry-run            Only print which.
  --json               One JSON object a line instead of ids.
  --yes                Don't ask a person who removes several.
  --state=<state>      Of this state: done (without it), pending, failed or dead.
  --name=<glob>        Only jobs with a name like this, as 'nightly*'.
  --tag=<text>         Only jobs with this tag.
  --group=<name>       Only jobs of this group.
  --batch=<name>       Only jobs of this batch.
  --since=<age>        Only jobs that came to their state within this time.
  --grep=<text>        Only jobs with this text in their command.
  --spool=<dir>        The spool to use.
  -h --help            Print this.

Examples:
  queuectl clean --older-than 7d
  queuectl clean --state dead --keep 100 --dry-run
"""


def clean(words: dict) -> int:
    spool = open_spool(words)
    words["--state"] = words["--state"] or DONE
    if PROCESSING in _states_of(words, ()):
        raise Wrong("what runs is not removed: queuectl cancel ends it")
    age, keep = _age_in(words, "--older-than"), _count_in(words, "--keep")
    now = time.time()
    jobs = sorted(selected(spool, words), key=_came)
    jobs = [job for job in jobs[: len(jobs) - (keep or 0)] if age is None or now - _came(job) > age]
    if not jobs:
        talk_to_person(f"nothing to remove in {spool.root}")
    if words["--dry-run"]:
        print_jobs(spool, jobs, words)
        return 0
    return _remove(spool, jobs, [], words)


# ---- top

TOP = """\
Watch the spool: counts, workers with their jobs, what comes next, what failed last; redrawn when something happens.

Usage:
  queuectl top [options]

Options:
  --once          Draw it once, and end: without a terminal that is what it does.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Keys: up and down choose a job, l shows its log, c cancels it, r tries it again, h holds or releases it, p pauses or resumes the
spool, q quits.

`queuectl watch` is the same.
"""


def top(words: dict) -> int:
    from jobspool.screen import Screen

    spool = open_spool(words)
    screen = Screen(
        spool,
        lambda: _look_around(spool),
        lambda state: _stats(spool, state, _to_look_at(spool.names(state))),
        lambda job: _show_log(spool, job),
    )
    if words["--once"] or not (sys.stdin.isatty() and sys.stdout.isatty()):
        screen.look()
        print_lines([text for text, _ in screen.lines(80, 1000)])
        return 0
    return 0 if screen.run() else EXIT_INTERRUPTED


def _show_log(spool: Spool, job: Job) -> None:
    """Show what the job prints, until its end, and wait for the person."""
    print(f"--- {short(job.id)}: {printable(job.command)}")
    number = _last_attempt(spool, job)
    _follow_logs(spool, [job], [number or 1], ("out", "err"), 1000) if number else print("it has not run yet")
    print("--- Enter goes back", end="", flush=True)
    sys.stdin.readline()


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
    """Return the value as a person may type it."""
    if isinstance(value, dict):
        plain = not any(isinstance(each, dict) for each in value.values())
        return ",".join(f"{name}={each}" for name, each in value.items()) if plain else json.dumps(value)
    if isinstance(value, list):
        return ",".join(map(str, value))
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
    if job.problem and (place := _place_in(spool.path(job.state, job.id), job.problem)):
        lines += place.strip("\n").split("\n")
    lines += [f"attempt {attempt.get('number', '?'):<3} {_attempt_words(attempt)}" for attempt in job.attempts]
    lines += [f"result      {json.dumps(attempt['result'])}" for attempt in job.attempts[-1:] if "result" in attempt]
    if job.state == PROCESSING and (words := progress_words(say.said_so_far(spool, job))):
        lines.append(f"progress   {words}")
    lines += [f"log         {path} ({size} bytes)" for path, size in _logs(spool, job)]
    return [*lines, *_last_lines(spool, job)]


def _place_in(path: str, problem: str) -> str:
    """Return where in the file the problem is, "" where it has no place or can't be read."""
    try:
        with open(path, "rb", opener=opener) as file:
            return _caret(file.read(1 << 20), problem)
    except OSError:
        return ""


def _last_lines(spool: Spool, job: Job) -> list[str]:
    """Return the last lines that its newest attempt has printed."""
    from jobspool.follow import Stream

    lines = []
    for stream in ("out", "err"):
        log = Stream(spool.log_path(job.id, max(1, _last_attempt(spool, job)), stream), LINES_SHOWN)
        text = b"".join(log.read())[-MOST_SHOWN:].decode("utf-8", "backslashreplace")
        log.close()
        lines += [f"std{stream:<8} {line}" for line in text.splitlines()]
    return lines


def _state_words(job: Job, settings: object) -> str:
    if job.problem:
        return f": not a whole job: {job.problem}"
    if job.state == DEAD:
        return f" for {span(time.time() - job.mtime)}: {why_dead(job)}"
    if job.state in (PENDING, FAILED) and "hold" in job.record:
        return f", held ({job.record['hold']})"
    if job.state == FAILED:
        return f": {why_failed(job, settings)}, {tries(job, settings)} tries"
    return f", {age(job)}, {tries(job, settings)} tries"


def _attempt_words(attempt: dict) -> str:
    how = attempt.get("reason") or f"exit {attempt.get('exit')}"
    used = f", cpu {attempt['cpu']:g} s, {attempt['memory'] / 1e6:.0f} MB" if {"cpu", "memory"} <= attempt.keys() else ""
    due = f", due {attempt['due'][:19]}Z" if attempt["verdict"] in ("failed", "snoozed") and "due" in attempt else ""
    began = str(attempt.get("started", "?"))[:19]
    ended = f"{how} after {took(attempt.get('duration', 0))}"
    return f"{began}Z  {ended}{used}: {attempt['verdict']}{due} ({attempt.get('worker', '?')})"


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


LOGS = f"""\
Print what jobs printed: standard output on stdout, standard error on stderr, of their newest attempt.
A pipe or a file gets it byte by byte, a terminal its text and colours, and no other sequence.
Without a JOB: of the job that ran last.

Usage:
  queuectl logs [options] [--] [<job>...]

Options:
  -f --follow     Go on while the job runs, from attempt to attempt, until it is done or dead.
  --tail=<n>      Only the last n lines of each stream.
  --attempt=<n>   That attempt's; the first is 1.
  --stdout        Only its standard output.
  --stderr        Only its standard error, on stdout.
{SELECTION.replace(">   ", "> ")}  --spool=<dir>   The spool to use.
  -h --help       Print this.

Several jobs, named or chosen: each line begins with the job's handle.

Examples:
  queuectl logs -f
  queuectl logs k7m3q9 --attempt 1 --stderr
  queuectl logs --tail 20 k7m3q9 p4x1z8
"""


def logs(words: dict) -> int:
    if words["--stdout"] and words["--stderr"]:
        raise Wrong("--stdout or --stderr: without either there are both")
    spool = open_spool(words)
    named = bool(words["<job>"]) or any(words[choice] for choice in CHOICES)
    jobs, refused = chosen(spool, words) if named else ([_ran_last(spool)], [])
    jobs = list({job.id: job for job in jobs}.values())
    streams = ("err",) if words["--stderr"] else ("out",) if words["--stdout"] else ("out", "err")
    tail = _count_in(words, "--tail")
    if words["--follow"]:
        _tell_of_refused(refused)  # at once: nobody knows when those that there are will end
        lasts = [_last_attempt(spool, job) for job in jobs]
        numbers = [_attempt_of(words["--attempt"], last) or last or 1 for last in lasts]
        _follow_logs(spool, jobs, numbers, streams, tail)
        return 0
    with _pager(spool, jobs, tail) as terminals:
        for job in jobs:
            try:
                _print_logs(spool, job, streams, tail, words["--attempt"], len(jobs) > 1, terminals)
            except QueueError as error:
                refused.append(error)
    _tell_of_refused(refused)
    return 0


@contextmanager
def _pager(spool: Spool, jobs: list[Job], tail: int | None) -> Iterator[tuple[bool, bool]]:
    """Let what is printed meanwhile go through $PAGER, where a person sees it, and it is longer than the terminal.

    Yields whether stdout and stderr come to a terminal, through it or without.
    """
    program = _program_in("PAGER") if sys.stdout.isatty() else []
    if not program or not _is_long(spool, jobs, tail):
        yield _terminals()
        return
    import subprocess

    ours = [os.dup(1), os.dup(2)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, env={"LESS": "R", **os.environ}) as pager:
        try:
            for descriptor in (1, 2):
                os.dup2(pager.stdin.fileno(), descriptor)
            yield True, True
            sys.stdout.flush()
        except BrokenPipeError:
            pass  # the person has seen enough
        finally:
            for descriptor, own in enumerate(ours, 1):
                os.dup2(own, descriptor)
                os.close(own)


def _terminals() -> tuple[bool, bool]:
    return sys.stdout.isatty(), sys.stderr.isatty()


def _is_long(spool: Spool, jobs: list[Job], tail: int | None) -> bool:
    from jobspool.follow import Stream

    lines = 0
    for job in jobs:
        for stream in ("out", "err"):
            log = Stream(spool.log_path(job.id, max(1, _last_attempt(spool, job)), stream), tail)
            lines += sum(piece.count(b"\n") for piece in islice(log.read(), 2))
            log.close()
    return lines >= os.get_terminal_size(1).lines


def _ran_last(spool: Spool) -> Job:
    found = _came_last(spool, (PROCESSING, DONE, FAILED, DEAD))
    if not found or not (job := spool.read(*found[0])):
        raise NoSuchJob(f"no job has run in {spool.root}")
    return job


def _count_in(words: dict, option: str) -> int | None:
    text = words[option]
    if text is not None and (not text.isdecimal() or len(text) > 15):
        raise Wrong(f"{option} takes a whole number, not {text!r}")
    return None if text is None else int(text)


def _last_attempt(spool: Spool, job: Job) -> int:
    """Return the number of the job's newest attempt, also of one that runs or isn't on record; 0 where there is none."""
    return len(job.attempts) + (job.state == PROCESSING or _printed_more(spool, job))


def _print_logs(
    spool: Spool,
    job: Job,
    streams: tuple[str, ...],
    tail: int | None,
    attempt: str | None,
    named: bool,
    terminals: tuple[bool, bool],
) -> None:
    """Print what one attempt of the job has printed, as far as it has."""
    from jobspool.follow import Stream

    last = _last_attempt(spool, job)
    number = _attempt_of(attempt, last) or last
    if not last:
        if job.problem:
            raise QueueError(f"{printable(job.id)} has never run: it is not a whole job ({job.problem})")
        raise QueueError(f"{printable(job.id)} has not been tried yet: it is {job.state}")
    printer = Printer(streams, [job] if named else [], terminals)
    for stream in streams:
        log = Stream(spool.log_path(job.id, number, stream), tail)
        while pieces := list(log.read()):
            for piece in pieces:
                printer.write(job.id, stream, piece)
        log.close()
    printer.end()
    if not printer.wrote and not named:
        other = "out" if streams == ("err",) else "err"
        size = dict(_logs(spool, job)).get(spool.log_path(job.id, number, other), 0) if len(streams) == 1 else 0
        hint = f"; {size} bytes are on its std{other}: --std{other}" if size else ""
        talk_to_person(f"attempt {number} printed nothing{' there' if len(streams) == 1 else ''}{hint}")


PLAIN = b"\x1b[0m"  # the end of all colours


class Printer:
    """Writes what jobs printed where it belongs; that of several jobs line by line, behind their handles.

    `terminals`: whether stdout and stderr are one, which gets text and colours: see shown.py. A pipe gets the bytes as they are.
    """

    def __init__(self, streams: tuple[str, ...], jobs: list[Job], terminals: tuple[bool, bool]) -> None:
        self.wrote = False
        self._terminals = terminals
        self._shown: dict[tuple[str, str], Shown] = {}  # what terminals get of each stream
        self._only = len(streams) == 1
        self._heads = {job.id: f"{short(job.id)} | ".encode("utf-8", "backslashreplace") for job in jobs}
        self._rests: dict[tuple[str, str], bytes] = {}  # lines that have no end yet

    def write(self, id: str, stream: str, content: bytes) -> None:
        """Write a piece of the job's stream."""
        self.wrote = True
        if self._terminals[self._is_error(stream)]:
            content = self._shown_of(id, stream).piece(content)
        self._write(id, stream, content)

    def _write(self, id: str, stream: str, content: bytes) -> None:
        if id in self._heads:
            *lines, self._rests[id, stream] = (self._rests.get((id, stream), b"") + content).split(b"\n")
            content = b"".join([self._heads[id] + self._plain(id, stream, line) + b"\n" for line in lines])
        out = sys.stderr.buffer if self._is_error(stream) else sys.stdout.buffer
        out.write(content)
        out.flush()

    def _plain(self, id: str, stream: str, line: bytes) -> bytes:
        """Return the line without a colour that stays behind it, where it goes to a terminal."""
        return line + PLAIN if (id, stream) in self._shown and b"\x1b" in line else line

    def _is_error(self, stream: str) -> bool:
        return stream == "err" and not self._only

    def _shown_of(self, id: str, stream: str) -> Shown:
        if (id, stream) not in self._shown:
            from jobspool.shown import Shown

            self._shown[id, stream] = Shown(COLOR[0] != "never")
        return self._shown[id, stream]

    def end(self) -> None:
        """Write the lines that never came to their end, and let no colour stay."""
        for (id, stream), shown in self._shown.items():
            colored = shown.colored and id not in self._heads
            self._write(id, stream, shown.piece(b"", last=True) + (PLAIN if colored else b""))
        for (id, stream), rest in self._rests.items():
            if rest:
                self._write(id, stream, b"\n")


def _follow_logs(
    spool: Spool, jobs: list[Job], numbers: list[int], streams: tuple[str, ...], tail: int | None, quiet: bool = False
) -> list[Job | None]:
    """Print what the jobs print, from these attempts on, and return them as they lie at their ends; None for what was removed."""
    from jobspool import follow

    printer = Printer(streams, jobs if len(jobs) > 1 else [], _terminals())
    followers = [follow.Follower(spool, job.id, number, streams, tail) for job, number in zip(jobs, numbers, strict=True)]
    told = (lambda *_: None) if quiet else _tell_of_attempt
    try:
        follow.follow(spool, followers, lambda one, stream, piece: printer.write(one.id, stream, piece), told)
    finally:
        printer.end()
    return [one.job for one in followers]


def _printed_more(spool: Spool, job: Job) -> bool:
    """Tell whether an attempt that isn't on record, as hands took the job away, left a log."""
    return any(os.path.exists(spool.log_path(job.id, len(job.attempts) + 1, stream)) for stream in ("out", "err"))


def _attempt_of(text: str | None, last: int) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18 or not 1 <= int(text) <= max(last, 1):
        raise Wrong(f"--attempt {text}: there are the attempts 1 to {last}" if last else f"--attempt {text}: there is none yet")
    return int(text)


# ---- why, wait and run

WHY = """\
Say in one sentence why a job is where it is, and what to type.

Usage:
  queuectl why [options] [--] <job>

Options:
  --json          One JSON object: id, state, why, cure.
  --spool=<dir>   The spool to use.
  -h --help       Print this.

Examples:
  queuectl why @last
"""


def why(words: dict) -> int:
    spool = open_spool(words)
    job = find(spool, words["<job>"])
    reason, cure = say.why(spool, job, _settings_or_default(spool))
    if words["--json"]:
        print(json.dumps({"id": job.id, "state": job.state, "why": reason, "cure": cure or None}))
    else:
        print_lines([f"{reason}{f': {cure}' if cure else ''}"], cut=False)
    return 0


WAIT = f"""\
Wait until jobs are done or dead; without any, until nothing waits or runs. Held jobs are not waited for then.
Exit as the job did (128+n for signal n); of several, or of all, 0 if none has died, else 1; 124 at the timeout.

Usage:
  queuectl wait [options] [--] [<job>...]

{WHICH}
Options:
  --any                 Until the first of them has ended; exit as that did.
  --timeout=<time>      No longer than this.
  --json                One JSON object a line, for each as it ends.
{SELECTION.replace(">   ", ">       ")}  --spool=<dir>         The spool to use.
  -h --help             Print this.

Examples:
  queuectl wait k7m3q9 && echo well
  queuectl wait --timeout 600
"""

EXIT_TIMEOUT = 124  # as timeout(1)


def wait(words: dict) -> int:
    from jobspool import follow

    limit = _seconds_of(words, "--timeout")
    deadline = None if limit is None else time.monotonic() + limit
    spool = open_spool(words)
    if not words["<job>"] and not any(words[choice] for choice in CHOICES):
        dead = set(spool.names(DEAD))
        with Progress("jobs") as progress:
            if not follow.empties(spool, _waits(spool, progress), deadline):
                return _too_late(spool, limit)
        died = len(set(spool.names(DEAD)) - dead)
        if died:
            talk_to_person(f"{counted(died, 'job')} died meanwhile: `queuectl dlq list`")
        return int(died > 0)
    jobs, refused = chosen(spool, words)
    _tell_of_refused(refused)  # at once, and not when the others have ended
    ids, codes = [job.id for job in jobs], []
    with Progress("jobs", len(ids)) as progress:
        for job in follow.ends(spool, ids, deadline, lambda: progress.tell(len(codes))):
            if words["--json"]:
                print(json.dumps(as_json(spool, job)), flush=True)
            codes.append(exit_code(job))
            if words["--any"]:
                return codes[0]
    if len(codes) < len(ids):
        return _too_late(spool, limit)
    return _code_of_all(codes)


def _too_late(spool: Spool, limit: float) -> int:
    left = sum(spool.count(state) for state in MAY_RUN)
    talk_to_person(f"not ended within {limit:g} s: {counted(left, 'job')} in {spool.root} waiting or running")
    return EXIT_TIMEOUT


def _waits(spool: Spool, progress: Progress) -> Callable[[], bool]:
    """Return what tells whether anything is to be waited for; the progress is of the most that there was."""
    most = 0

    def waits() -> bool:
        nonlocal most
        left = sum(spool.count(state) for state in MAY_RUN)
        most = max(most, left)
        progress.tell(most - left, most)
        return is_unfinished(spool, spool.settings_or_default())

    return waits


RUN = f"""\
Add a job, show what it prints as it prints it, and exit as it did (128+n for signal n).

Usage:
  queuectl run [options] [--env=<pair>]... [--tag=<text>]... [--] [<word>...]

Options:
  --now                   Run it here, also where no worker runs.
  --cancel-on-interrupt   Cancel it at Ctrl-C, without asking.
{JOB_WORDS}{ITS_NAME}  -q --quiet              Say nothing on stderr of our own.
  --spool=<dir>           The spool to use.
  -h --help               Print this.

Examples:
  queuectl run "make test" --timeout 600
  queuectl run --now -- ./backup.sh /home
"""


def run_(words: dict) -> int:
    words["--from"] = words["--each"] = None
    try:
        [record] = _records(words)
        _check_its_name(words)
    except Wrong as error:
        raise Wrong(str(error).replace("queuectl enqueue", "queuectl run")) from None
    given = record.pop("id", None) if words["--id"] is None else words["--id"]
    spool = open_spool(words)
    record = _with_options(record, _options(words, spool), words)
    job = here = None
    try:
        with _interrupted_afterwards():  # it may run before we are told that it is added
            job = _added_unique(spool, record, _start(words), words) if words["--unique"] is not None else None
            [job] = [job] if job else spool.add_many([(given, record, _start(words))])
        here = _start_here(spool, job.id) if words["--now"] else None
        if not words["--quiet"]:
            talk_to_person(f"{short(job.id)} is {'run here' if here else 'in line'}")
            here or _tell_of_workers(spool)
        with _ended_in_order() if here else nullcontext():
            return _follow_to_end(spool, job, words["--quiet"])
    except KeyboardInterrupt:
        if job is None:
            raise
        return _interrupted(spool, job.id, words)
    finally:
        if here:
            here.end()


@contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Let a Ctrl-C wait until what is done is done."""
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_here(spool: Spool, id: str) -> object:
    from jobspool.here import Here

    return Here(spool, id)


def _follow_to_end(spool: Spool, job: Job, quiet: bool) -> int:
    """Show what the new job prints, and return the exit status for how it ended."""
    [ended] = _follow_logs(spool, [job], [1], ("out", "err"), None, quiet)
    if ended is None:
        raise NoSuchJob(f"{printable(job.id)} was removed")
    return exit_code(ended)


def _tell_of_attempt(follower: object, job: Job) -> None:
    attempt = job.attempts[follower.number - 1]
    if attempt["verdict"] == "failed" and "due" in attempt:
        talk_to_person(f"attempt {follower.number}: {attempt.get('reason')}; retry due in {span(until(attempt['due']))}")


def _interrupted(spool: Spool, id: str, words: dict) -> int:
    """Ctrl-C: ask once whether the job is to go on, where somebody is there to ask."""
    cancelled = words["--cancel-on-interrupt"]
    if not cancelled and not words["--now"]:
        with suppress(KeyboardInterrupt):
            cancelled = (_answer(f"{short(id)}: [l]eave it running, or [c]ancel it?", "\n") or "").startswith("c")
    if cancelled or words["--now"]:
        from jobspool import hands

        job = spool.find(f"{id}.json")
        if job.state in MAY_RUN:
            hands.cancel(spool, job, f"by {person()}", spool.settings())
            talk(f"{short(id)} is cancelled")
    else:
        talk(f"{short(id)} goes on: `queuectl logs -f {short(id)}` shows it again")
    return EXIT_INTERRUPTED


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


# ---- completion

COMPLETION = """\
Print what lets the shell complete commands, options, states, settings and jobs. For fish: queuectl completion fish | source

Usage:
  queuectl completion (bash | zsh | fish)

Options:
  -h --help   Print this.

Examples:
  source <(queuectl completion bash)
  source <(queuectl completion zsh)
"""


def completion(words: dict) -> int:
    from jobspool.completion import SHELLS

    print(next(script for shell, script in SHELLS.items() if words[shell]), end="")
    return 0


def _complete(words: list[str]) -> list[str]:
    from jobspool.completion import complete

    usages = {name: usage for name, (usage, _) in COMMANDS.items()}
    return complete(words, usages, OTHER_NAMES, lambda states, most: _newest(Spool(find_root()[0]), states, most))


WEB = """\
Serve a page that shows the spool and does what the commands do, and its JSON API, until it is stopped.

Usage:
  queuectl web [options] [--allow-host=<name>]...

It is for this machine alone, and for who has the token: the link that it prints has that in it. queuectl-web(7) tells about the
API, and how to put it behind nginx with TLS.

Options:
  --port=<n>            Listen at this port; 0, as without it: at one that is free.
  --host=<address>      Listen there instead of 127.0.0.1, where others may reach it.
  --socket=<path>       Listen at a unix socket instead.
  --open                Open the link in a browser.
  --read-only           Only show.
  --allow-host=<name>   Who asks may call us so, too, as a proxy does; may be repeated.
  --behind-proxy        Who asks is a proxy: X-Forwarded-Proto says whether TLS is spoken to it. Always so at a socket.
  --token-file=<path>   The token is there, or is to be; else web.token in the spool.
  --spool=<dir>         The spool to use.
  -h --help             Print this.

Examples:
  queuectl web --open
  queuectl web --port 8080 --read-only
  queuectl web --socket /run/queuectl/web.sock --allow-host queue.example.org
"""


def web(words: dict) -> int:
    try:
        from jobspool.web import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("jobspool"):
            raise
        from jobspool.errors import NotInstalled

        raise NotInstalled(f"the page needs {error.name}", "web", "starlette uvicorn httptools sortedcontainers") from None
    host, port = words["--host"] or "127.0.0.1", _port_of(words)
    if words["--socket"] is not None and (words["--host"] is not None or words["--port"] is not None):
        raise Wrong("give either --socket, or --host and --port")
    spool = open_spool(words)
    if words["--socket"] is None and not serve.is_loopback(host):
        talk(f"others can reach {host}, and what is said there is not encrypted: put nginx before it, see queuectl-web(7)")
        if serve.is_everywhere(host) and not words["--allow-host"]:
            talk("the link is for this machine: its other addresses and names are refused (421), until --allow-host names them")
    hosts, path = tuple(words["--allow-host"]), words["--token-file"]
    options = serve.Options(
        host, port, words["--socket"], hosts, words["--read-only"], words["--behind-proxy"], path, __version__
    )

    def tell(where: str, link: str, once: str) -> None:
        print(f"{where}: {link}" if where else link, flush=True)
        talk_to_person(f"serving {spool.root}: Ctrl-C ends it")
        talk_to_person(f"the token lies in {serve.token_file(spool, path)}")
        if words["--open"]:
            from threading import Thread

            Thread(target=_open_browser, args=(once,), daemon=True).start()  # it may run for as long as the browser is open

    serve.serve(spool, options, tell)
    return 0


def _port_of(words: dict) -> int:
    text = words["--port"] or "0"
    if not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise Wrong(f"--port takes a number from 0 to 65535, not {text!r}")
    return int(text)


def _open_browser(link: str) -> None:
    """Have the link opened, which is good once: who sees our words, sees it used."""
    import webbrowser

    if not webbrowser.open(link):
        talk("the browser didn't open: open the link yourself")


# ---- words in

COMMANDS: dict[str, tuple[str, Callable[[dict], int]]] = {
    "enqueue": (ENQUEUE, enqueue),
    "start": (START, start),
    "stop": (STOP, stop),
    "scale": (SCALE, scale),
    "restart": (RESTART, restart),
    "install-service": (SERVICE, install_service),
    "status": (STATUS, status),
    "list": (LIST, list_),
    "top": (TOP, top),
    "web": (WEB, web),
    "show": (SHOW, show),
    "logs": (LOGS, logs),
    "why": (WHY, why),
    "wait": (WAIT, wait),
    "run": (RUN, run_),
    "cancel": (CANCEL, cancel),
    "kill": (KILL, kill),
    "retry": (RETRY, retry),
    "hold": (HOLD, hold),
    "release": (RELEASE, release),
    "priority": (PRIORITY, priority),
    "front": (FRONT, front),
    "back": (BACK, back),
    "group": (GROUP, group),
    "batch": (BATCH, batch),
    "stats": (STATS, stats),
    "events": (EVENTS, events),
    "metrics": (METRICS, metrics),
    "schedule": (SCHEDULE, schedule),
    "pause": (PAUSE, pause),
    "resume": (RESUME, resume),
    "rm": (RM, rm),
    "again": (AGAIN, again),
    "edit": (EDIT, edit),
    "clean": (CLEAN, clean),
    "dlq": (DLQ, dlq),
    "config": (CONFIG, config),
    "init": (INIT, init),
    "doctor": (DOCTOR, doctor),
    "completion": (COMPLETION, completion),
}
LASTING = ("start", "restart", "run", "wait", "logs", "top", "events", "metrics", "web")
OTHER_NAMES = {"fsck": "doctor", "watch": "top"}
INSTEAD = {  # what people try, and what does it
    "remove": ": queuectl rm forgets a job",
    "delete": ": queuectl rm forgets a job",
    "add": ": queuectl enqueue adds a job",
    "tail": ": queuectl logs -f follows what a job prints",
    "follow": ": queuectl logs -f follows what a job prints",
    "version": ": queuectl --version",
    "ls": ": queuectl list shows the jobs",
    "jobs": ": queuectl list shows the jobs",
    "ps": ": queuectl status shows what runs",
    "unhold": ": queuectl release lets a held job go",
    "unpause": ": queuectl resume lets jobs start again",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: the console script's entry point."""
    _open_closed_streams()
    if not os.environ.get("COLUMNS", "1").isdecimal() or len(os.environ.get("COLUMNS", "")) > 4:
        del os.environ["COLUMNS"]  # no terminal is as wide: who draws on one would fail
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


def _open_closed_streams() -> None:
    """Let what we were started without be /dev/null: else the next file that is opened is taken for it."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    import io

    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            raw = io.BufferedRWPair(file := io.FileIO(descriptor, "r+"), file)
            setattr(sys, name, io.TextIOWrapper(raw, line_buffering=True))


def command() -> NoReturn:
    """Be the command: run it, and end without the clean-up of all modules, which takes as long as adding a job does."""
    import gc

    gc.disable()  # most commands are gone before there is any garbage; those that stay let it be looked for
    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def run(argv: list[str]) -> int:
    """Run what the words say. Raises what main() turns into exit statuses."""
    spool, rest = _options_first(_without_color(argv))
    if not rest or rest[0] in ("help", "-h", "--help"):
        if rest[1:] and rest[1] in COMMANDS:
            rest = [rest[1], "--help"]
        else:
            print(OVERVIEW, end="")
            return 0
    if rest[0] == "__complete":
        print("".join(f"{line}\n" for line in _complete(rest[1:])), end="")
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
    RUNNING[0] = name
    if name in LASTING:
        import gc

        gc.enable()
    options = rest[: rest.index("--")] if "--" in rest else rest
    if "--help" in options or "-h" in options:
        print(usage, end="")
        return 0
    return function(_parsed(usage, [name, *(["--spool", spool] if spool else []), *rest[1:]]))


def _signal_option(word: str) -> str:
    """Return --signal=HUP for -HUP, as kill(1) takes it."""
    return f"--signal={word[1:]}" if re.fullmatch(r"-(?:\d+|[A-Z][A-Z0-9]+)", word) else word


def _without_color(argv: list[str]) -> list[str]:
    """Take --color=WHEN, which each command has, out of the words, and note it. Raises Wrong."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    for place, word in enumerate(own):
        if word.startswith("--color"):
            when = word.partition("=")[2] or "always"
            if word.partition("=")[0] != "--color" or when not in ("auto", "always", "never"):
                raise Wrong("--color is --color=auto, --color=always or --color=never")
            if any(other.startswith("--color") for other in own[place + 1 :]):
                raise Wrong("--color is given twice")
            COLOR[0] = when
            return argv[:place] + argv[place + 1 :]
    return argv


def _options_first(argv: list[str]) -> tuple[str | None, list[str]]:
    """Return the --spool that stands before the command, and the words from the command on."""
    spool = None
    while argv and argv[0].partition("=")[0] == "--spool":
        if spool is not None:
            raise Wrong("--spool is given twice")
        spool, argv = (argv[0].partition("=")[2], argv[1:]) if "=" in argv[0] else ((argv[1:2] or [""])[0], argv[2:])
        if not spool:
            raise Wrong("--spool needs a directory: queuectl --spool DIR COMMAND")
    return spool, argv


def _parsed(usage: str, words: list[str]) -> dict:
    """Return what docopt makes of the words. Raises Wrong, with what was wrong."""
    from docopt import DocoptExit, docopt, parse_options

    words = [_signal_option(word) for word in words] if words[0] == "kill" else words
    words = _with_priority(words) if words[0] == "priority" else words
    options = parse_options(usage)
    typed = _typed(usage, words, options)
    try:
        return {each.name: each.value for each in options} | docopt(_only(usage, typed), words, default_help=False)
    except DocoptExit:
        raise Wrong(_misfit(usage, words)) from None


def _only(usage: str, names: set[str]) -> str:
    """Return the usage without the options that are neither named nor in its lines: docopt compares each with each."""
    lines, _, described = usage.partition("\nOptions:\n")
    kept = [line for line in described.split("\n") if (name := _option_of(line)) in names or name in lines]
    return "\n".join([f"{lines}\n\nOptions:", *kept])


def _option_of(line: str) -> str:
    """Return the long name of the option that the line describes, else all of the line."""
    found = re.match(r"  (?:-\w )?(--[\w-]+)", line)
    return found[1] if found else line


def _typed(usage: str, words: list[str], options: list) -> set[str]:
    """Return the names of the options among the words. Raises Wrong for one that is unknown, lacks its value, or stands twice."""
    names, rest = set(), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
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
                raise Wrong(f"{name} needs a value: {name} {_value_of(usage, fits[0])}")
            rest.pop(0)
        if fits[0].name in names and f"[{fits[0].name}=" not in usage:
            commas = f"; several stand with commas between: {fits[0].name} A,B" if fits[0].name in WITH_COMMAS else ""
            raise Wrong(f"{fits[0].name} is given twice{commas}")
        names.add(fits[0].name)
    return names


def _value_of(usage: str, option: object) -> str:
    """Return what the help calls the option's value, as it is typed: DIR, TARGET."""
    found = re.search(rf"(?:{option.longer}|{option.short})[= ]<([\w-]+)>", usage)
    return (found[1] if found else option.longer[2:]).upper()


def _unknown_option(usage: str, words: list[str], name: str, options: list) -> str:
    given = [word for word in words[1 : words.index(name) if name in words else None] if not word.startswith("-")]
    if words[0] in ("enqueue", "run") and given and not any(word.startswith("--") for word in words[1 : words.index(given[0])]):
        both = _both_corrections(words[words.index(given[0]) :])
        return f"unknown option {name}; " + both.replace("queuectl enqueue", f"queuectl {words[0]}")
    if instead := OPTION_INSTEAD.get((words[0], name)):
        return f"unknown option {name}: {instead}"
    import difflib

    near = difflib.get_close_matches(name, [o.longer for o in options if o.longer], 1, 0.75)
    hint = f", did you mean {near[0]}?" if near else ":"
    return f"unknown option {name}{hint} `queuectl {words[0]} --help` lists them"


OTHER_SECOND_WORDS = {"remove": "rm", "delete": "rm", "next": "show", "run": "run-now"}
WITH_COMMAS = ("--after", "--after-any", "--after-fail", "--lock", "--slots", "--exits", "--state", "--array")
OPTION_INSTEAD = {
    ("group", "--max"): "--concurrency=N says how many run at once",
    ("group", "--limit"): "--concurrency=N says how many run at once",
    ("schedule", "--tz"): "--zone=NAME is the time zone",
    ("schedule", "--timezone"): "--zone=NAME is the time zone",
    ("enqueue", "--front"): "`queuectl front JOB` puts it in front, --priority=N before others",
    ("start", "-d"): "--detach runs them in the background",
    ("start", "--background"): "--detach runs them in the background",
    ("start", "--daemon"): "--detach runs them in the background",
    ("start", "-n"): "--count=N says how many workers",
    ("start", "-c"): "--count=N says how many workers",
    ("start", "--workers"): "--count=N says how many workers",
    ("enqueue", "-f"): "--from=FILE adds a job for each line",
    ("enqueue", "--file"): "--from=FILE adds a job for each line",
    ("list", "--failed"): "--state failed; those that are not tried again are dead: --state dead",
    ("list", "--dead"): "--state dead",
    ("list", "--running"): "--state processing",
    ("list", "--pending"): "--state pending",
    ("wait", "--all"): "without a JOB it waits for all",
}


def _misfit(usage: str, words: list[str]) -> str:
    """Say what doesn't fit where each option is known: words that are missing, or too many."""
    lines = re.search(r"Usage:\n((?:  .*\n)+)", usage).group(1).rstrip().split("\n")
    from jobspool.completion import SECOND_WORDS

    if words[0] in SECOND_WORDS and len(words) > 1 and words[1] not in SECOND_WORDS[words[0]]:
        near = OTHER_SECOND_WORDS.get(words[1])
        near = f", did you mean {near!r}?" if near else did_you_mean(words[1], SECOND_WORDS[words[0]])
        fits = near or "".join(f"\n{line}" for line in [" of", *lines]).replace("\n", "", 1)
        return f"{words[0]} {printable(words[1])}: these words fit none{fits}"
    if words[0] == "pause" and len(words) > 1:
        return f"the reason is an option: queuectl pause --reason {printable(repr(words[1]))}"
    if words[0] == "status" and len(words) > 1:
        return f"status is of the whole spool: queuectl show {printable(words[1])} tells all about one job"
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
    if words["--spool"] == "":
        raise Wrong("--spool needs a directory, and is empty")
    spool = Spool.open(words["--spool"])
    spool.by = _by_this_command
    if spool.made:
        talk(f"made a spool for you at {spool.root}")
    return spool


def _by_this_command() -> dict[str, str]:
    """Return what the journal says of who moves jobs here."""
    if not BY:
        BY.update(by="command", user=person(), command=RUNNING[0])
    return BY


def find(spool: Spool, handle: str, first: str | None = None) -> Job:
    """Return the job that is meant: @last, @failed, or as Spool.find() does; an id of odd characters also as it is printed."""
    if handle.startswith("@"):
        return _mentioned(spool, handle)
    try:
        return spool.find(handle, first)
    except NoSuchJob as error:
        if "/" in handle:
            raise
        part = id_of(handle) or handle
        fits = {id: printable(id) for state in STATES for id in spool.names(state) if part in printable(id)}
        ids = [id for id in fits if fits[id] == part] or list(fits)
        if len(ids) != 1:
            raise _with_nearest(error, spool, part) from None
        return spool.find(f"{ids[0]}.json", first)


def _with_nearest(error: NoSuchJob, spool: Spool, part: str) -> NoSuchJob:
    """Return the error with the nearest handle that there is, where the spool isn't too large to look."""
    ids = [id for state in STATES for id in spool.names(state)]
    near = did_you_mean(part, {short(id) for id in ids}) if len(ids) <= MOST_LOOKED_AT else ""
    return NoSuchJob(str(error).replace(": `queuectl list`", f"{near or ':'} `queuectl list`"))


def _settings_or_default(spool: Spool) -> object:
    """Return the settings, or where config.json is broken the defaults, and say so: looking must go on."""
    try:
        return spool.settings()
    except BrokenConfig as error:
        talk(str(error))
        return spool.settings_or_default()


# ---- words out


def talk(text: str) -> None:
    """Say something to whoever runs the command, on stderr; a disk that is full doesn't hear it."""
    try:
        print(f"queuectl: {printable(text)}", file=sys.stderr, flush=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


class Progress:
    """Shows a person how far it is, once that has taken a second. No thread draws it: workers are forked meanwhile."""

    AFTER, EVERY = 1.0, 0.1  # seconds

    def __init__(self, what: str, total: int | None = None, quiet: bool = False) -> None:
        self._what, self._total = what, total
        self._bar = None
        self._at = time.monotonic() + self.AFTER if sys.stderr.isatty() and not quiet else float("inf")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, done: int, total: int | None = None) -> None:
        """Show that so many are done; of the total that was given, or this."""
        if time.monotonic() < self._at or (total or self._total) == 1:
            return
        self._at = time.monotonic() + self.EVERY
        if self._bar is None:
            self._bar = _bar(self._what, total or self._total)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total or self._total, refresh=True)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Leave the terminal to what is printed meanwhile."""
        if self._bar is not None:
            self._bar.stop()
        yield
        if self._bar is not None:
            self._bar.start()


def _bar(what: str, total: int | None) -> object:
    """Return a bar on stderr, which leaves what is printed on a terminal above it, and goes when it is stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False, **HOW_RICH[COLOR[0]])
    bar = Bar(*columns, console=console, transient=True, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
    bar.add_task(what, total=total)
    bar.start()
    return bar


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


def id_shown(id: str) -> str:
    """Return how a table names a job: by its handle on a terminal, whole in a pipe."""
    return short(id) if sys.stdout.isatty() else printable(id)


def print_json(rows: Iterable[dict]) -> None:
    """Print them, one object a line: each by itself, as unbuffered Python drops of a long text what isn't taken at once."""
    for row in rows:
        print(json.dumps(row))


def print_jobs(spool: Spool, jobs: list[Job], words: dict) -> None:
    """Print the jobs' ids, or with --json the jobs, a line each, at once: who reads them need not wait for what we do next."""
    if words["--json"]:
        print_json(as_json(spool, job) for job in jobs)
    else:
        print_lines([job.id for job in jobs], cut=False)
    sys.stdout.flush()


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
    if sys.stdout.isatty() or COLOR[0] == "always":
        _print_rich(heads, rows, wrap)
        return
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


COLOR = ["auto"]  # as --color says
STYLES = {PROCESSING: "cyan", DONE: "green", FAILED: "yellow", DEAD: "red"}  # where rich finds colours in the terminal


HOW_RICH = {"auto": {}, "always": {"force_terminal": True, "no_color": False}, "never": {"no_color": True}}


def _print_rich(heads: tuple[str, ...], rows: list[list[str]], wrap: bool) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, **HOW_RICH[COLOR[0]])
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
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
