"""What can be undone: how jobs were before a deed, remembered for a minute under a token that is good once."""

from __future__ import annotations

import secrets
import time
from collections import namedtuple

from jobspool import durable
from jobspool.web.problems import Problem

LASTS = 60.0  # seconds
MOST = 10_000  # jobs that can be put back by one undo
MOST_OF_ALL = 50_000  # that are remembered
MOST_BYTES = 67_108_864  # of the files that are remembered

# before: the job as it was. now: as the deed left it, None when it was removed. content, mode: of its file then.
# kept: its logs, as (path, where it is kept meanwhile).
Back = namedtuple("Back", "before now content mode kept", defaults=(b"", 0o600, ()))


class Undos:
    """What can be undone, by tokens."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, list[Back]]] = {}

    @property
    def holds(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._known)

    def remember(self, backs: list[Back], earlier: object = None) -> str | None:
        """Return the token that undoes these; None where there are none, or too many.

        With the token of the deed that came just before it, on the same job, it undoes both, and that is good no more.
        """
        self.forget_old()
        backs = self._joined(backs, earlier)
        held = [back for _, each in self._known.values() for back in (*each, *backs)]
        too_many = len(backs) > MOST or len(held) > MOST_OF_ALL or sum(len(back.content) for back in held) > MOST_BYTES
        if not backs or too_many:
            drop(backs)
            return None
        token = secrets.token_urlsafe(16)
        self._known[token] = (time.monotonic() + LASTS, backs)
        return token

    def _joined(self, backs: list[Back], earlier: object) -> list[Back]:
        """Return the way back behind the earlier deed, where that left the job as this one found it."""
        _, before = self._known.get(earlier, (0.0, [])) if isinstance(earlier, str) else (0.0, [])
        if len(backs) != 1 or len(before) != 1 or before[0].now is None:
            return backs
        found, left = backs[0].before, before[0].now
        if (found.id, found.state, found.record) != (left.id, left.state, left.record):
            return backs
        del self._known[earlier]
        return [before[0]._replace(now=backs[0].now)]

    def take(self, token: str) -> list[Back]:
        """Return what the token undoes, once. Raises Problem."""
        self.forget_old()
        _, backs = self._known.pop(token, (0.0, []))
        if not backs:
            raise Problem(410, "too-late", "That can't be undone any more", "an undo is good once, and for a minute")
        return backs

    def forget_old(self, all_of_them: bool = False) -> None:
        """Forget what can't be undone any more, and the logs that were kept for it."""
        now = time.monotonic()
        for token, (until, _) in list(self._known.items()):
            if all_of_them or until <= now:
                _, backs = self._known.pop(token, (0.0, []))
                drop(backs)


def drop(backs: list[Back]) -> None:
    """Remove the logs that were kept for an undo."""
    for back in backs:
        for _, spare in back.kept:
            durable.remove_if_possible(spare)
