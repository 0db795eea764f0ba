"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from mug.files import atomic_write, write_json, write_text


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
