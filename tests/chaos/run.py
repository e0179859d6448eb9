"""`make chaos [SECONDS=60] [SEED=1] [POOLS=2] [KILLS=n] [MIB=4]`: a storm so long, or until so many were killed with -9; then one on a
full disk, a fifth as long. MIB is what a job prints that prints much.
"""

import os
import sys
import time

from chaos.storm import storm, storm_on_a_full_disk


def number(name, given):
    return float(os.environ.get(name) or given)


def tell(what, seed, storming, *words, **more):
    """Let it storm, print the figures, and return how many promises were broken."""
    begun = time.monotonic()
    report = storming(*words, **more)
    blows = ", ".join(f"{count} {blow}" for blow, count in report.blows.items())
    print(f"{what}, seed {seed}: {report.kills} kills in {time.monotonic() - begun:.0f} s ({blows})")
    print(f"  {report.jobs} jobs, {report.runs} runs, {len(report.wrong)} violations")
    print(f"  longest pause of a pool {report.pause:.1f} s, longest stay in processing/ {report.stay:.1f} s", flush=True)
    print(*(f"  {wrong}" for wrong in report.wrong[:20]), sep="\n", end="\n" if report.wrong else "")
    return len(report.wrong)


def main():
    seconds, seed, pools, kills = number("SECONDS", 60), int(number("SEED", 1)), int(number("POOLS", 2)), int(number("KILLS", 0))
    bad = tell("storm", seed, storm, seconds, seed, pools, kills, megabytes=int(number("MIB", 4)))
    if os.geteuid():
        print("storm on a full disk: skipped: only root can mount a small one")
    else:
        bad += tell("storm on a full disk", seed, storm_on_a_full_disk, seconds / 5, seed, pools, kills // 5)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
