from pathlib import Path

import pytest
from transcript import TOP, differences

TEXTS = ("first_session.txt", "first_ten_minutes.txt")


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_person_types_does_what_is_written(tmp_path, name):
    text = Path(__file__).with_name(name).read_text()
    assert list(differences(text, tmp_path)) == []


def test_the_first_ten_minutes_are_the_tour_of_the_readme():
    assert Path(__file__).with_name("first_ten_minutes.txt").read_text() in Path(TOP, "README.md").read_text()
