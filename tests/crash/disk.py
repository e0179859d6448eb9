"""What a disk may hold after a power cut: a model of names and contents that reached it, or not.

Fed with the system calls that were made, it yields the trees that may be found after the cut. A sync of a file makes its content
and its mtime sure, a sync of a directory the names in it. What was not synced may have reached the disk or not, names and
contents apart, a content also halfway. What happened to the names of one file in one directory happened in its order, but each
directory is for itself: a file that was moved may have its old name still, beside the new one, and have it for ever, when nobody
syncs the directory that it left. It never loses the old one without having the new one. The names of different files know no order:
a file whose name another took loses it only where that is known too, and has it again when the other has gone on. A journal, as ext4
and xfs have it, is stricter; btrfs, which logs one directory at a time, is not.
"""

import itertools
import os
from collections import namedtuple

from crash.actors import DONE

RENAME_EXCHANGE = 2
WAIT_AFTER = 4
BESIDE = ("logs", "workers")
SMALL = 12  # so many effects that may be missing are tried in every combination; of more, samples

# A change: `file` has, or no longer has (there), the name `path`; or holds `content`, with its mtime. left: a name in the same
# directory that it leaves in this instant. needs: the number of the effect without which this one isn't there.
Effect = namedtuple("Effect", "file path there content left needs", defaults=(None, None, None))


class Disk:
    """The tree at `root` as it lies now, all of it sure; call() adds a system call that was made since."""

    def __init__(self, root):
        self.folders = {}  # file: path
        self.names = {}  # path: the files that have it, the last is the one that is seen; as the program sees it
        self.contents = {}  # file: (content, mtime in ns), as the program sees it
        for folder, _, files in os.walk(root):
            self.folders[_file(folder)] = folder
            for path in (f"{folder}/{name}" for name in files):
                self.names[path] = [_file(path)]
                with open(path, "rb") as file:
                    self.contents[_file(path)] = (file.read(), os.stat(path).st_mtime_ns)
        self.before = (_copied(self.names), dict(self.contents))
        self.beside = set()  # files in logs/ and workers/: no job's truth, so they are left out
        self.reused = {}  # file: under which other word it is known, because its inode was another file's before
        self.effects = []
        self.sure = set()  # the numbers of the effects that are on the disk for certain

    def call(self, op, result):
        """Take a call and how it ended. One that failed changed nothing."""
        if op.name == "create" and isinstance(result, tuple):
            self._create(op.args[0], result)
        elif result == DONE and not self._is_beside(*_first(op)) and (handler := getattr(self, f"_{op.name}", None)):
            handler(*op.args)

    def _is_beside(self, which=None):
        return which in self.beside or (isinstance(which, str) and os.path.basename(os.path.dirname(which)) in BESIDE)

    def trees(self, luck, samples):
        """Yield what the disk may hold, as {path: (file, content, mtime in ns)}: all of it where that is little, else `samples`."""
        unsure = [number for number in range(len(self.effects)) if number not in self.sure]
        if len(unsure) <= SMALL:
            choices = itertools.product((False, True), repeat=len(unsure))
        else:
            choices = ([luck.random() < share for _ in unsure] for share in luck.choices((0.1, 0.5, 0.9), k=samples))
        seen = set()
        for choice in choices:
            there = frozenset(self._in_order(self.sure | set(itertools.compress(unsure, choice))))
            if there not in seen:
                seen.add(there)
                yield self._tree(there)

    def _in_order(self, there):
        """Take away what comes, in the order of a file's names or of its contents, behind something that is missing."""
        missing, kept = set(), set()
        for number, effect in enumerate(self.effects):
            order = _order(effect)
            if number not in there or (effect.needs is not None and effect.needs not in kept):
                missing.add(order)
            elif order not in missing:
                kept.add(number)
        return kept

    def _tree(self, there):
        names, contents = _copied(self.before[0]), dict(self.before[1])
        for number in sorted(there):
            effect = self.effects[number]
            if effect.content is not None:
                contents[effect.file] = effect.content
            _enter(names, effect)
        return {path: (files[-1], *contents.get(files[-1], (b"", 0))) for path, files in names.items() if files}

    # ---- the calls

    def _name(self, file, path, there, needs=None, left=None):
        self.effects.append(Effect(file, path, there, left=left, needs=needs))
        _enter(self.names, self.effects[-1])
        return len(self.effects) - 1

    def _holds(self, file, content, mtime):
        self.contents[file] = (content, mtime)
        self.effects.append(Effect(file, None, None, (content, mtime)))

    def _create(self, path, file):
        self.beside.discard(file)
        if os.path.basename(os.path.dirname(path)) in BESIDE:
            self.beside.add(file)
        if self.names.get(path) or file in self.beside:
            return  # it was opened, not made
        self.reused[file] = file = (*file, len(self.effects))
        self._name(file, path, True)
        self.contents[file] = (b"", 0)

    def _write(self, file, piece):
        file = self.reused.get(file, file)
        content, mtime = self.contents[file]
        for end in (len(piece) // 2, len(piece)):
            self._holds(file, content + piece[:end], mtime)

    def _pwrite(self, file, piece, at):
        file = self.reused.get(file, file)
        content, mtime = self.contents[file]
        self._holds(file, content[:at] + piece + content[at + len(piece) :], mtime)

    def _ftruncate(self, file, length):
        file = self.reused.get(file, file)
        content, mtime = self.contents[file]
        self._holds(file, content[:length], mtime)

    def _utime(self, which, times, _):
        file = self.reused.get(which, which) if isinstance(which, tuple) else self.names[which][-1]
        self._holds(file, self.contents[file][0], times[1])

    def _rename(self, source, target):
        file, over = self.names[source][-1], next(reversed(self.names.get(target, [])), None)
        if os.path.dirname(source) == os.path.dirname(target):
            came = self._name(file, target, True, left=source)
        else:
            came = self._name(file, target, True)
            self._name(file, source, False, came)
        if over is not None:
            self._name(over, target, False, came)

    def _renameat2(self, _, source, __, target, flags):
        source, target = os.fsdecode(source), os.fsdecode(target)
        if flags != RENAME_EXCHANGE:
            self._rename(source, target)
            return
        one, other = self.names[source][-1], self.names[target][-1]
        came = self._name(one, target, True)
        self._name(one, source, False, came)
        self._name(other, source, True, came)
        self._name(other, target, False, came)

    def _unlink(self, path):
        self._name(self.names[path][-1], path, False)

    def _fsync(self, file):
        folder, file = self.folders.get(file), self.reused.get(file, file)
        for number, effect in enumerate(self.effects):
            if (effect.path and os.path.dirname(effect.path) == folder) or (effect.content is not None and effect.file == file):
                self._make_sure(number)

    def _make_sure(self, last):
        """With an effect, what came before it in its order is sure."""
        for number, earlier in enumerate(self.effects[: last + 1]):
            if _order(earlier) == _order(self.effects[last]) and number not in self.sure:
                self.sure.add(number)
                if earlier.needs is not None:
                    self._make_sure(earlier.needs)

    def _syncfs(self, _):
        self.sure |= set(range(len(self.effects)))


def _first(op):
    """What the call is about: its first path, or file."""
    return (os.fsdecode(op.args[1]),) if op.name == "renameat2" else op.args[:1]


class Journal(Disk):
    """The same where one journal has all names, as ext4 and xfs have: they reach the disk in the order of the calls.

    Contents keep no order with them, but those that were written out are before what is changed behind that. A sync of a file, or
    of a directory, makes sure what was changed before its own last change.
    """

    def __init__(self, root):
        super().__init__(root)
        self.written_out = set()  # the numbers of contents, as they were when that was done

    def _in_order(self, there):
        for number in there & self.written_out:
            there = there | {
                i for i, earlier in enumerate(self.effects[:number]) if _order(earlier) == _order(self.effects[number])
            }
        kept = super()._in_order(there)
        ordered = [number for number, effect in enumerate(self.effects) if self._is_ordered(number, effect)]
        lost = next((number for number in ordered if number not in kept), len(self.effects))
        return {number for number in kept if number < lost or not self._is_ordered(number, self.effects[number])}

    def _is_ordered(self, number, effect):
        return effect.path is not None or number in self.written_out

    def _sync_file_range(self, file, flags):
        if flags & WAIT_AFTER:
            file = self.reused.get(file, file)
            self._holds(file, *self.contents[file])
            self.written_out.add(len(self.effects) - 1)

    def _fsync(self, file):
        super()._fsync(file)
        folder, file = self.folders.get(file), self.reused.get(file, file)
        theirs = [
            number
            for number, effect in enumerate(self.effects)
            if (effect.path and os.path.dirname(effect.path) == folder) or (effect.content is not None and effect.file == file)
        ]
        for number in range(max(theirs, default=0)):
            if self._is_ordered(number, self.effects[number]):
                self._make_sure(number)


def _order(effect):
    """What an effect keeps its order with: the contents of its file, or the names of its file in one directory."""
    return effect.file, None if effect.path is None else os.path.dirname(effect.path)


def _enter(names, effect):
    """Let the file have the name, or no longer have it."""
    if effect.path is None:
        return
    for path in (effect.path, effect.left):
        if effect.file in names.get(path, ()):
            names[path].remove(effect.file)
    if effect.there:
        names.setdefault(effect.path, []).append(effect.file)


def _copied(names):
    return {path: list(files) for path, files in names.items()}


def _file(path):
    found = os.lstat(path)
    return found.st_dev, found.st_ino
