"""The loop that a person writes around dirq: fill the queue from standard input, or lock, get, run and remove all."""

import sys

from dirq.QueueSimple import QueueSimple
from job import run


def fill(queue: QueueSimple) -> None:
    """Add each line of standard input."""
    for line in sys.stdin:
        queue.add(line.rstrip("\n"))


def work(queue: QueueSimple) -> None:
    """Run what can be locked, in one pass: nothing comes meanwhile."""
    for name in queue:
        if queue.lock(name):
            run(queue.get(name).decode())
            queue.remove(name)


if __name__ == "__main__":
    {"fill": fill, "work": work}[sys.argv[1]](QueueSimple(sys.argv[2]))
