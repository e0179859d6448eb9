"""The application that huey's consumer imports. As a program: add each line of standard input."""

import os
import sys

from huey import RedisHuey
from job import run

huey = RedisHuey("bench", url=f"unix://{os.environ['BENCH_REDIS']}", results=False)
do = huey.task()(run)

if __name__ == "__main__":
    for line in sys.stdin:
        do(line.rstrip("\n"))
