import subprocess
import sys

from kit import TOP


def test_verify_all_passes_and_leaves_nothing(tmp_path):
    ran = subprocess.run(
        [sys.executable, TOP / "verify_all.py"],
        capture_output=True,
        text=True,
        timeout=120,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert ran.stdout.splitlines()[-1].endswith(" passed, 0 failed"), ran.stdout
    assert (ran.returncode, list(tmp_path.iterdir())) == (0, [])
