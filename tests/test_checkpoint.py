"""Publishing a checkpoint: a kill at any moment, a full disk, and what is found afterwards."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from toolgen.checkpoint import Artefacts, displaced, is_checkpoint, publish
from toolgen.errors import InputError
from toolgen.manifest import verify

KILLED = 9
FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.truncate")


def writes(text: str) -> Callable[[Path], None]:
    """A checkpoint of three small files, as ``publish`` wants to be given it."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(text)
        (folder / "optimizer").mkdir()
        (folder / "optimizer" / "00001.safetensors").write_text(text)
        (folder / "toolgen.json").write_text(text)

    return write


def content(folder: Path) -> str:
    verify(folder, digests=True)
    (text,) = {(folder / name).read_text() for name in ("model.safetensors", "toolgen.json")}
    return text


def killed_at(moment: int, work: Callable[[], None]) -> bool:
    """Run ``work`` in a child that dies without any cleaning up just before its file operation of number ``moment``;
    returns whether it got that far."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, _: object) -> None:
            nonlocal count
            if event in FILE_EVENTS:
                count += 1
                if count == moment:
                    os._exit(KILLED)

        sys.addaudithook(hook)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def test_a_kill_at_any_file_operation_loses_neither_the_old_checkpoint_nor_the_new(tmp_path: Path) -> None:
    moments = 0
    states: set[str] = set()
    while True:
        moments += 1
        folder = tmp_path / str(moments) / "final"
        publish(folder, writes("first"))
        killed = killed_at(moments, lambda folder=folder: publish(folder, writes("second")))
        whole = displaced(folder)
        if whole is None:
            states.add(content(folder))
        else:
            states.add(f"displaced {content(whole)}")
            assert is_checkpoint(folder)
            with pytest.raises(InputError, match=rf"whole and lies in {whole}: rename that folder to final"):
                Artefacts.load(folder)
        publish(folder, writes("third"))
        assert content(folder) == "third"
        assert [path.name for path in folder.parent.iterdir()] == ["final"], "nothing is left over"
        if not killed:
            break
    assert moments > 20
    assert states == {"first", "displaced second", "second"}


def test_a_second_kill_while_the_first_is_settled_loses_nothing_either(tmp_path: Path) -> None:
    moments = 0
    while True:
        moments += 1
        folder = tmp_path / str(moments) / "final"
        publish(folder.with_name(".final.old"), writes("first"))
        publish(folder.with_name(".final.new"), writes("second"))
        assert displaced(folder) == folder.with_name(".final.new")
        killed = killed_at(moments, lambda folder=folder: publish(folder, writes("third")))
        assert content(displaced(folder) or folder) in ("second", "third")
        publish(folder, writes("fourth"))
        assert content(folder) == "fourth"
        assert [path.name for path in folder.parent.iterdir()] == ["final"]
        if not killed:
            break
    assert moments > 20


def test_the_first_checkpoint_of_a_killed_run_is_never_half_there(tmp_path: Path) -> None:
    moments = 0
    while True:
        moments += 1
        folder = tmp_path / str(moments) / "final"
        killed = killed_at(moments, lambda folder=folder: publish(folder, writes("first")))
        assert displaced(folder) is None
        assert not folder.exists() or content(folder) == "first"
        if not killed:
            break
    assert moments > 10


def test_an_interruption_between_the_two_renames_is_like_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "final"
    publish(folder, writes("first"))
    genuine = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == ".final.new":
            raise KeyboardInterrupt
        return genuine(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publish(folder, writes("second"))
    assert displaced(folder) == tmp_path / ".final.new"
    assert content(tmp_path / ".final.new") == "second"
    publish(folder, writes("third"))
    assert content(folder) == "third"


def _really_full(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 3_000_000)
    (folder / "tokenizer.json").symlink_to("/dev/full")
    (folder / "tokenizer.json").write_text("no room for this")


def _raising(error: Exception) -> Callable[[Path], None]:
    def write(folder: Path) -> NoReturn:
        raise error

    return write


# The wordings of safetensors and of tokenizers, whose errors are no OSError.
FULL: dict[str, Callable[[Path], None]] = {
    "plain write": _really_full,
    "quota": _raising(OSError(errno.EDQUOT, "Disk quota exceeded")),
    "safetensors": _raising(Exception("Error while serializing: I/O error: No space left on device (os error 28)")),
    "tokenizers": _raising(Exception("No space left on device (os error 28)")),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("kind", FULL)
def test_a_full_disk_leaves_the_previous_checkpoint_and_is_explained(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "final"
    with pytest.raises(InputError) as refused:
        publish(folder, FULL[kind])
    assert "before is untouched" not in str(refused.value), "there was none"
    publish(folder, writes("first"))
    with pytest.raises(InputError) as refused:
        publish(folder, FULL[kind])
    said = str(refused.value)
    assert f"{folder} could not be saved: the disk" in said
    assert "MB are free. The checkpoint that was there before is untouched. Make room" in said
    assert content(folder) == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


@pytest.mark.parametrize("at", ["fsync", "rename"])
def test_a_disk_that_turns_out_full_only_when_data_are_synced_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "final"
    publish(folder, writes("first"))
    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync", full) if at == "fsync" else (Path, "replace", full)))
        with pytest.raises(InputError, match="could not be saved: the disk"):
            publish(folder, writes("second"))
    assert content(folder) == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_other_failures_keep_their_own_error(tmp_path: Path) -> None:
    for error in (OSError(errno.EIO, "Input/output error"), ValueError("a bug")):
        with pytest.raises(type(error), match=str(error.args[-1])):
            publish(tmp_path / "final", _raising(error))
    assert list(tmp_path.iterdir()) == []
