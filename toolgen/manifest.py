"""A folder's manifest: the size and SHA-256 of every file in it, written last. Knows nothing of what the files are.

A folder with a manifest was written to its end and reached the disk; one whose files agree with it is still as it was
written. The digests guard against accidents (a torn copy, a failing disk), not against someone who rewrites both.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from toolgen.errors import InputError
from toolgen.files import read_json, write_json

MANIFEST = "manifest.json"
FORMAT = 1

_READERS = 4
"""Files read at once. Hashing leaves Python's lock alone, and the shards of a large model are many."""

_CURE = "Copy the folder again from where it was written, or take another checkpoint."


@dataclass(frozen=True)
class Entry:
    """What a manifest says of one file: its size in bytes and the SHA-256 of its content in hexadecimal."""

    size: int
    sha256: str


def seal(folder: Path) -> None:
    """Write the manifest of a folder that is complete, and see that all of it is on the disk.

    When this returns, neither a killed process nor a power failure takes a file of the folder away; only the folder's
    own name still depends on its parent (``sync_folder``).

    Raises:
        OSError: The disk is full or failing.
    """
    # A manifest from before must not vouch for files that have changed since.
    (folder / MANIFEST).unlink(missing_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    with ThreadPoolExecutor(_READERS) as readers:
        entries = list(readers.map(_entry, paths))
    files = {name: asdict(entry) for name, entry in zip(names, entries, strict=True)}
    write_json(folder / MANIFEST, {"format": FORMAT, "files": files})
    for inner, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(inner))


def verify(folder: Path, *, digests: bool) -> None:
    """Check that a folder holds all that its manifest lists, as it was written. Further files are no error.

    Args:
        folder: Sealed by ``seal``, or a copy of such a folder.
        digests: Also read every file and compare its SHA-256; without it sizes alone are compared, which costs nothing
            and finds files that are missing or cut.

    Raises:
        InputError: There is no manifest, it cannot be read, or a file is missing or differs from it.
    """
    entries = _read(folder)
    for name, entry in entries.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder}: the file {name!r}, which {MANIFEST} lists, is missing. {_CURE}")
        if (size := (folder / name).stat().st_size) != entry.size:
            raise InputError(
                f"{folder}: the file {name!r} has {size:,} bytes, {MANIFEST} says {entry.size:,}: it was cut or "
                f"changed. {_CURE}"
            )
    if not digests:
        return
    with ThreadPoolExecutor(_READERS) as readers:
        for name, found in zip(entries, readers.map(_digest, (folder / name for name in entries)), strict=True):
            if found != entries[name].sha256:
                raise InputError(
                    f"{folder}: the content of {name!r} has changed since it was written (its SHA-256 is "
                    f"{found[:12]}..., {MANIFEST} says {entries[name].sha256[:12]}...). {_CURE}"
                )


def sync_folder(folder: Path) -> None:
    """See that the names in a folder, such as one that was just renamed, are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder; they keep its names by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _entry(path: Path) -> Entry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return Entry(os.fstat(file.fileno()).st_size, digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path) -> dict[str, Entry]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: holds no {MANIFEST}, which is written last: it is unfinished, incompletely copied, or no "
            "checkpoint of this version. Take another checkpoint, or train again."
        )
    record = read_json(path)
    if record.get("format") != FORMAT:
        raise InputError(f"{path}: format {record.get('format')!r}; this version reads {FORMAT}.")
    files = record.get("files")
    if not isinstance(files, dict):
        raise InputError(f"{path}: lacks the list of files. {_CURE}")
    return dict(_checked(path, files.items()))


def _checked(path: Path, items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Entry]]:
    for name, value in items:
        # A manifest may come from anyone: nothing outside its own folder is looked at.
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path}: lists {name!r}, which lies outside the folder. {_CURE}")
        match value:
            case {"size": int(size), "sha256": str(sha256)}:
                yield name, Entry(size, sha256)
            case _:
                raise InputError(f"{path}: lacks the size or the SHA-256 of {name!r}. {_CURE}")
