"""`make soak [SECONDS=3600] [SEED=1]`: a long run, and what there was of everything in its first and its last third."""

import os
import sys

from soak.gauge import MIB
from soak.load import OLD_JOBS
from soak.long_run import soak


def main():
    seconds, seed = float(os.environ.get("SECONDS") or 3600), int(os.environ.get("SEED") or 1)
    report = soak(seconds, seed)
    print(f"soak of {seconds:g} s, seed {seed}: {report.jobs} jobs added, {report.runs} runs, {report.gone} let go of")
    print(
        f"  {report.restarts} restarts by TERM, {report.kills} by kill -9, {report.laid} old jobs laid into done/, {OLD_JOBS} at once"
    )
    print(f"  longest pause until a job started {report.pause:.1f} s, {len(report.wrong)} violations")
    for name, (first, last) in report.thirds.items():
        unit, shown = (MIB, "MiB") if "memory" in name else (1, "")
        print(f"  {name:24} {first / unit:8.1f} -> {last / unit:8.1f} {shown}")
    print(*(f"  {wrong}" for wrong in report.wrong[:20]), sep="\n", end="\n" if report.wrong else "")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
