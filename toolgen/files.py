"""Reading and writing files safely: JSON lines (plain or gzip), atomic replacement, fingerprints.

Knows nothing of what the records mean.
"""

import errno
import gzip
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from toolgen.errors import DiskFullError, InputError


class Line(NamedTuple):
    """One record of a JSON-lines file."""

    record: dict[str, Any]
    where: str
    """``path:line``, for error messages."""


def slug(name: str) -> str:
    """A name as a file's name that every system takes: lower-case letters, digits and dashes, 100 at most."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:100] or fingerprint(name)


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[Line]:
    """Yield the records of a JSON-lines file; gzip is recognised by the suffix ``.gz``.

    Raises:
        InputError: The file is absent, is not UTF-8 text, or a line is not a JSON object of encodable text (file and
            line are named).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give the path of a JSON-lines file (.jsonl or .jsonl.gz).")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    position = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                    raise InputError(
                        f"{where}: not valid JSON ({getattr(error, 'msg', error)}{position}). "
                        "Each line must hold one JSON object; mend or remove the line."
                    ) from error
                if not isinstance(record, dict):
                    raise InputError(f"{where}: a JSON object is wanted, found {type(record).__name__}.")
                if "\\u" in line:
                    _check_surrogates(record, where)
                yield Line(record, where)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: unreadable after line {number} ({error}). Is it UTF-8 text, and whole?") from error


def _check_surrogates(record: Mapping[str, Any], where: str) -> None:
    # JSON can escape half of a surrogate pair, which no file and no tokenizer can hold.
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise InputError(
            f"{where}: the text holds {half!a}, half of a surrogate pair, which is no character (was a text cut in the "
            "middle of one?). Remove it."
        ) from error


def write_jsonl(path: str | os.PathLike[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Write records one a line, sorted keys, UTF-8; gzip by suffix. The file appears whole or not at all."""
    with replacing(path) as temporary:
        opener = gzip.open if str(path).endswith(".gz") else open
        with opener(temporary, "wt", encoding="utf-8") as out:
            for record in records:
                out.write(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        InputError: The file is absent or does not hold a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is wanted, found {type(value).__name__}.")
    return value


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write one JSON value, indented; the file appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success sync it and rename it onto ``path``.

    Raises:
        DiskFullError: There is no room; what ``path`` held before is untouched.
    """
    path = Path(path)
    try:
        with _replacing(path) as temporary:
            yield temporary
    except Exception as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"{path} could not be written: the disk, or your share of it, is full. Make room and try again."
            ) from error
        raise


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; what we publish follows the user's umask like any other file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def clear_unfinished(path: Path) -> None:
    """Remove what killed processes left of ``path`` while they wrote it. Only for files that one process writes."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or the user's share of it, has no room left."""
    numbers = [error.errno] if isinstance(error, OSError) else []
    # safetensors and tokenizers raise classes of their own, which carry the number in their text only.
    numbers += [int(number) for number in re.findall(r"\(os error (\d+)\)", str(error))]
    return isinstance(error, DiskFullError) or bool({errno.ENOSPC, errno.EDQUOT}.intersection(numbers))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def fingerprint(value: Any) -> str:
    """Hash of a JSON-serialisable value, independent of the order of keys: 16 hex digits of SHA-256."""
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]
