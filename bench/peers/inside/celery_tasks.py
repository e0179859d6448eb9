"""The application that celery's worker imports. As a program: add each line of standard input."""

import os
import sys

from celery import Celery
from job import run

app = Celery("celery_tasks", broker=f"redis+socket://{os.environ['BENCH_REDIS']}")
app.conf.update(
    task_ignore_result=True,
    task_default_delivery_mode="transient",
    worker_prefetch_multiplier=128,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
)
do = app.task(name="do")(run)

if __name__ == "__main__":
    with app.producer_pool.acquire(block=True) as producer:
        for line in sys.stdin:
            do.apply_async((line.rstrip("\n"),), producer=producer)
