"""Strangers' files: one JSON value, records in a JSON list or JSON lines, rows between tabs. Knows no tools.

Half of a surrogate pair, which JSON can escape and no text can hold, is read as U+FFFD; ``NaN`` and ``Infinity``, which
JSON lacks, as their names. gzip is recognised by the suffix ``.gz``.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from toolgen.errors import InputError
from toolgen.files import Line

Advance = Callable[[int], None]
"""Told how many more bytes of a file have been read."""

_CHUNK = 1 << 20
"""Characters that are read at once."""

_LONGEST = 1 << 26
"""Characters of a record at most: what is no record by then is broken."""

_LONGEST_CELL = 1 << 30

_BETWEEN = re.compile(r"[\s,\[\]]*")
"""What may stand around the records of a list, or between lines."""

_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder(parse_constant=str)


class Row(NamedTuple):
    """One row of a file of tab-separated values."""

    cells: tuple[str, ...]
    where: str
    """``path:line``, for error messages."""


def parse(content: str, where: str) -> Any:
    """The one JSON value of a text.

    Raises:
        InputError: It is not JSON; ``where`` opens the message.
    """
    try:
        return _whole(_DECODER.decode(content), content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}). Mend or remove it.") from error


def read_value(path: Path, advance: Advance) -> Any:
    """Read the one JSON value of a file.

    Raises:
        InputError: The file is unreadable or not JSON.
    """
    with _opened(path, advance) as text:
        content = text.rest()
    return parse(content, str(path))


def read_records(path: Path, advance: Advance) -> Iterator[Line]:
    """Yield the objects of a JSON list, or of a file with one JSON object after the other, such as JSON lines.

    The file is never in memory as a whole.

    Raises:
        InputError: The file is unreadable, ends within its list, or a record is not a JSON object.
    """
    with _opened(path, advance) as text:
        number, opened, closed = 0, False, False
        while True:
            between = text.skip(_BETWEEN)
            opened, closed = opened or "[" in between, closed or "]" in between
            if text.at_end():
                if not text.more():
                    break
                continue
            number += 1
            where = f"{path}, record {number:,}"
            value = text.value(where)
            if not isinstance(value, dict):
                raise InputError(f"{where}: a JSON object is wanted, found {type(value).__name__}.")
            yield Line(value, where)
        if opened and not closed:
            raise InputError(f"{path}: the list ends after record {number:,} without a ']'. Is the file whole?")


def read_rows(path: Path, columns: int, advance: Advance) -> Iterator[Row]:
    """Yield the rows of a file of tab-separated values; a cell with tabs or line ends stands in double quotes.

    Raises:
        InputError: The file is unreadable, or a row has another number of cells than ``columns``.
    """
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        with _opened(path, advance) as text:
            rows = csv.reader(text.lines(), delimiter="\t", strict=True)
            try:
                for cells in filter(None, rows):
                    where = f"{path}:{rows.line_num:,}"
                    if len(cells) != columns:
                        raise InputError(f"{where}: {columns} cells between tabs are wanted, found {len(cells)}.")
                    yield Row(tuple(cells), where)
            except csv.Error as error:
                raise InputError(f"{path}:{rows.line_num:,}: no row of tab-separated values ({error}).") from error
    finally:
        csv.field_size_limit(before)


def _whole(value: Any, source: str, start: int = 0, end: int | None = None) -> Any:
    """``value`` without halves of surrogate pairs; ``source`` is the JSON that it was read from."""
    if not _HALF_PAIR.search(source, start, len(source) if end is None else end):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


class _Text:
    """A text file, read piece by piece."""

    def __init__(self, raw: io.BufferedReader, stream: io.TextIOWrapper, advance: Advance) -> None:
        self._raw, self._stream, self._advance = raw, stream, advance
        self._told = 0
        self._buffer, self._position = "", 0

    def more(self) -> bool:
        """Read on, at least as much as is at hand; False at the end of the file."""
        self._buffer = self._buffer[self._position :]
        self._position = 0
        piece = self._stream.read(max(_CHUNK, len(self._buffer)))
        self._buffer += piece
        self._tell()
        return bool(piece)

    def at_end(self) -> bool:
        """Whether all that was read so far is used up."""
        return self._position == len(self._buffer)

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Pass over and return what matches, of what was read so far."""
        found = pattern.match(self._buffer, self._position)
        assert found is not None, "the pattern matches nothing too"
        self._position = found.end()
        return found.group()

    def value(self, where: str) -> Any:
        """The JSON value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._position)
                value = _whole(value, self._buffer, self._position, end)
            except (ValueError, RecursionError) as error:
                # A value that the piece at hand cuts off is as invalid as a broken one.
                deep = isinstance(error, RecursionError)
                if not deep and len(self._buffer) - self._position < _LONGEST and self.more():
                    continue
                raise InputError(f"{where}: not valid JSON ({error}). Mend or remove the record.") from error
            self._position = end
            return value

    def rest(self) -> str:
        """All that is left."""
        content = self._buffer[self._position :] + self._stream.read()
        self._tell()
        return content

    def lines(self) -> Iterator[str]:
        """All lines, with their ends."""
        for line in self._stream:
            self._tell()
            yield line

    def _tell(self) -> None:
        position = self._raw.tell()
        self._advance(position - self._told)
        self._told = position


@contextmanager
def _opened(path: Path, advance: Advance) -> Iterator[_Text]:
    try:
        with path.open("rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            yield _Text(raw, io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), advance)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: unreadable ({error}). Is it UTF-8 text, and whole?") from error
