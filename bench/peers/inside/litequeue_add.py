"""Adds each line of standard input to litequeue, durably, and prints the seconds that it took."""

import sys
import time

from litequeue import LiteQueue

lines = [line.rstrip("\n") for line in sys.stdin]
queue = LiteQueue(sys.argv[1])
queue.conn.execute("PRAGMA synchronous = FULL")
begun = time.perf_counter()
for line in lines:
    queue.put(line)
print(time.perf_counter() - begun)
if queue.qsize() != len(lines):
    raise SystemExit(f"{queue.qsize()} of {len(lines)} lines were added")
