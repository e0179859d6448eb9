"""What is safe on disk: whole or not at all, and nothing replaced that somebody else put there."""

import errno
import os
import resource
from pathlib import Path

import pytest

from jobspool import durable

BOTH_WAYS = pytest.mark.parametrize("flags", [True, False], ids=["renameat2", "no flags"])


@pytest.fixture
def kernel(flags, monkeypatch):
    """The kernel's flags for renames, or none of them, as on an old file system."""
    if not flags:
        monkeypatch.setattr(durable, "_renameat2", lambda *_: errno.ENOSYS)
    return flags


@pytest.fixture
def file(tmp_path):
    """Make a file and return its path."""

    def made(name, content=b"x"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return made


def content(path):
    return Path(path).read_bytes()


def names(folder):
    return sorted(os.listdir(folder))


# ---- writing


def test_a_new_file_has_its_content_and_its_mode_whatever_the_umask(tmp_path):
    mask = os.umask(0o077)
    try:
        os.close(durable.write_new(f"{tmp_path}/new", b"whole", 0o660))
    finally:
        os.umask(mask)
    assert (content(tmp_path / "new"), (tmp_path / "new").stat().st_mode & 0o777) == (b"whole", 0o660)


def test_a_new_file_never_replaces_another(file):
    path = file("old", b"older")
    with pytest.raises(FileExistsError):
        durable.write_new(path, b"newer")
    assert content(path) == b"older"


def test_a_new_file_is_not_written_through_a_link(tmp_path):
    os.symlink(f"{tmp_path}/elsewhere", f"{tmp_path}/link")
    with pytest.raises(FileExistsError):
        durable.write_new(f"{tmp_path}/link", b"x")
    assert names(tmp_path) == ["link"]


def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, rest: write(descriptor, rest[:3]))
    os.close(durable.write_new(f"{tmp_path}/new", b"0123456789"))
    assert content(tmp_path / "new") == b"0123456789"


def test_a_write_that_fails_in_its_middle_leaves_nothing(tmp_path, in_child):
    def write_beyond_the_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            durable.write_new(f"{tmp_path}/new", b"x" * 8192)
        except OSError as error:
            return error.errno

    assert (in_child(write_beyond_the_limit), names(tmp_path)) == (errno.EFBIG, [])


@pytest.mark.parametrize("length", [0, 1, 700, 4096, 9000])
def test_what_was_reserved_holds_what_is_filled_in_and_no_more_blocks_than_it_needs(tmp_path, length):
    path = tmp_path / "room"
    descriptor = durable.reserve(str(path), 16384)
    assert (path.stat().st_size, path.stat().st_blocks * 512 >= 16384) == (0, True)
    for _ in range(2):  # once more, where the first was cut short
        durable.fill(descriptor, b"x" * length, 16384)
    assert (content(path), path.stat().st_blocks * 512 < 16384) == (b"x" * length, True)
    os.close(descriptor)


def test_what_cannot_be_reserved_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_call", lambda *_: errno.ENOSPC)
    monkeypatch.setattr(durable, "write_all", lambda *_: durable._refuse(errno.ENOSPC, str(tmp_path), str(tmp_path)))
    for length, copies in ((4096, False), (4096, True), (8192, False)):
        with pytest.raises(OSError, match="No space left") as raised:
            durable.reserve(f"{tmp_path}/room", length, copies=copies)
        assert (raised.value.filename, names(tmp_path)) == (f"{tmp_path}/room", [])


def test_where_nothing_can_be_reserved_the_file_is_made_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_call", lambda *_: errno.EOPNOTSUPP)
    os.close(durable.reserve(f"{tmp_path}/room", 8192))
    assert names(tmp_path) == ["room"]


def test_writing_over_leaves_only_the_new_content(file):
    path = file("said", b"a longer text")
    descriptor = os.open(path, os.O_WRONLY)
    durable.write_over(descriptor, b"short", 13)
    os.close(descriptor)
    assert content(path) == b"short"


def test_replacing_puts_the_new_in_the_place_of_the_old(file, tmp_path):
    path = file("config", b"older")
    durable.replace(path, f"{tmp_path}/spare", b"newer", 0o640)
    assert (content(path), os.stat(path).st_mode & 0o777, names(tmp_path)) == (b"newer", 0o640, ["config"])


@pytest.mark.parametrize("count", [1, 20])
def test_files_can_be_synced_few_or_many_at_once(file, count):
    durable.sync_files([file(f"{number}") for number in range(count)])


def test_a_file_that_cant_be_synced_is_trouble(tmp_path):
    with pytest.raises(FileNotFoundError):
        durable.sync_files([f"{tmp_path}/gone"])


# ---- locks


def test_a_lock_is_held_by_one(file):
    path = file("job")
    one, other = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    assert (durable.lock(one), durable.lock(other)) == (True, False)
    os.close(one)
    assert durable.lock(other)
    os.close(other)


# ---- moving


@BOTH_WAYS
def test_a_move_gives_the_file_its_new_name(kernel, file, tmp_path):
    durable.move(file("a"), f"{tmp_path}/b")
    assert names(tmp_path) == ["b"]


@BOTH_WAYS
def test_a_move_never_replaces_what_lies_at_its_target(kernel, file):
    source, target = file("a", b"a"), file("b", b"b")
    with pytest.raises(FileExistsError):
        durable.move(source, target)
    assert (content(source), content(target)) == (b"a", b"b")


@BOTH_WAYS
def test_a_move_never_replaces_a_link_that_leads_nowhere(kernel, file, tmp_path):
    source = file("a")
    os.symlink("nowhere", tmp_path / "b")
    with pytest.raises(FileExistsError):
        durable.move(source, f"{tmp_path}/b")
    assert names(tmp_path) == ["a", "b"]


@BOTH_WAYS
@pytest.mark.parametrize("gone", ["here", "there"])
def test_a_directory_that_is_gone_is_told_from_a_name_that_is(kernel, tmp_path, gone):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here/x").touch()
    os.rename(tmp_path / gone, tmp_path / "away")
    for deed in (durable.move, durable.move_own):
        with pytest.raises(durable.DirectoryGone) as raised:
            deed(f"{tmp_path}/here/x", f"{tmp_path}/there/x")
        assert raised.value.filename == f"{tmp_path}/{gone}"
    with pytest.raises(durable.DirectoryGone):
        durable.write_new(f"{tmp_path}/{gone}/y", b"")


@BOTH_WAYS
def test_a_move_of_what_has_gone_says_so(kernel, tmp_path):
    with pytest.raises(FileNotFoundError):
        durable.move(f"{tmp_path}/a", f"{tmp_path}/b")


def test_an_exchange_lets_two_files_change_places(file):
    newer, older = file("newer", b"new"), file("older", b"old")
    came_out, both = durable.exchange(newer, older)
    assert (content(newer), content(older), came_out.st_ino, both) == (b"old", b"new", os.stat(newer).st_ino, True)


def test_an_exchange_without_the_kernels_flag_replaces_the_older(file, tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_renameat2", lambda *_: errno.EINVAL)
    newer, older = file("newer", b"new"), file("older", b"old")
    was = os.stat(older).st_ino
    came_out, both = durable.exchange(newer, older)
    assert (came_out.st_ino, both, content(older), names(tmp_path)) == (was, False, b"new", ["older"])


@BOTH_WAYS
@pytest.mark.parametrize("there", ["newer", "older"])
def test_an_exchange_with_what_has_gone_changes_nothing(kernel, file, tmp_path, there):
    file(there)
    with pytest.raises(FileNotFoundError):
        durable.exchange(f"{tmp_path}/newer", f"{tmp_path}/older")
    assert names(tmp_path) == [there]


def test_trouble_in_a_move_is_raised(file, tmp_path):
    with pytest.raises(NotADirectoryError):
        durable.move(file("a"), f"{file('b')}/c")


@BOTH_WAYS
def test_what_is_set_aside_gets_the_first_free_name(kernel, file, tmp_path):
    file("x~1.json", b"first")
    assert durable.set_aside(file("x.json", b"second")) == f"{tmp_path}/x~2.json"
    assert {name: content(tmp_path / name) for name in names(tmp_path)} == {"x~1.json": b"first", "x~2.json": b"second"}


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_what_has_the_longest_name_can_be_set_aside(file, tmp_path, letter):
    longest = letter * (250 // len(letter.encode())) + ".json"
    for number in range(1, 12):
        aside = durable.set_aside(file(longest, b"%d" % number))
        assert (content(aside), aside.endswith(f"~{number}.json")) == (b"%d" % number, True)
    assert len(names(tmp_path)) == 11


def test_setting_aside_what_has_gone_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        durable.set_aside(f"{tmp_path}/x.json")


# ---- small things


def test_an_mtime_is_set_to_the_microsecond(file):
    path = file("x")
    durable.stamp(path, 1795515330.123456)
    assert os.stat(path).st_mtime_ns == 1795515330_123456_000


def test_removing_what_has_gone_is_no_error(file):
    path = file("x")
    assert (durable.remove(path), durable.remove(path)) == (True, False)


def test_a_directory_has_exactly_its_mode(tmp_path):
    mask = os.umask(0o077)
    try:
        assert durable.make_directory(f"{tmp_path}/d", 0o2770)
    finally:
        os.umask(mask)
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o2770
    assert not durable.make_directory(f"{tmp_path}/d", 0o700)
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o2770


def test_a_log_is_never_mixed_with_an_older_one(file):
    path = file("x.1.out", b"older")
    with pytest.raises(FileExistsError):
        durable.open_log(path)
    assert content(path) == b"older"


# ---- logs that are too long


def test_what_is_cut_out_of_a_log_gives_the_disk_back(file):
    path = file("log", b"x" * 1_000_000)
    descriptor = os.open(path, os.O_RDWR)
    before = os.fstat(descriptor)
    if durable.cut_out(descriptor, 100_000, 800_000):  # else the file system of the tests can't
        after = os.fstat(descriptor)
        assert after.st_size == 1_000_000
        assert after.st_blocks < before.st_blocks
        assert content(path) == b"x" * 100_000 + b"\0" * 800_000 + b"x" * 100_000
    os.close(descriptor)


def test_where_nothing_can_be_cut_out_the_log_ends_there_and_says_so(file, monkeypatch):
    monkeypatch.setattr(durable, "_call", lambda *_: errno.EOPNOTSUPP)
    path = file("log", b"x" * 1000)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    assert not durable.cut_out(descriptor, 100, 800)
    os.close(descriptor)
    assert content(path) == b"x" * 100 + b"\n[queuectl: 800 bytes were cut out here]\n"


def test_a_shortened_log_is_its_beginning_and_its_end_and_says_what_is_missing(file, tmp_path):
    path = file("log", b"b" * 10 + b"-" * 80 + b"e" * 10)
    durable.shorten(path, f"{tmp_path}/spare", 10, 0o640)
    assert content(path) == b"b" * 10 + b"\n[queuectl: 80 bytes were cut out here]\n" + b"e" * 10
    assert (os.stat(path).st_mode & 0o777, names(tmp_path)) == (0o640, ["log"])


def test_who_reads_a_log_while_it_is_shortened_keeps_the_old_one(file, tmp_path):
    path = file("log", b"x" * 100)
    with open(path, "rb") as reader:
        durable.shorten(path, f"{tmp_path}/spare", 10, 0o600)
        assert reader.read() == b"x" * 100


def test_what_is_filled_again_with_less_holds_nothing_of_before(tmp_path):
    descriptor = durable.reserve(f"{tmp_path}/x", 4096)
    durable.fill(descriptor, b"a long one", 4096)
    durable.fill(descriptor, b"short", 4096)
    os.close(descriptor)
    assert (tmp_path / "x").read_bytes() == b"short"


def test_the_next_number_is_found_without_looking_at_all(tmp_path, monkeypatch):
    for number in range(1, 1001):
        (tmp_path / f"x~{number}.json").touch()
    (tmp_path / "x.json").touch()
    looks = []
    monkeypatch.setattr(os.path, "lexists", lambda path: looks.append(path) or os.access(path, os.F_OK))
    assert durable.set_aside(f"{tmp_path}/x.json") == f"{tmp_path}/x~1001.json"
    assert len(looks) < 25


def test_a_name_that_is_set_aside_is_never_too_long_for_a_job(tmp_path):
    for length in (198, 199, 200):
        path = tmp_path / f"{'n' * length}.json"
        path.touch()
        aside = os.path.basename(durable.set_aside(str(path)))
        assert len(aside.removesuffix(".json")) == 200


def test_a_mode_is_never_set_through_a_link(tmp_path):
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        durable.set_mode(f"{tmp_path}/link", 0o777)
    durable.stamp_now(f"{tmp_path}/link", 1.0)
    assert ((tmp_path / "secret").stat().st_mode & 0o777, (tmp_path / "secret").stat().st_mtime > 1) == (0o600, True)
    durable.set_mode(f"{tmp_path}/secret", 0o640)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o640


def test_a_directory_that_is_a_link_is_not_taken_for_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tmp").symlink_to("elsewhere")
    with pytest.raises(NotADirectoryError):
        durable.make_directory(f"{tmp_path}/tmp")
    assert not durable.make_directory(f"{tmp_path}/elsewhere")
