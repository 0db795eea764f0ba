"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from pathlib import Path

import pytest

from mug.errors import InputError
from mug.files import atomic_write, check_outputs, check_overlap, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_as_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "好\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "好\n".encode()


def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write("newer")
        raise KeyboardInterrupt
    assert (path.read_bytes(), names(tmp_path)) == (b"older", ["a.json"])


def test_text_that_cannot_be_encoded_leaves_the_older_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"older")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "好的\ud83d")
    assert (path.read_bytes(), names(tmp_path)) == (b"older", ["a.json"])


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"older")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "newer")
    assert (path.read_bytes(), names(tmp_path)) == (b"older", ["a.json"])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_disk_that_is_full_while_writing_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"older")
    real = os.fdopen

    def to_full(descriptor, *args, **kwargs):
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        monkeypatch.setattr(os, "fchmod", lambda *a: None)
        return real(descriptor, *args, **kwargs)

    monkeypatch.setattr(os, "fdopen", to_full)
    with pytest.raises(OSError) as error:
        write_text(path, "newer" * 100_000)
    assert error.value.errno == errno.ENOSPC
    assert (path.read_bytes(), names(tmp_path)) == (b"older", ["a.json"])


def test_the_older_file_is_there_until_the_block_ends(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"older")
    with atomic_write(path) as file:
        file.write("newer")
        file.flush()
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"newer"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_the_file_is_as_readable_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_writing_does_not_change_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_json_is_indented_readable_and_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"题": 0.5})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "题": 0.5\n}\n'
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "题": 0.5\n}\n'


# ------------------------------------------------------------------------------- links, folders, devices, long names


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.json").write_bytes(b"older")
    (tmp_path / "link.json").symlink_to("real/a.json")
    write_text(tmp_path / "link.json", "newer")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real" / "a.json").read_bytes() == b"newer"
    assert names(tmp_path) == ["link.json", "real"] and names(tmp_path / "real") == ["a.json"]


def test_a_link_to_nothing_makes_what_it_points_to(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "later" / "a.json")
    write_text(tmp_path / "link.json", "x")
    assert (tmp_path / "later" / "a.json").read_bytes() == b"x" and (tmp_path / "link.json").is_symlink()


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        write_text(tmp_path / "a" / "x", "x")


def test_a_folder_is_no_file_and_stays(tmp_path):
    (tmp_path / "a.json" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "a.json", "x")
    assert names(tmp_path) == ["a.json"] and names(tmp_path / "a.json") == ["inside"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_device_is_written_to_and_never_replaced(tmp_path):
    for device in ("/dev/full", "/dev/null"):
        (tmp_path / Path(device).name).symlink_to(device)
    before = os.stat("/dev/full").st_rdev
    with pytest.raises(OSError) as error:
        write_text(tmp_path / "full", "x")
    write_text(tmp_path / "null", "x")
    assert error.value.errno == errno.ENOSPC
    assert os.stat("/dev/full").st_rdev == before and names(tmp_path) == ["full", "null"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "pipe", {"题": 1})
    assert json.loads(os.read(reader, 1000)) == {"题": 1}
    os.close(reader)


@pytest.mark.parametrize("name", ["a" * 255, "好" * 85, "b" * 210 + ".json"])
def test_any_name_that_a_file_can_have_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_a_folder_that_can_not_be_written_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        write_text("/proc/none.json", "x")  # read-only also to root
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError):
        write_text(tmp_path / "file" / "a.json", "x")
    assert names(tmp_path) == ["file"]


def test_file_and_folder_are_brought_to_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace
    kind = {True: "folder", False: "file"}
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(kind[stat.S_ISDIR(os.fstat(fd).st_mode)]), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("rename"), replace(a, b))[1])
    write_text(tmp_path / "a", "x")
    assert seen == ["file", "rename", "folder"]


# -------------------------------------------------------------------------------------- what a killed process left


@pytest.fixture
def abandoned(tmp_path):
    """The temporary file of a process that was killed."""
    with atomic_write(tmp_path / "other.json") as file:
        left = next(tmp_path.glob(".other.json.*.tmp"))
        named = left.with_name(left.name.replace("other", "a"))
        file.write("x")
    named.write_bytes(b"half")
    return named


def test_a_dead_process_temporary_file_is_removed_by_the_next_write_of_the_same_file(tmp_path, abandoned):
    write_text(tmp_path / "other.json", "x")
    assert abandoned.exists(), "it is no file of this name"
    write_text(tmp_path / "a.json", "x")
    assert names(tmp_path) == ["a.json", "other.json"]


def test_a_living_process_temporary_file_stays(tmp_path):
    with atomic_write(tmp_path / "a.json") as first:
        first.write("first")
        write_text(tmp_path / "a.json", "second")
        assert len(list(tmp_path.glob(".a.json.*.tmp"))) == 1
    assert (tmp_path / "a.json").read_text() == "first" and names(tmp_path) == ["a.json"]


def test_files_that_only_look_alike_stay(tmp_path):
    alike = [".a.json.tmp", ".a.json.12345678.tmp.bak", ".a.json.1234567.tmp", "a.json.12345678.tmp"]
    for name in [*alike, ".a.json.A2345678.tmp"]:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".a.json.12345678.tmp").mkdir()
    (tmp_path / ".a.json.abcdefgh.tmp").symlink_to(tmp_path / ".a.json.tmp")
    before = names(tmp_path)
    write_text(tmp_path / "a.json", "x")
    assert names(tmp_path) == sorted([*before, "a.json"])
    assert (tmp_path / ".a.json.tmp").read_bytes() == b"mine"


def test_a_temporary_file_that_is_taken_for_an_abandoned_one_is_made_again(tmp_path, monkeypatch):
    real, taken = fcntl.flock, []

    def late(descriptor, how):
        if not taken and how == fcntl.LOCK_EX:  # between its making and its locking
            taken.append(next(tmp_path.glob(".a.json.*.tmp")))
            taken[0].unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write_text(tmp_path / "a.json", "x")
    assert taken and names(tmp_path) == ["a.json"]


# ------------------------------------------------------------------------------------------ outputs that are inputs


def test_an_output_that_is_an_input_under_any_name_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x")
    (tmp_path / "link.csv").symlink_to("a.csv")
    (tmp_path / "sub").mkdir()
    check_outputs([tmp_path / "b.csv"], [tmp_path / "a.csv"])
    for name in ("a.csv", "link.csv", "sub/../a.csv"):
        with pytest.raises(InputError) as error:
            check_outputs([tmp_path / "b.csv", tmp_path / name], [tmp_path / "a.csv"])
        assert name in error.value.message.en and "would be lost" in error.value.message.en


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="是一个文件夹"):
        check_outputs([tmp_path], [])
    check_overlap([tmp_path], [])


def test_a_file_without_content_is_never_there_nor_an_older_one_of_its_name(tmp_path):
    path = tmp_path / "rejected.jsonl"
    path.write_text("older")
    with atomic_write(path, unless_empty=True):
        assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == []
    with atomic_write(path, unless_empty=True) as file:
        file.write("one")
    assert path.read_text() == "one"
