"""Manifests: what was sealed verifies, everything else is refused by name, and all of it reaches the disk."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.manifest import MANIFEST, seal, sync_folder, verify

FILES = {"model.safetensors": b"weights" * 100, "optimizer/00001.safetensors": b"state", "empty": b""}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    seal(folder)
    return folder


def test_a_manifest_lists_every_file_below_the_folder(sealed: Path) -> None:
    record = json.loads((sealed / MANIFEST).read_text())
    assert record == {
        "format": 1,
        "files": {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(FILES.items())
        },
    }
    verify(sealed, digests=True)


def test_sealing_again_vouches_for_the_files_of_today(sealed: Path) -> None:
    (sealed / "empty").write_bytes(b"no longer")
    with pytest.raises(InputError, match="'empty' has 9 bytes"):
        verify(sealed, digests=False)
    seal(sealed)
    verify(sealed, digests=True)
    assert MANIFEST not in json.loads((sealed / MANIFEST).read_text())["files"]


def _flip(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[350] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def test_a_changed_bit_is_found_by_digests_alone(sealed: Path) -> None:
    _flip(sealed)
    verify(sealed, digests=False)
    with pytest.raises(InputError, match="content of 'model.safetensors' has changed"):
        verify(sealed, digests=True)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "holds no manifest.json"),
    "no folder": (shutil.rmtree, "holds no manifest.json"),
    "a file is gone": (lambda folder: (folder / "empty").unlink(), "'empty', which manifest.json lists, is missing"),
    "a folder is gone": (lambda folder: shutil.rmtree(folder / "optimizer"), "'optimizer/00001.safetensors'"),
    "a file is cut": (lambda folder: os.truncate(folder / "model.safetensors", 3), "has 3 bytes.*says 700"),
    "a pointer file": (lambda folder: (folder / "empty").write_text("version 1"), "has 9 bytes.*says 0"),
}


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_it_was_written_is_named(sealed: Path, fault: str, digests: bool) -> None:
    spoil, message = FAULTS[fault]
    spoil(sealed)
    with pytest.raises(InputError, match=message):
        verify(sealed, digests=digests)


def test_files_beyond_the_list_are_no_error(sealed: Path) -> None:
    (sealed / "README.md").write_text("mine")
    verify(sealed, digests=True)


ENTRY = {"size": 0, "sha256": hashlib.sha256().hexdigest()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "a JSON object is wanted"),
        ('{"format": 2, "files": {}}', "format 2; this version reads 1"),
        ('{"format": 1}', "lacks the list of files"),
        ('{"format": 1, "files": []}', "lacks the list of files"),
        ('{"format": 1, "files": {"empty": 3}}', "lacks the size or the SHA-256 of 'empty'"),
        ('{"format": 1, "files": {"empty": {"size": "0", "sha256": "x"}}}', "lacks the size"),
        (json.dumps({"format": 1, "files": {"/etc/hostname": ENTRY}}), "outside the folder"),
        (json.dumps({"format": 1, "files": {"optimizer/../../secret": ENTRY}}), "outside the folder"),
        (json.dumps({"format": 1, "files": {"..": ENTRY}}), "outside the folder"),
        (json.dumps({"format": 1, "files": {"a\0b": ENTRY}}), "is missing"),
        (json.dumps({"format": 1, "files": {"\ud800": ENTRY}}), "is missing"),
        (json.dumps({"format": 1, "files": {"optimizer": ENTRY}}), "'optimizer'.*is missing"),
    ],
)
def test_a_manifest_from_anyone_is_read_with_care(sealed: Path, text: str, message: str) -> None:
    (sealed / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=message):
        verify(sealed, digests=True)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=30), max_size=4), st.data())
def test_any_change_of_any_file_is_found(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    seal(folder)
    verify(folder, digests=True)
    if files:
        name = data.draw(st.sampled_from(sorted(files)))
        other = data.draw(st.binary(max_size=31).filter(lambda content: content != files[name]))
        (folder / name).write_bytes(other)
        with pytest.raises(InputError, match=name):
            verify(folder, digests=True)


def test_every_file_and_folder_is_on_the_disk_when_seal_returns(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    written_last: list[bool] = []
    genuine = os.fsync

    def record(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        written_last.append((sealed / MANIFEST).exists())
        genuine(handle)

    monkeypatch.setattr(os, "fsync", record)
    seal(sealed)
    files = [path.stat().st_ino for path in sealed.rglob("*") if path.is_file() and path.name != MANIFEST]
    folders = [sealed.stat().st_ino, (sealed / "optimizer").stat().st_ino]
    assert set(synced) == {*files, *folders, (sealed / MANIFEST).stat().st_ino}
    assert synced[-2:] == folders[::-1], "from the innermost folder outwards"
    assert written_last == [False] * (len(files) + 1) + [True] * 2, "the manifest gets its name after all else is safe"


def test_a_file_system_that_cannot_sync_folders_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Callable[[int], None]:
        def fsync(handle: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", refuse(22))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse(5))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
