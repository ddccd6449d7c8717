"""General text, to be replayed in training and to measure what a model still knows. Knows no tools and no models.

A source is one of

- ``packages``: the docstrings of packages that toolgen requires and of Python's standard library. They are read from
  the files, nothing is imported or run, and no network is asked. Some 30 million characters of English, formulas and
  examples in code. botocore's text is left out: the tools of the quickstart are made of it, and a tool's document is
  not what a model knew before it learned tools.
- a file of plain text (``.txt``, documents parted by blank lines) or JSON lines (``.jsonl``, field ``text``); either
  may end in ``.gz``.
- ``hub:NAME:SPLIT:COLUMN`` or ``hub:NAME:CONFIG:SPLIT:COLUMN``: a data set of the Hugging Face hub, or of a folder. The
  split may be a part, such as ``train[:10000]``.

Whatever the source, equal documents count once and short ones are left out. A document's own hash says to which part it
belongs and where it stands in it: no document is in two parts, none changes its part when others come and go, and the
first so many characters are a fair sample of all. Of the held-out documents, those that repeat lines of the training
part are left out: documentation is copied from function to function, and to know a copy by heart is no ability.
"""

import ast
import gzip
import hashlib
import re
import sys
import sysconfig
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Literal

from toolgen.embeddings import Progress, cache_folder
from toolgen.errors import InputError, MissingPackageError
from toolgen.files import fingerprint, read_jsonl, write_jsonl

PACKAGES_SOURCE = "packages"
"""Name of the source that needs no file."""

PACKAGES: Mapping[str, str] = {
    name: name
    for name in (
        "accelerate", "datasets", "huggingface_hub", "matplotlib", "networkx", "numpy", "pandas", "scipy",
        "sentence_transformers", "sympy", "torch", "transformers",
    )
} | {"sklearn": "scikit-learn"}  # fmt: skip
"""Packages whose docstrings people wrote, import name -> name on the package index. Generated ones (plotly's) would be
guessed from each other."""

SHORTEST = 200
"""Characters: shorter documents say little that their predecessors in a window could help to guess."""

HELD_OUT_ONE_IN = 20

MOST_REPEATED = 0.2
"""Share of a held-out document's text that may stand in the training part too, line by line."""

_TELLING = 40
"""Characters: shorter lines, such as headings, are the same in many documents that have nothing else in common."""

Part = Literal["train", "held-out"]

_KEPT_FORMAT = 1
"""Raise it when the same packages yield other documents."""

_SKIPPED_FOLDERS = {"test", "tests", "site-packages", "dist-packages"}

_HUB = re.compile(
    r"hub:(?P<name>[^:]+):(?:(?P<config>[^:\[\]]+):)?(?P<split>[^:\[\]]+(?:\[[^\[\]]*\])?):(?P<column>[^:]+)"
)


@dataclass(frozen=True)
class Corpus:
    """Documents of general text.

    Attributes:
        name: Source and part, such as ``"packages/held-out"``.
        documents: Distinct, in a fixed order that is as good as random.
    """

    name: str
    documents: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the documents in their order."""
        return fingerprint(self.documents)


def load_corpus(
    source: str, part: Part, most_characters: int | None = None, *, progress: Progress | None = None
) -> Corpus:
    """Read one part of a source.

    Args:
        source: ``"packages"``, a file, or ``hub:...``; see the file's head.
        part: ``"held-out"``, of one document in twenty those that repeat nothing, or ``"train"``, of the others all.
        most_characters: Read no more; the last document is cut. None: all.
        progress: Told how many files of the packages are read; not called when their text is found on disk.

    Raises:
        InputError: There is no such source, it cannot be read, or it holds no text for this part.
        MissingPackageError: One of the packages is not installed.
    """
    if most_characters is not None and most_characters < 1:
        raise InputError(f"most_characters is {most_characters}. Give at least 1, or None for all.")
    documents = _distinct(_read(source, progress))
    if not documents:
        raise InputError(f"{source}: no document of {SHORTEST} characters or more. Give longer documents.")
    train = [text for digest, text in sorted(documents.items()) if not _held_out(digest)]
    held_out = [text for digest, text in sorted(documents.items()) if _held_out(digest)]
    in_part = train if part == "train" else _without_copies(held_out, train)
    if not in_part:
        raise InputError(
            f"{source}: none of its {len(documents)} documents is left for the part '{part}' (one in {HELD_OUT_ONE_IN} "
            "is held out, if it does not repeat the others). Give a source of more documents."
        )
    # The folder of a file says nothing about the text, and reports travel.
    name = source if source == PACKAGES_SOURCE or source.startswith("hub:") else Path(source).name
    return Corpus(f"{name}/{part}", tuple(first_characters(in_part, most_characters)))


def _distinct(texts: Iterable[str]) -> dict[str, str]:
    """Digest -> document, of all that are long enough."""
    stripped = (text.strip() for text in texts)
    return {hashlib.sha256(text.encode("utf-8")).hexdigest(): text for text in stripped if len(text) >= SHORTEST}


def _held_out(digest: str) -> bool:
    # Not its first digits: by these the documents are sorted.
    return int(digest[-8:], 16) % HELD_OUT_ONE_IN == 0


def _without_copies(held_out: Iterable[str], train: Iterable[str]) -> list[str]:
    known = {line for text in train for line in _telling_lines(text)}

    def is_new(text: str) -> bool:
        lines = _telling_lines(text)
        return sum(len(line) for line in lines if line in known) <= MOST_REPEATED * sum(map(len, lines))

    return [text for text in held_out if is_new(text)]


def _telling_lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if len(line) >= _TELLING]


def first_characters(documents: Iterable[str], most_characters: int | None) -> Iterator[str]:
    """Documents until they have so many characters, the last one cut; None: all."""
    room = sys.maxsize if most_characters is None else most_characters
    for text in documents:
        yield text[:room]
        room -= len(text)
        if room <= 0:
            return


def _read(source: str, progress: Progress | None) -> Iterable[str]:
    if source == PACKAGES_SOURCE:
        return _read_packages(progress)
    if source.startswith("hub:"):
        return _read_hub(source)
    path = Path(source)
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in (".txt", ".jsonl"):
        raise InputError(
            f"Unknown source of text {source!r}. Give '{PACKAGES_SOURCE}', a file that ends in .txt, .jsonl, .txt.gz "
            "or .jsonl.gz, or hub:NAME[:CONFIG]:SPLIT:COLUMN."
        )
    return _read_txt(path) if kind == ".txt" else _read_texts(path)


def _read_txt(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give the path of a text, documents parted by blank lines.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            return re.split(r"\n\s*\n", file.read())
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: unreadable ({error}). Is it UTF-8 text, and whole?") from error


def _read_texts(path: Path) -> Iterator[str]:
    for line in read_jsonl(path):
        text = line.record.get("text")
        if not isinstance(text, str):
            raise InputError(f"{line.where}: a string 'text' is wanted, found {type(text).__name__}.")
        yield text


def _read_hub(source: str) -> Iterator[str]:
    import datasets

    parts = _HUB.fullmatch(source)
    if parts is None:
        raise InputError(
            f"{source!r} names no data set. Give hub:NAME:SPLIT:COLUMN or hub:NAME:CONFIG:SPLIT:COLUMN, such as "
            "hub:Salesforce/wikitext:wikitext-2-raw-v1:test:text."
        )
    try:
        rows = datasets.load_dataset(parts["name"], parts["config"], split=parts["split"])
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise InputError(
            f"{source}: the data set could not be loaded ({shorten(str(error), 240, placeholder=' ...')}). Check name, "
            "configuration and split; the hub needs a connection, and for some data sets `hf auth login`."
        ) from error
    if parts["column"] not in rows.column_names:
        raise InputError(f"{source}: no column '{parts['column']}'. There are: {', '.join(rows.column_names)}.")
    for number, text in enumerate(rows[parts["column"]]):
        if not isinstance(text, str):
            raise InputError(f"{source}: row {number} holds a {type(text).__name__}, and texts are wanted.")
        yield text


def _read_packages(progress: Progress | None) -> Iterable[str]:
    """Docstrings of all packages; parsing takes a minute, so they are kept on disk."""
    roots = [_package_folder(name, on_index) for name, on_index in PACKAGES.items()]
    versions = {name: metadata.version(on_index) for name, on_index in PACKAGES.items()}
    # Builds of one Python version differ in what they carry; sys.version names the build.
    key = fingerprint([_KEPT_FORMAT, SHORTEST, sys.version, versions])
    path = cache_folder() / "corpus" / f"{key}.jsonl.gz"
    # Absent or damaged, it is made again.
    with suppress(InputError, OSError):
        return list(_read_texts(path))
    roots.append(Path(sysconfig.get_path("stdlib")))
    texts = list(dict.fromkeys(_docstrings_below(roots, progress)))
    try:
        write_jsonl(path, ({"text": text} for text in texts))
    except OSError as error:
        warnings.warn(
            f"The text of the packages could not be kept for the next time in {path.parent} ({error.strerror}). Set "
            "TOOLGEN_CACHE to a folder that can be written.",
            stacklevel=2,
        )
    return texts


def _package_folder(name: str, on_index: str) -> Path:
    # Of a package without a dot, this imports nothing.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            f"The text of the source '{PACKAGES_SOURCE}' needs the package '{name}', which is not installed. Install "
            f"it: pip install {on_index}"
        )
    return Path(spec.origin).parent


def _docstrings_below(roots: Iterable[Path], progress: Progress | None) -> Iterator[str]:
    paths = [
        path
        for root in roots
        for path in sorted(root.rglob("*.py"))
        if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts)
    ]
    for done, path in enumerate(paths, start=1):
        yield from docstrings(path.read_bytes())
        if progress is not None:
            progress(done, len(paths))


def docstrings(source: bytes) -> Iterator[str]:
    """Docstrings of a Python file, of ``SHORTEST`` characters or more and without their indentation, in no
    order.

    Those of functions inside functions are left out. A file that this Python cannot parse has none.
    """
    try:
        with warnings.catch_warnings():
            # Strangers' invalid escapes are not ours to mend.
            warnings.simplefilter("ignore")
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    todo: list[ast.stmt | ast.Module] = [module]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if len(text) >= SHORTEST and _is_encodable(text):
                yield text
        if isinstance(node, ast.Module | ast.ClassDef | ast.If | ast.Try):
            todo += node.body
        if isinstance(node, ast.If | ast.Try):
            todo += node.orelse


def _is_encodable(text: str) -> bool:
    """Whether a text is free of halves of surrogate pairs, which Python can escape and no tokenizer can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
