"""jobspool: a job queue whose whole truth is a directory that people can `ls`.

    from jobspool import Spool

    spool = Spool.open()
    job = spool.add("make all", timeout=600)
    print(spool.wait(job).state)

A job is one JSON file; the directory it lies in is its state; a rename is the only way it moves.
"""

from jobspool.errors import (
    AmbiguousJob,
    BrokenConfig,
    JobExists,
    NoSuchJob,
    NotAJob,
    NotASpool,
    QueueError,
    TryAgain,
    UnsafeSpool,
    WrongValue,
)
from jobspool.job import Job
from jobspool.spool import Spool

__version__ = "0.1.0"

__all__ = [
    "AmbiguousJob",
    "BrokenConfig",
    "Job",
    "JobExists",
    "NoSuchJob",
    "NotAJob",
    "NotASpool",
    "QueueError",
    "Spool",
    "TryAgain",
    "UnsafeSpool",
    "WrongValue",
    "__version__",
]
