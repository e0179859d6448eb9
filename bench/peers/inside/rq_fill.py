"""Adds each line of standard input to rq's queue."""

import os
import sys

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

queue = Queue("bench", connection=Redis(unix_socket_path=os.environ["BENCH_REDIS"]), serializer=JSONSerializer)
lines = [line.rstrip("\n") for line in sys.stdin]
for i in range(0, len(lines), 1000):
    queue.enqueue_many(
        [Queue.prepare_data("job.run", (line,), timeout=-1, result_ttl=0, description="") for line in lines[i : i + 1000]]
    )
