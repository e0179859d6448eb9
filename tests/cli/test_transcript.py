from pathlib import Path

from transcript import differences


def test_the_first_session_is_as_it_is_written(tmp_path):
    text = Path(__file__).with_name("first_session.txt").read_text()
    assert list(differences(text, tmp_path)) == []
