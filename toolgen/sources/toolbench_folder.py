"""Folders and files of ToolBench, StableToolBench and ToolGen as one import. Knows where they keep what; reading it is
the work of the neighbouring files.

What a path holds is found out by looking: tool files, instruction files, retrieval folders, ShareGPT files and answer
trees are recognised by place and form, in any combination.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from toolgen.agent.trajectory import Trajectory
from toolgen.errors import InputError
from toolgen.files import Line
from toolgen.queries import Query
from toolgen.sources.collection import ToolCollection
from toolgen.sources.reading import Advance, read_records, read_value
from toolgen.sources.remarks import Remark, Remarks
from toolgen.sources.sharegpt import Conversations, is_conversation
from toolgen.sources.toolbench import apis_of_file
from toolgen.sources.toolbench_answers import Answers
from toolgen.sources.toolbench_queries import CORPUS, is_query, read_instructions, read_retrieval, with_splits
from toolgen.tools import ToolCatalog

PASSED_OVER = Remark("noted", "JSON files with other records, passed over")
UNREAD = Remark("noted", "answer files not read, as no trajectories are asked for")

TOOL_FILES = ("toolenv/tools/*/*.json", "tools/*/*.json")
RECORD_FILES = tuple(
    f"{folder}*{suffix}"
    for folder in ("", "instruction/", "test_instruction/")
    for suffix in (".json", ".jsonl", ".json.gz", ".jsonl.gz")
)
RETRIEVAL_FOLDERS = (CORPUS, f"*/{CORPUS}", f"retrieval/*/{CORPUS}")
ANSWER_FILES = ("answer/**/*.json", "*_answer/*.json")

LOOKED_FOR = f"""\
tool files ({", ".join(TOOL_FILES)})
instruction files and ToolGen's ShareGPT files (*.json and *.jsonl, here, in instruction/ and in test_instruction/)
retrieval folders ({", ".join(RETRIEVAL_FOLDERS)})
answer trees ({", ".join(ANSWER_FILES)})"""


@dataclass(frozen=True, slots=True)
class Found:
    """The files that a path holds, by what their place says they are."""

    tools: tuple[Path, ...]
    records: tuple[Path, ...]
    retrieval: tuple[Path, ...]
    """Folders."""
    answers: tuple[Path, ...]

    def __str__(self) -> str:
        counts = ((self.tools, "tool"), (self.records, "record"), (self.answers, "answer"))
        files = ", ".join(f"{len(paths):,} {what} files" for paths, what in counts)
        return f"{files}, {len(self.retrieval):,} retrieval folders"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import gives.

    Attributes:
        catalog: The tools that were known before, then the new ones.
        queries: Labelled ones.
        trajectories: Empty when none were asked for.
        new_tools: How many tools were not known before.
        found: The files that were read.
        remarks: What was merged, renamed and left out.
    """

    catalog: ToolCatalog
    queries: list[Query]
    trajectories: list[Trajectory]
    new_tools: int
    found: Found
    remarks: Remarks


def import_toolbench(
    path: str | Path,
    known: ToolCatalog | None = None,
    *,
    trajectories: bool = True,
    branches: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Read all that a folder or file of ToolBench, StableToolBench or ToolGen holds.

    Args:
        path: Such as ToolBench's ``data``, StableToolBench's ``solvable_queries``, or a file of ToolGen's.
        known: Tools that keep their ids and places, for queries and trajectories that lie apart from them.
        trajectories: Whether to read answer trees and agents' conversations, which takes time and memory.
        branches: Whether to take the branches of answer trees that did not win, beside the one that did.
        progress: Told (done, total) in kilobytes.

    Raises:
        InputError: The path holds nothing of the kind, a file is broken, or no tool is described.

    Example:
        >>> import_toolbench("data").catalog["SQUAKE&&Projects"].group  # doctest: +SKIP
        'SQUAKE'
    """
    path = Path(path)
    found = find(path)
    advance = _advance(found, trajectories, progress)
    remarks = Remarks()
    tools = ToolCollection(known, remarks)
    for file in found.tools:
        for api in apis_of_file(read_value(file, advance), file, remarks):
            left_out = Remarks()
            tools.add(api.to_tool(left_out), left_out)
    conversations = Conversations(tools, remarks, trajectories=trajectories)
    queries, understood = _read_records(found.records, tools, conversations, remarks, advance)
    if not understood and not (found.tools or found.retrieval or found.answers):
        raise InputError(_nothing(path, remarks))
    for folder in found.retrieval:
        queries = with_splits(queries, read_retrieval(folder, tools, remarks, advance), remarks)
    queries += conversations.queries()
    if not len(tools):
        raise InputError(
            f"{path}: no tool is described here, only queries or calls that name tools. Put tool files or ToolGen's "
            "memorization file beside them, or give a catalogue that has the tools (--tools)."
        )
    catalog = tools.catalog()
    done = conversations.trajectories()
    if trajectories:
        answers = Answers(catalog, queries, remarks, branches=branches)
        for file in found.answers:
            done += answers.read(read_value(file, advance), _name(file, path), str(file))
    else:
        for file in found.answers:
            remarks.add(UNREAD, file.name)
    return Imported(catalog, _numbered(queries), _numbered(done), len(catalog) - len(known or ()), found, remarks)


def find(path: Path) -> Found:
    """Look for files of ToolBench's.

    Raises:
        InputError: There are none; the message lists what was looked for.
    """
    if path.is_file():
        is_corpus = path.name == CORPUS
        return Found((), () if is_corpus else (path,), (path.parent,) if is_corpus else (), ())
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder.")
    folders = tuple(corpus.parent for corpus in _matching(path, RETRIEVAL_FOLDERS))
    found = Found(
        tools=_matching(path, TOOL_FILES),
        records=_matching(path, RECORD_FILES),
        retrieval=folders,
        answers=_matching(path, ANSWER_FILES),
    )
    if not any((found.tools, found.records, found.retrieval, found.answers)):
        raise InputError(_nothing(path, Remarks()))
    return found


def _matching(path: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    found = dict.fromkeys(file for pattern in patterns for file in sorted(path.glob(pattern)))
    # The system's own files begin with a dot, such as those that macOS puts into every folder.
    return tuple(file for file in found if file.is_file() and not file.name.startswith("."))


def _nothing(path: Path, remarks: Remarks) -> str:
    passed_over = "".join(f"\nPassed over: {example}" for example in remarks.examples.get(PASSED_OVER, ()))
    return f"{path}: nothing of ToolBench's or ToolGen's was found. What was looked for:\n{LOOKED_FOR}{passed_over}"


def _read_records(
    files: Iterable[Path], tools: ToolCollection, conversations: Conversations, remarks: Remarks, advance: Advance
) -> tuple[list[Query], int]:
    """The queries of instruction files, and how many files were understood, ShareGPT files among them."""
    queries: list[Query] = []
    understood = 0
    for file in files:
        records = read_records(file, advance)
        first = next(records, None)
        if first is None:
            continue
        lines: Iterator[Line] = chain([first], records)
        name = file.name.partition(".")[0]
        if is_query(first.record):
            queries += read_instructions(lines, name, tools, remarks)
        elif is_conversation(first.record):
            for number, line in enumerate(lines, start=1):
                conversations.read(line, name, number)
        else:
            remarks.add(PASSED_OVER, f"{file.name} (keys {', '.join(list(first.record)[:5])})")
            continue
        understood += 1
    return queries, understood


def _name(file: Path, path: Path) -> str:
    """``answer/G1_answer/1_DFS.json`` -> ``G1_answer.1_DFS``."""
    parts = file.relative_to(path).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "answer" else parts)


Identified = TypeVar("Identified", Query, Trajectory)


def _numbered(found: list[Identified]) -> list[Identified]:
    """With ``#2``, ``#3`` ... where an id comes again, as when a file lies in two folders."""
    uses: Counter[str] = Counter()
    numbered = []
    for one in found:
        uses[one.id] += 1
        numbered.append(replace(one, id=f"{one.id}#{uses[one.id]}") if uses[one.id] > 1 else one)
    return numbered


def _advance(found: Found, trajectories: bool, progress: Callable[[int, int], None] | None) -> Advance:
    """A function that counts bytes and tells ``progress`` of kilobytes."""
    if progress is None:
        return lambda count: None
    files = [*found.tools, *found.records, *(file for folder in found.retrieval for file in folder.iterdir())]
    if trajectories:
        files += found.answers
    total = sum(file.stat().st_size for file in files if file.is_file())
    done = told = 0

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        # Small files by the ten thousand: the terminal need not hear of each.
        if done - told >= 1 << 18 or done >= total:
            told = done
            progress(done >> 10, total >> 10)

    return advance
