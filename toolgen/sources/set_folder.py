"""Sets of two files of JSON lines in one folder: tools, and records of what is done with them. Knows where they lie and
what tools are, but not what the records hold."""

from dataclasses import dataclass, replace
from pathlib import Path

from toolgen.agent.trajectory import Trajectory
from toolgen.errors import InputError
from toolgen.sources.remarks import Remark, Remarks
from toolgen.tools import Tool, ToolCatalog

KNOWN_TOOL = Remark("merged", "tools that the given catalogue has, as it has them")

_SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class ImportedSet:
    """What an import gives.

    Attributes:
        catalog: The tools that were known before, then the new ones.
        trajectories: In the order of the records.
        new_tools: How many tools were not known before.
        remarks: What was merged, added and left out; of what was left out every id is an example.
    """

    catalog: ToolCatalog
    trajectories: list[Trajectory]
    new_tools: int
    remarks: Remarks


def find_records(folder: Path, name: str) -> Path:
    """The file ``name.jsonl`` of a folder, or ``name.jsonl.gz``.

    Raises:
        InputError: There is neither.
    """
    if (found := _file(folder, name)) is None:
        wanted = " or ".join(f"{name}{suffix}" for suffix in _SUFFIXES)
        raise InputError(
            f"{folder}: a folder with {wanted} is wanted, and there is none. Give the folder that holds it."
        )
    return found


def read_tools(folder: Path, known: ToolCatalog | None, source: str, remarks: Remarks) -> dict[str, Tool]:
    """The tools that are known, then those of the folder's ``tools.jsonl`` or ``tools.jsonl.gz``.

    Args:
        folder: Need not hold tools when some are known.
        known: Tools that keep their ids, places and content.
        source: Of tools that name none.
        remarks: Which tools were known.

    Raises:
        InputError: There are no tools, or their file is broken.
    """
    tools: dict[str, Tool] = dict(known or {})
    file = _file(folder, "tools")
    if file is None:
        if not tools:
            raise InputError(
                f"{folder}: no tools.jsonl or tools.jsonl.gz. Put it there, or give a catalogue (--tools)."
            )
        return tools
    for tool in ToolCatalog.from_jsonl(file).values():
        if tool.id in tools:
            remarks.add(KNOWN_TOOL, tool.id)
        else:
            tools[tool.id] = replace(tool, source=tool.source or source)
    return tools


def _file(folder: Path, name: str) -> Path | None:
    return next((path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
