"""The errors a person can mend. Each message is one line that names the thing and the cure.

Somebody being quicker is no error (None or a Refused comes back), and a bug is none of these either: it crashes with its
traceback. Only the command turns these into exit statuses.
"""

from __future__ import annotations

LONGEST_REASON = 300  # characters: reasons are quoted in messages between processes, in records, and on terminals


def shortened(reason: str) -> str:
    """Return the reason, cut where a hostile file would make it long."""
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"


class QueueError(Exception):
    """What was asked for could not be done."""


class WrongValue(QueueError, ValueError):
    """A value that was given breaks its rule."""


class NotAJob(QueueError, ValueError):
    """A file, or the words given for a new job, are not a whole job. The reason may quote them, and is kept short."""

    def __init__(self, reason: str) -> None:
        super().__init__(shortened(reason))


class NoSuchJob(QueueError, LookupError):
    """No job in the spool fits the handle."""


class AmbiguousJob(QueueError, LookupError):
    """Several jobs fit the handle. They are in `candidates`, as (state, id) pairs."""

    def __init__(self, message: str, candidates: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.candidates = candidates


class JobExists(QueueError):
    """A job of that name lies in the spool already."""


class NotASpool(QueueError):
    """The directory is missing, incomplete, or not one that can be used."""


class UnsafeSpool(NotASpool):
    """Strangers could put jobs into the spool."""


class BrokenConfig(QueueError):
    """config.json can't be read, or was written by a newer queuectl."""


class TryAgain(QueueError):
    """Something that will pass stood in the way."""


class NotInstalled(QueueError):
    """What was asked for needs a package that isn't there: `extra` names those of setup.cfg that bring it."""

    def __init__(self, what: str, extra: str, package: str) -> None:
        super().__init__(
            f"{what}: pip install 'queuectl[{extra}]', or where pipx has installed queuectl: pipx inject queuectl {package}"
        )
