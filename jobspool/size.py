"""How much of the disk a spool takes: measured by a walk, now and then, and kept in journal/size.json for those who ask oftener.

While a supervisor runs its audits measure, at the lowest priority; where none runs, whoever asks does.
"""

from __future__ import annotations

import json
import os
from collections import namedtuple

from jobspool import durable
from jobspool.trust import opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobspool.spool import Spool

EVERY = 3600.0  # seconds between two walks
LARGEST = 1000  # bytes of the file
BLOCK = 512  # bytes, of stat(2)

# bytes: on the disk, as du(1) counts. at: when they were counted, in seconds since 1970.
Size = namedtuple("Size", "bytes at")


def read(spool: Spool) -> Size | None:
    """Return what was measured last, None where nothing was, or it can't be read."""
    try:
        with open(_path(spool), "rb", opener=opener) as file:
            said = json.loads(file.read(LARGEST))
        return Size(int(said["bytes"]), float(said["at"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def measured(spool: Spool) -> Size:
    """Return what was measured within EVERY, else measure it now, by a walk. Raises OSError."""
    found = read(spool)
    if found is not None and 0 <= spool.now() - found.at < EVERY:
        return found
    total = sum(sizes(spool.root))
    keep(spool, total)
    return Size(total, spool.now())


def sizes(folder: str) -> Iterator[int]:
    """Yield what each file below the directory takes on the disk, and each directory. No link is followed."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return  # RACE: it has just been removed
    with entries:
        for entry in entries:
            try:
                yield entry.stat(follow_symlinks=False).st_blocks * BLOCK
            except FileNotFoundError:
                continue  # RACE: it has moved on
            if entry.is_dir(follow_symlinks=False):
                yield from sizes(entry.path)


def keep(spool: Spool, total: int) -> None:
    """Keep what was measured just now, where there is a journal that we may write to: else it is measured again."""
    content = json.dumps({"bytes": total, "at": round(spool.now(), 3)}).encode()
    mode = spool.file_mode(spool.settings_or_default())
    try:
        durable.replace(_path(spool), spool.spare(), content, mode, synced=False)
    except OSError:
        pass  # no journal, no right, no room: who asks measures it


def _path(spool: Spool) -> str:
    return f"{spool.root}/journal/size.json"
