"""The settings of a spool: each with its rule, and no change lost."""

import json
import threading
from pathlib import Path

import pytest

from jobspool import config
from jobspool.errors import BrokenConfig, WrongValue


def content(spool):
    return json.loads(Path(spool.root, "config.json").read_text())


def written(spool, text):
    Path(spool.root, "config.json").write_text(text)


def change(spool, name, value):
    return config.change(spool.root, name, value, spool.spare(), 0o600)


def test_a_spool_without_a_config_has_the_defaults(tmp_path):
    assert {name: getattr(config.load(tmp_path), name) for name in config.SETTINGS} == {
        "max_retries": 3,
        "backoff_base": 2,
        "backoff_max": 3600,
        "backoff_jitter": 0.1,
        "timeout": None,
        "grace": 10,
        "workers": 1,
        "fsync": "group",
        "max_job_bytes": 1_048_576,
        "backoff": "exponential",
        "exits": {},
        "snooze": 60,
        "groups": {},
        "slots": {},
        "priority_aging": None,
        "keep_done": "7d",
        "keep_dead": "forever",
        "log_max_bytes": 104_857_600,
        "journal_bytes": 67_108_864,
    }


def test_there_is_no_setting_of_another_name(spool):
    with pytest.raises(AttributeError):
        spool.settings().retries  # noqa: B018 (looking is the deed)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_retries", "0", 0),
        ("max_retries", "1000000", 1_000_000),
        ("backoff_base", "1.5", 1.5),
        ("backoff_base", "0", 0),
        ("backoff_max", "0", 0),
        ("backoff_jitter", "10", 10),
        ("timeout", "0.001", 0.001),
        ("timeout", "None", None),
        ("timeout", "", None),
        ("grace", "86400", 86_400),
        ("workers", "1024", 1024),
        ("fsync", "NEVER", "never"),
        ("max_job_bytes", "64", 64),
        ("log_max_bytes", "4096", 4096),
    ],
)
def test_a_typed_value_within_its_rule_is_taken(name, text, value):
    assert config.value_of(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("max_retries", "-1", "a whole number from 0 to 1000000"),
        ("max_retries", "1.5", "a whole number from 0 to 1000000"),
        ("max_retries", "none", "a whole number from 0 to 1000000"),
        ("backoff_base", "1000001", "a number from 0 to 1000000"),
        ("backoff_max", "-1", "a number from 0 to 315360000"),
        ("backoff_jitter", "11", "a number from 0 to 10"),
        ("timeout", "0", "a number from 0.001 to 315360000, or none"),
        ("timeout", "nan", "a number from 0.001 to 315360000, or none"),
        ("grace", "1e9", "a number from 0 to 86400"),
        ("workers", "0", "a whole number from 1 to 1024"),
        ("workers", "many", "a whole number from 1 to 1024"),
        ("fsync", "often", "one of always, group, never"),
        ("max_job_bytes", "63", "a whole number from 64 to 1073741824"),
        ("log_max_bytes", "4095", "a whole number from 4096 to 4611686018427387904"),
    ],
)
def test_a_typed_value_against_its_rule_is_told_the_rule(name, text, rule):
    with pytest.raises(WrongValue) as wrong:
        config.value_of(name, text)
    assert str(wrong.value).endswith(f"it takes {rule}")


@pytest.mark.parametrize("value", [True, "3", None, 3.0])
def test_a_value_in_the_file_must_be_of_its_kind(value):
    with pytest.raises(WrongValue):
        config.checked("max_retries", value)


def test_a_name_may_be_typed_with_hyphens():
    assert config.name_of(" Max-Retries ") == "max_retries"


def test_a_wrong_name_is_told_the_nearest():
    with pytest.raises(WrongValue, match="there is no setting 'max-retry', did you mean 'max_retries'?"):
        config.name_of("max-retry")


def test_a_change_is_in_force_when_it_returns(spool):
    assert change(spool, "workers", 4).workers == 4
    assert spool.settings().workers == 4
    assert content(spool) == {"format": 1, "workers": 4}


def test_a_setting_that_is_unset_has_its_default_again(spool):
    change(spool, "workers", 4)
    assert change(spool, "workers", ...).workers == 1
    assert content(spool) == {"format": 1}


def test_none_is_a_value(spool):
    change(spool, "timeout", 5)
    assert change(spool, "timeout", None).timeout is None
    assert content(spool) == {"format": 1, "timeout": None}


def test_changes_at_once_are_all_kept(spool):
    settings = {"workers": 7, "grace": 3, "timeout": 60, "max_retries": 9, "fsync": "always", "backoff_base": 5}
    threads = [threading.Thread(target=change, args=(spool, *setting)) for setting in settings.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(spool) == {"format": 1, **settings}


def test_a_change_leaves_nothing_in_tmp(spool):
    change(spool, "workers", 4)
    assert list(Path(spool.root, "tmp").iterdir()) == []


def test_a_jobs_own_settings_go_before_the_spools(spool):
    rules = change(spool, "max_retries", 9).for_job({"command": "x", "max_retries": 0, "timeout": 5, "priority": 7})
    assert (rules.max_retries, rules.timeout, rules.grace) == (0, 5, 10)


def test_a_job_without_its_own_settings_has_the_spools(spool):
    settings = spool.settings()
    assert settings.for_job({"command": "x"}) is settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object: mend it, or remove it for the defaults"),
        ('{"format": 2}', "has format 2, this queuectl knows 1: use a newer queuectl"),
        ('{"format": "1"}', "has format '1', this queuectl knows 1: use a newer queuectl"),
        ('{"worker": 2}', "there is no setting 'worker', did you mean 'workers'?"),
        ('{"workers": 0}', "workers can't be 0: it takes a whole number from 1 to 1024"),
        ('{"workers": null}', "workers can't be None: it takes a whole number from 1 to 1024"),
        ('{"grace": NaN}', "grace can't be nan: it takes a number from 0 to 86400"),
        ('{"fsync": ["group"]}', "fsync can't be ['group']: it takes one of always, group, never"),
        ('{"group": 100}', "group must be the name of a group"),
    ],
)
def test_a_broken_config_says_where_and_why(spool, text, words):
    written(spool, text)
    with pytest.raises(BrokenConfig) as broken:
        spool.settings()
    assert str(broken.value).startswith(f"{spool.root}/config.json")
    assert words in str(broken.value)


def test_a_broken_config_is_not_changed(spool):
    written(spool, '{"format": 2}')
    with pytest.raises(BrokenConfig):
        change(spool, "workers", 4)
    assert content(spool) == {"format": 2}
