"""Find what hands did: compare the directories with what the journal says is in them, and write the difference to it.

An audit goes on from what the last one left (see whereabouts.py), lists the directories, and whatever no line tells, once its
line has had the time to come, was done by hand. One audit at a time, whoever is quicker; a supervisor has one made every so
often, and who looks at the journal makes one first.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from jobspool import durable, journal, ledger
from jobspool.ledger import Ledger
from jobspool.spool import Spool
from jobspool.states import STATES
from jobspool.whereabouts import FILE, SETTLED, Known, deed, is_settled, keep, load, telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.config import Settings

LOCK = f"{journal.FOLDER}/lock"
EVERY = 15.0  # seconds between two audits that a supervisor has made, or longer where they take long
SMALL = 1 << 20  # bytes of directories and journal that a supervisor audits itself when it starts
CODE = "import sys; sys.path.insert(0, sys.argv[1]); from jobspool import audit; audit.audit_beside(sys.argv[2])"
AT_ONCE = 250  # lines that are told at one go


def audit(spool: Spool, patience: float = SETTLED) -> int | None:
    """Let the journal tell what hands did until now, and return how many changes that were; None where somebody else is at it.

    What has not settled is waited for, `patience` seconds at most, and else left for the next audit. Raises OSError.
    """
    settings = spool.settings_or_default()
    if not settings.journal_bytes:
        return 0
    journal.make_folder(spool.root)
    lock = durable.open_for_all(f"{spool.root}/{LOCK}", spool.file_mode(settings))
    try:
        return _audit_again(spool, settings, patience) if durable.lock(lock) else None
    finally:
        os.close(lock)


def _audit_again(spool: Spool, settings: Settings, patience: float) -> int:
    """Make an audit; where that was overtaken, with what others have kept since; where hands cut the journal, anew."""
    for again in (False, True):
        try:
            return _audit(spool, settings, 0.0 if again else patience)
        except Overtaken:
            continue
    durable.remove(f"{spool.root}/{FILE}")
    return _audit(spool, settings, 0.0)


def _audit(spool: Spool, settings: Settings, patience: float) -> int:
    known, book = load(spool.root), ledger.load(spool.root)
    if known is None or book is None or known.cursor != book.cursor:
        known, book = _adopted(spool, settings, book)
    elif _is_as_it_was(spool, known):
        return 0
    looked = _mtimes(spool)
    _follow(spool.root, known, book)
    count, unsettled = _look(spool, settings, known, book)
    if unsettled and patience:
        parent = os.getppid()
        time.sleep(patience)
        if os.getppid() != parent:
            return count  # whoever wanted this is dead, and the spool may be no more
        more, unsettled = _look(spool, settings, known, book)
        count += more
    _correct(spool, settings, known, book)
    known.looked = {} if unsettled else looked
    _keep(spool, settings, known, book)
    return count


def catch_up(spool: Spool) -> None:
    """Let the journal tell what hands did until now, where that can be done."""
    try:
        audit(spool)
    except OSError:
        pass  # we may not write here, or the disk is full: what the journal tells is told


def current(spool: Spool) -> Ledger:
    """Return the ledger up to now: where no supervisor sees to that, what hands did is looked for first."""
    from jobspool import roster

    if not roster.is_supervised(spool):
        catch_up(spool)
    settings = spool.settings_or_default()
    book = ledger.folded(spool.root)
    if not settings.journal_bytes:
        book.counts = {state: spool.count(state) for state in STATES}
    return book


class Auditor:
    """Has audits made for one supervisor, by a process of its own, which takes only what the others leave."""

    def __init__(self, spool: Spool, every: float = EVERY) -> None:
        self._spool = spool
        self._every = every
        self._at = 0.0  # monotonic
        self._pid = 0  # of the one that is being made
        self._looked: tuple | None = None  # what the spool looked like when it began
        self._seen: tuple | None = None  # the same of the last one that was made

    def begin(self) -> Known | None:
        """See what hands did before we started, and return what is known then; None where that takes longer, or can't be done."""
        self._at = time.monotonic() + self._every
        try:
            if _weight(self._spool.root) > SMALL:
                return None
            audit(self._spool, patience=0)
        except OSError:
            return None  # a disk that fails is told of by who needs it
        return load(self._spool.root)

    def step(self, settings: Settings, clock: float) -> None:
        """Begin an audit if it is time to, and anything has changed since the last one."""
        if self._pid:
            self._bury(clock)
        if self._pid or clock < self._at or not settings.journal_bytes:
            return
        try:
            self._begin_beside()
        except OSError:
            self._at = clock + self._every  # a disk, or a machine, that fails is told of by who needs it

    def _bury(self, clock: float) -> None:
        """See whether the audit has ended: the longer it has worked, the later comes the next one."""
        pid, status, used = os.wait4(self._pid, os.WNOHANG)
        if pid:
            self._pid, self._at = 0, clock + max(self._every, 50 * (used.ru_utime + used.ru_stime))
            self._seen = self._looked if status == 0 else None

    def _begin_beside(self) -> None:
        looks = (_mtimes(self._spool), journal.end(self._spool.root))
        if looks != self._seen:
            self._looked = looks
            package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
            words = [sys.executable, "-S", "-E", "-c", CODE, package, self._spool.root]
            self._pid = os.posix_spawn(sys.executable, words, os.environ, setpgroup=0)

    def end(self) -> None:
        """End the audit that is being made; the next one goes on."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._remove_spares()
            self._pid = 0

    def _remove_spares(self) -> None:
        """Remove what the audit was writing when it was ended."""
        try:
            left = [name for name in os.listdir(f"{self._spool.root}/tmp") if name.startswith(f"{self._pid}-")]
        except OSError:
            return  # it was moved away, or the disk fails
        for name in left:
            durable.remove_if_possible(f"{self._spool.root}/tmp/{name}")


def _weight(root: str) -> int:
    """Return how many bytes an audit goes through, or takes from the disk, about."""
    known = (f"{root}/{name}" for name in (*STATES, FILE))
    return sum(os.stat(path).st_size for path in known if os.path.exists(path)) + journal.size(root)


def audit_beside(root: str) -> None:
    """Make an audit in a process of its own, at the lowest priority, and see how large the spool is, where that is to be seen.

    Where the disk fails, the next one will do.
    """
    from jobspool import size

    os.nice(19)
    spool = Spool(root)
    try:
        audit(spool)
        size.measured(spool)
    except OSError:
        pass  # the supervisor tells of the disk


class Overtaken(Exception):
    """Old segments have gone that were not read yet: this process was held for long."""


def _follow(root: str, known: Known, book: Ledger) -> None:
    """Take what the journal has got since. Raises Overtaken."""
    reader = journal.Reader(root, known.cursor)
    while events := reader.read():
        for event in events:
            known.take(event)
            book.take(event)
    if reader.lost:
        raise Overtaken
    known.cursor = book.cursor = reader.cursor


def _look(spool: Spool, settings: Settings, known: Known, book: Ledger) -> tuple[int, bool]:
    """Tell the journal what nobody told; return how many changes that were, and whether there is more that has not settled."""
    known.recent.clear()
    known.at = spool.now()
    come, gone = _differences(spool, known, book)
    likely = {id for id in come.keys() | gone.keys() if _has_settled(spool, id, gone.get(id), come.get(id), known)}
    known.missing = {(state, id) for id, state in gone.items()}
    count = _tell(spool, settings, [(id, gone.get(id), come.get(id)) for id in sorted(likely)], known, book)
    return count, count < len(come.keys() | gone.keys())


def _differences(spool: Spool, known: Known, book: Ledger) -> tuple[dict[str, str], dict[str, str]]:
    """Return which jobs are in which states, and which not, where the journal has it otherwise."""
    there = {state: set(spool.names(state)) for state in STATES}
    _follow(spool.root, known, book)
    come = {id: state for state in STATES for id in there[state] - known.ids[state]}
    gone = {id: state for state in STATES for id in known.ids[state] - there[state]}
    return come, gone


def _has_settled(spool: Spool, id: str, source: str | None, target: str | None, known: Known) -> bool:
    """Tell whether a line that told this change would have come by now. What goes to pending/ is told before it is done."""
    if target is None:
        return (source, id) in known.missing
    try:
        return is_settled(spool, id, target)
    except FileNotFoundError:
        return False  # RACE: it has moved on


def _tell(spool: Spool, settings: Settings, moves: list[tuple], known: Known, book: Ledger) -> int:
    """Tell the journal of the moves that nobody has told meanwhile, many at a time, and return how many that were.

    They are read back each time: more than the journal keeps would be lost else.
    """
    ways: dict[tuple[str | None, str | None], list[str]] = {}
    for id, source, target in moves:
        ways.setdefault((source, target), []).append(id)
    count = 0
    for (source, target), ids in ways.items():
        for start in range(0, len(ids), AT_ONCE):
            with telling(spool, settings):
                _follow(spool.root, known, book)
                untold = [id for id in ids[start : start + AT_ONCE] if id not in known.recent]
                _tell_one_way(spool, settings, untold, source, target, known)
                _follow(spool.root, known, book)
            count += len(untold)
    return count


def _tell_one_way(spool: Spool, settings: Settings, ids: list[str], source: str | None, target: str | None, known: Known) -> None:
    """Tell that these went that way. What the journal has elsewhere, too, has left here before: that is only counted."""
    event, by = deed(source, target)
    if target is None:
        twice = {id for id in ids if any(id in known.ids[state] for state in STATES if state != source)}
        known.ids[source] -= twice
        ids = [id for id in ids if id not in twice]
    spool.note(event, ids, source, target, settings, by=by)


def _correct(spool: Spool, settings: Settings, known: Known, book: Ledger) -> None:
    """Let the journal say by how much its lines don't add up, as after lost ones."""
    wrong = {state: len(ids) - book.counts[state] for state, ids in known.ids.items() if len(ids) != book.counts[state]}
    if wrong:
        _count(spool, settings, wrong, every=False)
        _follow(spool.root, known, book)


def _count(spool: Spool, settings: Settings, counts: dict[str, int], every: bool) -> None:
    spool.note("counted", [""], None, None, settings, counts=counts, all=every, by="audit")


def _adopted(spool: Spool, settings: Settings, book: Ledger | None) -> tuple[Known, Ledger]:
    """Begin anew: at the journal's first line, where that tells all; else with what lies there: nobody can tell how it came."""
    known = Known()
    if journal.tells_all(spool.root):
        known.cursor = journal.begin(spool.root)
        return known, Ledger(known.cursor)
    book = book or Ledger(journal.begin(spool.root))
    ledger.fold(book, spool.root)
    known.ids = {state: set(spool.names(state)) for state in STATES}
    known.cursor = book.cursor
    _count(spool, settings, {state: len(ids) for state, ids in known.ids.items()}, every=True)
    return known, book


def _mtimes(spool: Spool) -> dict[str, int]:
    return {state: os.stat(spool.folder(state)).st_mtime_ns for state in STATES}


def _is_as_it_was(spool: Spool, known: Known) -> bool:
    """Tell whether nothing has come or gone since the last audit, as far as mtimes tell: those may be as coarse as a tick."""
    newest = max(known.looked.values(), default=0) / 1e9
    return known.looked == _mtimes(spool) and time.time() - newest > SETTLED and journal.end(spool.root) == known.cursor


def _keep(spool: Spool, settings: Settings, known: Known, book: Ledger) -> None:
    mode = spool.file_mode(settings)
    keep(spool, known, mode)
    ledger.keep(spool.root, book, spool.spare(), journal.kept(settings.journal_bytes), mode)
