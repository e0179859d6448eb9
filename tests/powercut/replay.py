"""What the disk may hold after a power cut at any write: mount it, recover, and compare with the witness.

A cut is after so many of the writes and flushes. All before the last flush are on the disk; of those behind it, in a state with a
seed, some are left out, whole or in blocks, as a disk's cache may lose them.
"""

import contextlib
import os
import random
import subprocess
from collections import Counter, namedtuple

from kit import QUEUECTL
from mounts import loop, mounted
from powercut.load import FILE_SYSTEMS

from jobspool import Spool, recovery
from jobspool.states import DEAD, DONE, PROCESSING

BLOCK = 4096
WHOLE_PROGRAM_EVERY = 50  # states between two on which `start --drain` goes to the end

# What was found after a cut: violations of the promises, and what was lost, torn or there twice where nothing was promised.
# unmountable: states that the file system itself refused, of which nothing can be said; once in some thousands btrfs does.
Found = namedtuple("Found", "states violations lost torn twice reruns unmountable")


class Replay:
    """The states of one recording, in order of the cut."""

    def __init__(self, recording, folder):
        self.recording = recording
        self.folder = folder
        self.image = bytearray(recording.base)
        self.applied = 0  # writes that are in the image: those before the last flush
        self.touched = {offset for offset in range(0, len(self.image), BLOCK) if any(self.image[offset : offset + BLOCK])}

    def states(self, count, seed):
        """Yield (cut, what it says) for `count` cuts, in order, with the state laid at the file `folder`/state."""
        luck = random.Random(seed)
        first, last = self.recording.first, len(self.recording.writes)
        for cut in sorted(luck.randint(first, last) for _ in range(count)):
            share = luck.choice((0.0, 0.0, 0.2, 0.5, 0.9))
            self._advance(cut)
            self._lay([write for write in self._unflushed(cut) for write in _left(write, share, luck)])
            yield cut, f"cut {cut}, {share:.0%} of the unflushed writes left out, seed {seed}"

    def _advance(self, cut):
        flushes = [i for i in range(self.applied, cut) if self.recording.writes[i].data is None]
        for write in self.recording.writes[self.applied : flushes[-1] if flushes else self.applied]:
            self._apply(write)
        self.applied = flushes[-1] if flushes else self.applied

    def _apply(self, write):
        if write.data is not None:
            self.image[write.offset : write.offset + len(write.data)] = write.data
            self.touched |= {*range(write.offset // BLOCK * BLOCK, write.offset + len(write.data), BLOCK)}

    def _unflushed(self, cut):
        return [write for write in self.recording.writes[self.applied : cut] if write.data is not None]

    def _lay(self, more):
        with open(f"{self.folder}/state", "wb") as file:
            file.truncate(len(self.image))
            for offset in sorted(self.touched):
                os.pwrite(file.fileno(), self.image[offset : offset + BLOCK], offset)
            for offset, data in more:
                os.pwrite(file.fileno(), data, offset)


def _left(write, share, luck):
    """What is left of a write when `share` of such are lost: all, nothing, or some of its blocks."""
    if luck.random() >= share:
        return [write]
    pieces = range(0, len(write.data), BLOCK)
    torn = luck.random() < 0.5
    return [(write.offset + at, write.data[at : at + BLOCK]) for at in pieces if torn and luck.random() < 0.5]


def replay(recording, count, seed, folder):
    """Try `count` states and return what was found; each violation with the cut and the seed that show it."""
    system = FILE_SYSTEMS[recording.system]
    found = Found(count, [], *(Counter() for _ in range(5)))
    for number, (cut, where) in enumerate(Replay(recording, folder).states(count, seed)):
        told = [word for word in recording.witness if word.count <= cut]
        with loop(f"{folder}/state") as device, contextlib.ExitStack() as stack:
            try:
                stack.enter_context(mounted(device, f"{folder}/state-mnt", system.kind, system.options))
            except OSError:
                found.unmountable["states"] += 1
                continue
            spool = Spool(f"{folder}/state-mnt/spool")
            recovery.mend(spool, recovery.plan(spool), spool.settings(), 0.0)
            bad = _compare(spool, told, found)
            if not bad and number % WHOLE_PROGRAM_EVERY == 0:
                bad = _drain(spool)
        if recording.fsync != "never":
            found.violations.extend(f"{recording.system}, fsync {recording.fsync}, {where}: {what}" for what in bad)
    return found


def _compare(spool, told, found):
    """Return what the spool says against the witness; count what is lost, torn, or there twice."""
    jobs = list(spool.jobs())
    places = Counter(job.id for job in jobs)
    by_id = {job.id: job for job in jobs}
    torn = [job for job in jobs if job.problem]
    twice = [id for id, count in places.items() if count > 1]
    lost = [word.job for word in told if word.ended is None and word.job not in by_id]
    reruns = [word for word in told if word.ended and not _bears_out(by_id.get(word.job), *word.ended)]
    for counter, what in ((found.torn, torn), (found.twice, twice), (found.lost, lost), (found.reruns, reruns)):
        counter["jobs"] += len(what)
        counter["states"] += bool(what)
    orphans = [job.id for job in jobs if job.state == PROCESSING]
    return [
        *(f"{job.state}/{job.id} is not whole: {job.problem}" for job in torn),
        *(f"{id} is in {[job.state for job in jobs if job.id == id]}" for id in twice),
        *(f"{id} was added, and is gone" for id in lost),
        *(f"{word.job} had ended ({word.ended}), and is {by_id.get(word.job)}" for word in reruns),
        *(f"{id} stays in processing/" for id in orphans),
    ]


def _bears_out(job, number, verdict):
    attempts = job.attempts if job and not job.problem else []
    return len(attempts) >= number and attempts[number - 1]["verdict"] == verdict


def _drain(spool):
    """Let the real program go on to the end, and return what is wrong then."""
    done = subprocess.run([*QUEUECTL, "--spool", spool.root, "start", "--drain"], capture_output=True, text=True, timeout=120)
    left = [f"{job.id} is {job.state} after the drain" for job in spool.jobs() if job.state not in (DONE, DEAD)]
    return left + ([f"the drain ended with {done.returncode}: {done.stderr}"] if done.returncode else [])
