"""What a job says of itself is taken when it is whole and makes sense, and else told."""

import json
import os

import pytest

from jobspool import said


def test_nothing_said_is_none(tmp_path):
    assert said.read(str(tmp_path / "none")) is None


def test_all_that_may_be_said(tmp_path):
    whole = {"retry_after": 30, "dead": "no", "result": {"a": [1]}, "progress": 99.5, "text": "nearly"}
    (tmp_path / "x").write_text(json.dumps(whole))
    assert said.read(str(tmp_path / "x")) == whole


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"dead": 1}', "dead can't be 1"),
        (b'{"progress": 101}', "progress can't be 101"),
        (b'{"retry_after": true}', "retry_after can't be True"),
        (b'{"retry_after": -1}', "retry_after can't be -1"),
        (b'{"retry": 1}', "unknown key 'retry'"),
        (b'{"result": NaN}', "not JSON"),
        (b'{"result": "\\ud800"}', "not JSON"),
        (b'{"result": ' + b"[" * 60 + b"]" * 60 + b"}", "nested too deep"),
        (b'{"result": "' + b"x" * said.MOST + b'"}', "longer than 65536 bytes"),
    ],
)
def test_what_can_not_be_taken_is_told(tmp_path, content, why):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(said.Unclear, match=why):
        said.read(str(tmp_path / "x"))


def test_no_link_is_followed_and_no_fifo_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "link"):
        with pytest.raises(said.Unclear):
            said.read(str(tmp_path / name))
