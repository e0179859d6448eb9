import re
from pathlib import Path

from transcript import TOP, differences

README = Path(TOP, "README.md").read_text()


def test_the_first_session_of_the_readme_is_true(tmp_path):
    session = re.search(r"```console\n(.*?)```", README, re.S).group(1)
    assert list(differences(session, tmp_path)) == []


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    from kit import pool

    from jobspool import Spool

    spool = Spool.init(tmp_path / "spool")
    monkeypatch.setenv("QUEUECTL_SPOOL", spool.root)
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1).replace("make all", "true")
    with pool(spool):
        exec(code, {})
    assert capsys.readouterr().out == "done\n"


def test_the_readme_names_only_commands_that_there_are():
    import queuectl

    named = set(re.findall(r"`queuectl ([a-z-]+)", README)) | set(re.findall(r"^\$ queuectl ([a-z-]+)", README, re.M))
    assert named <= set(queuectl.COMMANDS)
