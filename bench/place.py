"""Where is measured: a journaled ext4 of our own, loop-mounted, where we are root; else a temporary directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

SIZE = "16G"  # sparse
INODES = "3500000"  # for a million jobs, and what comes with them


class Place:
    """A directory for everything that is measured. Use it in a with statement: nothing is left, or mounted, behind it.

    `folder` is its path, `filesystem` says for people what it lies on.
    """

    def __enter__(self) -> Place:
        self._outside = tempfile.mkdtemp(prefix="queuectl-bench-")
        self.folder = f"{self._outside}/here"
        os.mkdir(self.folder)
        self._mounted = os.geteuid() == 0 and self._mount()
        kind = _said("stat", "-f", "-c", "%T", self.folder)
        self.filesystem = "ext4 (ordered journal) on a loop device" if self._mounted else f"{kind}, not an ext4 of our own"
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            subprocess.run(["umount", self.folder], check=True)
        shutil.rmtree(self._outside)

    def fresh(self, name: str) -> str:
        """Return the path of `name` in the folder, where nothing lies now."""
        path = f"{self.folder}/{name}"
        shutil.rmtree(path, ignore_errors=True)
        return path

    def _mount(self) -> bool:
        image = f"{self._outside}/image"
        for words in (["truncate", "-s", SIZE, image], ["mkfs.ext4", "-q", "-F", "-N", INODES, image]):
            if shutil.which(words[0]) is None or subprocess.run(words).returncode:
                return False
        return subprocess.run(["mount", "-o", "loop", image, self.folder]).returncode == 0


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
