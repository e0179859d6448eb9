"""What is legal: the five states of a job, and the moves between them.

A state is a directory, a move is a rename. MOVES is the whole life of a job; `drawing()` makes the manual's picture from it.
"""

from __future__ import annotations

from collections import namedtuple

PENDING = "pending"
PROCESSING = "processing"
DONE = "done"
FAILED = "failed"
DEAD = "dead"

STATES = (PENDING, PROCESSING, DONE, FAILED, DEAD)
TOLD_FIRST = (PENDING, FAILED)  # from there a job goes on by itself: the journal is told before it comes there
ALIASES = {"completed": DONE}

Move = namedtuple("Move", "source target who why")

MOVES = (
    Move("", PENDING, "enqueue", "added"),
    Move(PENDING, PROCESSING, "worker", "claimed"),
    Move(PENDING, DEAD, "supervisor", "not a whole job, or too late"),
    Move(PROCESSING, DONE, "worker", "exit 0"),
    Move(PROCESSING, FAILED, "worker", "failed, and tries are left"),
    Move(PROCESSING, DEAD, "worker", "failed, and no tries are left"),
    Move(PROCESSING, PENDING, "worker", "interrupted, or snoozes: not counted"),
    Move(FAILED, PENDING, "supervisor", "due again"),
    Move(DEAD, PENDING, "dlq retry", "a full new set of tries"),
)


def state_named(word: str) -> str | None:
    """Return the state that `word` names ("completed" is done), or None."""
    word = word.lower()
    return ALIASES.get(word, word if word in STATES else None)


def may_put(target: str) -> bool:
    """Tell whether a person or a program may move a job to `target`: anywhere but where jobs run."""
    return target in STATES and target != PROCESSING


def drawing() -> str:
    """Return the moves as aligned lines of text, one a move, in the order of MOVES."""
    return "\n".join(f"{move.source or '(new)':<10} -> {move.target:<10}  {move.who:<10}  {move.why}" for move in MOVES)
