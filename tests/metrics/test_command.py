"""queuectl metrics: what it prints, writes for node_exporter and serves."""

import http.client
import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit import QUEUECTL, queuectl, until
from metrics.conftest import samples

from jobspool import metrics

PLACE = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):(\d+)/metrics")


def test_it_prints_openmetrics_and_with_a_dash_what_node_exporter_reads(spool):
    spool.add("true")
    newer, older = queuectl("metrics", spool=spool), queuectl("metrics", "--textfile", "-", "--label", "spool=x", spool=spool)
    assert (newer.stderr, older.stderr) == ("", "")
    assert newer.stdout.endswith("# EOF\n")
    assert samples(newer.stdout)["jobs", "pending"] == samples(older.stdout, openmetrics=False)["jobs", "x", "pending"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--textfile", "{tmp}/none"], "no such directory"),
        (["--textfile", ""], "no such directory"),
        (["--textfile", "{tmp}/x.txt"], "the name of a file has to end with .prom"),
        (["--textfile"], "--textfile needs a value: --textfile DIR"),
        (["--label"], "--label needs a value: --label PAIR"),
        (["--textfile", "{tmp}/none/x.prom"], "no such directory"),
        (["--every", "3"], "--textfile DIR --every 15s"),
        (["--every", "3", "--textfile", "-"], "--textfile DIR --every 15s"),
        (["--every", "0", "--textfile", "{tmp}"], "0.1 seconds at least"),
        (["--every", "soon", "--textfile", "{tmp}"], "a number of seconds"),
        (["--serve", "9419", "--textfile", "{tmp}"], "one of --serve and --textfile"),
        (["--serve", ":9419"], "10.0.0.5:9419"),
        (["--serve", "localhost"], "10.0.0.5:9419"),
        (["--serve", "65536"], "10.0.0.5:9419"),
        (["--label", "spool"], "NAME=VALUE"),
        (["--label", "state=x"], "another name"),
        (["--label", "a=x", "--label", "a=y"], "another name"),
    ],
)
def test_words_that_make_no_sense_are_refused(spool, tmp_path, words, said):
    done = queuectl("metrics", *(word.format(tmp=tmp_path) for word in words), spool=spool)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["spool"]


@pytest.mark.parametrize(("given", "written"), [("", "queuectl.prom"), ("/builds.prom", "builds.prom")])
def test_the_textfile_is_readable_for_all_and_alone(spool, tmp_path, given, written):
    (tmp_path / "out").mkdir()
    done = queuectl("metrics", "--textfile", f"{tmp_path}/out{given}", spool=spool)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(tmp_path / "out") == [written]
    path = tmp_path / "out" / written
    assert path.stat().st_mode & 0o777 == 0o644
    assert samples(path.read_text(), openmetrics=False)["jobs", "pending"] == 0


@contextmanager
def lasting(spool, *words):
    """The command for as long as the with block lasts."""
    command = [*QUEUECTL, "--spool", spool.root, "metrics", *words]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_textfile_is_written_again_and_again_and_whole_whenever_it_is_read(spool, tmp_path):
    path = tmp_path / "queuectl.prom"
    with lasting(spool, "--textfile", tmp_path, "--every", "0.1") as process:
        until(path.exists, "the file")
        seen = set()

        def counts():
            content = path.read_text()
            assert content.endswith("\n")
            assert samples(content, openmetrics=False)["build_info", "0.1.0"] == 1
            seen.add(path.stat().st_ino)
            return samples(content, openmetrics=False)["jobs", "pending"]

        assert counts() == 0
        spool.add("true")
        until(lambda: counts() == 1 and len(seen) > 3, "the new job in the file")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["queuectl.prom", "spool"]


def test_writing_goes_on_through_what_passes_and_says_it_once(spool, tmp_path):
    path = tmp_path / "out" / "queuectl.prom"
    path.parent.mkdir()
    with lasting(spool, "--textfile", path.parent, "--every", "0.1") as process:
        until(path.exists, "the file")
        spool_there = Path(spool.root)
        spool_there.rename(tmp_path / "away")
        said = process.stderr.readline()
        assert str(spool_there) in said and f"{path} is as it was" in said
        (tmp_path / "away").rename(spool_there)
        before = path.stat().st_ino
        until(lambda: path.stat().st_ino != before, "a new file")
        process.terminate()
        assert process.communicate(timeout=30)[1] == ""


def test_a_file_that_a_killed_one_left_is_in_nobodys_way(spool, tmp_path):
    """In a container each new process has the number of the last."""
    process = subprocess.run(
        ["sh", "-c", 'echo half > "$0/queuectl.prom.$$"; exec "$@" --textfile "$0"', tmp_path, *QUEUECTL, "metrics"],
        env={**os.environ, "QUEUECTL_SPOOL": spool.root},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["queuectl.prom", "spool"]


@contextmanager
def serving(spool, *words):
    """The command that serves metrics; yields what asks it: (path, headers) -> (status, kind, text)."""
    with lasting(spool, *(words or ("--serve", "0"))) as process:
        port = int(PLACE.search(process.stderr.readline())[1])

        def ask(path="/metrics", method="GET", **headers):
            host = "::1" if words and "::1" in words[1] else "127.0.0.1"
            connection = http.client.HTTPConnection(host, port, timeout=30)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read().decode()

        ask.port = port
        yield ask


def test_it_serves_the_format_that_is_asked_for(spool):
    spool.add("true")
    with serving(spool, "--serve", "0", "--label", "spool=x") as ask:
        status, kind, text = ask(Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
        assert (status, kind.split(";")[0], samples(text)["jobs", "x", "pending"]) == (200, "application/openmetrics-text", 1)
        status, kind, text = ask(Accept="*/*")
        assert (status, kind.split(";")[0], samples(text, False)["jobs", "x", "pending"]) == (200, "text/plain", 1)
        assert ask(method="HEAD")[::2] == (200, "")


def test_it_serves_nothing_else(spool):
    with serving(spool) as ask:
        assert [ask(path)[0] for path in ("/", "/metrics/", "/../etc/passwd", "/metrics%00")] == [404] * 4
        assert ask(method="POST")[0] == 404


def test_it_serves_this_machine_alone_unless_told(spool):
    with serving(spool) as ask:
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert [place for place in listening if place.endswith(f":{ask.port:04X}")][:1] == [f"0100007F:{ask.port:04X}"]


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_it_serves_ipv6(spool):
    with serving(spool, "--serve", "[::1]:0") as ask:
        assert ask()[0] == 200


def test_while_the_spool_is_away_it_answers_503_and_why_and_then_goes_on(spool, tmp_path):
    with serving(spool) as ask:
        Path(spool.root).rename(tmp_path / "away")
        status, _, text = ask()
        assert (status, spool.root in text) == (503, True)
        (tmp_path / "away").rename(spool.root)
        assert ask()[0] == 200


@contextmanager
def server_here(spool):
    """The server in a thread of ours; yields its port."""
    server = metrics.server(spool, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_who_connects_and_says_nothing_keeps_nobody_from_it(spool, monkeypatch):
    monkeypatch.setattr(metrics, "PATIENCE", 3600)
    with server_here(spool) as port, socket.create_connection(("127.0.0.1", port)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200


def test_who_says_nothing_is_let_go(spool, monkeypatch):
    monkeypatch.setattr(metrics, "PATIENCE", 0.05)
    with server_here(spool) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as silent:
        assert silent.recv(1) == b""


def test_an_address_that_is_taken_is_told_of(spool):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = queuectl("metrics", "--serve", other.getsockname()[1], spool=spool)
    assert done.returncode == 1
    assert "Address already in use: choose another with --serve" in done.stderr


@pytest.mark.parametrize("words", [["--serve", "0"], ["--textfile", "{tmp}", "--every", "60"]])
def test_where_sigint_is_ignored_sigterm_ends_it(spool, tmp_path, words):
    """A shell starts so what is to run in its background."""
    command = [*QUEUECTL, "--spool", spool.root, "metrics", *(word.format(tmp=tmp_path) for word in words)]
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    with subprocess.Popen(ignoring, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: (tmp_path / "queuectl.prom").exists() if "--every" in words else process.stderr.readline(), "its start")
            process.send_signal(signal.SIGINT)
            process.terminate()
            assert process.wait(30) in (0, -signal.SIGTERM)
        finally:
            process.kill()
