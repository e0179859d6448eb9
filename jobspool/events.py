"""Look at the journal for somebody: from some time or cursor on, of some jobs, and as it goes on."""

from __future__ import annotations

import time
from contextlib import suppress

from jobspool import audit, journal
from jobspool.job import seconds
from jobspool.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobspool.spool import Spool

AUDIT_EVERY = 2.0  # seconds between looks at what hands do, while somebody follows
LOOK_EVERY = 1.0  # seconds between looks beside events, or where there are none


def since(spool: Spool, moment: float) -> str:
    """Return the cursor of a place with nothing before it that happened later than `moment` (seconds since 1970)."""
    for number in journal.segments(spool.root):
        if journal.changed(spool.root, number) >= moment:
            return f"{number}:0"
    return journal.end(spool.root)


def happened(event: dict, moment: float) -> bool:
    """Tell whether it happened then or later."""
    try:
        return seconds(event["time"]) >= moment
    except ValueError:
        return True


def follow(spool: Spool, reader: journal.Reader) -> Iterator[list[dict]]:
    """Yield what the journal gets, for ever: [] when there was nothing for a while. What hands do is looked for meanwhile."""
    auditor, settings = audit.Auditor(spool, AUDIT_EVERY), spool.settings_or_default()
    with suppress(OSError):  # we may not write here: it is looked at oftener
        journal.make_folder(spool.root)
    try:
        with Watch({f"{spool.root}/{journal.FOLDER}": ()}) as watch:
            while True:
                if events := reader.read():
                    yield events
                    continue
                auditor.step(settings, time.monotonic())
                if not watch.wait(LOOK_EVERY):
                    yield []
                    if watch.stale() or not watch.works:
                        watch.stop()
                        watch.start()
    finally:
        auditor.end()
