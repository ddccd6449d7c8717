"""Files that appear whole or not at all, on a full disk too."""

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from toolgen.errors import DiskFullError
from toolgen.files import clear_unfinished, is_disk_full, write_json


@pytest.mark.parametrize("moment", ["begin", "write", "sync"])
def test_a_file_keeps_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "report.json"
    write_json(path, {"steps": 1})
    where = {"begin": "toolgen.files.tempfile.mkstemp", "write": "pathlib.Path.write_text", "sync": "os.fsync"}
    with monkeypatch.context() as patched:
        patched.setattr(where[moment], full)
        with pytest.raises(DiskFullError, match="report.json could not be written: the disk"):
            write_json(path, {"steps": 2})
    assert path.read_text() == '{\n "steps": 1\n}\n'
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_other_faults_are_not_called_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert is_disk_full(Exception("I/O error: No space left on device (os error 28)"))
    assert is_disk_full(DiskFullError("already explained"))
    assert not is_disk_full(OSError(errno.EIO, "Input/output error"))
    assert not is_disk_full(Exception("Permission denied (os error 13)"))
    assert not is_disk_full(Exception("28"))


def test_what_killed_writers_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    for name in ("report.json", ".report.json.k1ll3d", ".other.json.k1ll3d", "report.json.mine"):
        (tmp_path / name).write_text("")
    clear_unfinished(tmp_path / "report.json")
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", ".other.json.k1ll3d", "report.json.mine"}
