"""API-Bank: dialogues of users, an assistant and the calls between them, as trajectories. Knows how dialogues are
written.

A dialogue is one line of ``dialogues.jsonl``::

    {"id": "AddAlarm-level-1-1", "level": "level-1-given-desc", "turns": [
        {"role": "User", "text": "Wake me at six."},
        {"role": "AI", "text": "One moment."},
        {"role": "API", "api_name": "AddAlarm", "param_dict": {"time": "06:00"},
         "result": {"api_name": "AddAlarm", "input": {"time": "06:00"}, "output": "success", "exception": null}},
        {"role": "AI", "text": "Done."}]}

It becomes one trajectory, from which every turn can be built again. The first turn is the query. What the assistant
says right before a call is the call's thought, what it says at the end is the answer, and all else that is said between
is a message. What came back is the output as JSON, which is what the assistant saw, or the exception, if there is one.
The rest of each result is in ``metadata["results"]``, one for each call: API-Bank writes there once more what went in,
at times with other types than the call has, and the output where an exception stands in its place.

The schemas of its tools are empty. A tool's parameters stand in ``parameters_text``, such as ``(token: str, time:
datetime)``, and what they mean in ``api_info``, which is written in Python.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import Message, Step, Trajectory
from toolgen.errors import InputError
from toolgen.files import Line
from toolgen.sources.reading import read_records
from toolgen.sources.remarks import Remark, Remarks
from toolgen.sources.set_folder import ImportedSet, find_records, read_tools
from toolgen.tools import Tool, ToolCatalog

CALLED_TOOL = Remark("noted", "tools that are called and that no file describes, taken over with their names alone")
EMPTY_DIALOGUE = Remark("dropped", "dialogues without a turn")
UNASKED_DIALOGUE = Remark("dropped", "dialogues that no user begins")

SOURCE = "apibank"

_TYPES: Mapping[str, Mapping[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "List[str]": {"type": "array", "items": {"type": "string"}},
    # A time is a text in JSON.
    "datetime": {"type": "string", "x-type": "datetime"},
}
_PARAMETER = re.compile(r"(\w+): ([\w\[\]]+)")
_MEANINGS = re.compile(r"^input_parameters = (\{.*?^\})", re.DOTALL | re.MULTILINE)

_KEYS = {"User": {"role", "text"}, "AI": {"role", "text"}, "API": {"role", "api_name", "param_dict", "result"}}


def import_apibank(path: str | Path, known: ToolCatalog | None = None) -> ImportedSet:
    """Read API-Bank's dialogues.

    Args:
        path: Folder with ``dialogues.jsonl`` and ``tools.jsonl``, plain or gzip.
        known: Tools that keep their ids and places; with them the folder may lack its own.

    Raises:
        InputError: A file is absent or broken, an id is used twice, or no dialogue can be used.

    Example:
        >>> import_apibank("apibank").trajectories[0].calls[0].tool  # doctest: +SKIP
        'GetUserToken'
    """
    folder = Path(path)
    file = find_records(folder, "dialogues")
    remarks = Remarks()
    tools = {
        name: tool if known and name in known else _declared(tool)
        for name, tool in read_tools(folder, known, SOURCE, remarks).items()
    }
    trajectories: dict[str, Trajectory] = {}
    for line in read_records(file, lambda count: None):
        trajectory = _trajectory(line, remarks)
        if trajectory is None:
            continue
        if trajectory.id in trajectories:
            raise InputError(f"{line.where}: duplicate dialogue id {trajectory.id!r}. Ids must be unique.")
        trajectories[trajectory.id] = trajectory
        for call in trajectory.calls:
            if call.tool not in tools:
                remarks.add(CALLED_TOOL, call.tool)
                tools[call.tool] = Tool(call.tool, call.tool, source=SOURCE)
    if not trajectories:
        raise InputError(f"{file}: no dialogue with turns. At least one is needed.")
    catalog = ToolCatalog(tools.values())
    return ImportedSet(catalog, list(trajectories.values()), len(catalog) - len(known or ()), remarks)


def _declared(tool: Tool) -> Tool:
    """A tool with its parameters in its schema; as it is where it says them in no way that is known.

    What ``parameters_text`` names is all that there is: ``api_info`` at times leaves out a token. A type that JSON
    Schema lacks stays as ``x-type``, and what is required is what is called so.
    """
    text = tool.metadata.get("parameters_text")
    if not isinstance(text, str) or (tool.parameters or {}).get("properties"):
        return tool
    named = [_PARAMETER.fullmatch(part) for part in text.removeprefix("(").removesuffix(")").split(", ")]
    meanings = _meanings(tool.metadata.get("api_info"))
    properties: dict[str, dict[str, Any]] = {}
    required: list[str] = []
    for match in named:
        if match is None:
            return tool
        name, kind = match.groups()
        meaning = meanings.get(name)
        said = meaning if isinstance(meaning, dict) else {}
        described = {"description": said["description"]} if isinstance(said.get("description"), str) else {}
        properties[name] = {**_TYPES.get(kind, {"x-type": kind}), **described}
        if said.get("required") is True:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return replace(tool, parameters=schema | ({"required": required} if required else {}))


def _meanings(text: Any) -> Mapping[Any, Any]:
    """What ``api_info`` says of each parameter; nothing where it is written otherwise."""
    found = _MEANINGS.search(text) if isinstance(text, str) else None
    try:
        # Literals alone are read; nothing is run.
        meanings = ast.literal_eval(found[1]) if found is not None else {}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return meanings if isinstance(meanings, dict) else {}


def _trajectory(line: Line, remarks: Remarks) -> Trajectory | None:
    record, where = line
    name, turns = record.get("id"), record.get("turns")
    if not isinstance(name, str) or not isinstance(turns, list):
        raise InputError(f"{where}: a dialogue needs 'id', a string, and 'turns', a list; found {', '.join(record)}.")
    for number, turn in enumerate(turns, start=1):
        _check(turn, f"{where}: turn {number} of dialogue {name!r}")
    if not turns or turns[0]["role"] != "User":
        remarks.add(UNASKED_DIALOGUE if turns else EMPTY_DIALOGUE, name)
        return None
    steps, answer = _steps(turns[1:])
    results = [_rest(turn["result"]) for turn in turns if turn["role"] == "API"]
    more = {key: value for key, value in record.items() if key not in ("id", "turns")}
    return Trajectory(
        id=name,
        query=turns[0]["text"],
        steps=tuple(steps),
        ended="unfinished" if answer is None else "answer",
        answer=answer,
        metadata=more | ({"results": results} if results else {}),
    )


def _steps(turns: list[Mapping[str, Any]]) -> tuple[list[Step | Message], str | None]:
    """The steps of the turns after the first, and what the assistant says last, if it has the last word."""
    steps: list[Step | Message] = []
    said: str | None = None  # by the assistant, in the turn before
    for turn in turns:
        # An empty text is a message even before a call: an empty thought says that there was no turn.
        if said is not None and (turn["role"] != "API" or not said):
            steps.append(Message("assistant", said))
            said = None
        if turn["role"] == "AI":
            said = turn["text"]
        elif turn["role"] == "User":
            steps.append(Message("user", turn["text"]))
        else:
            steps.append(_call(turn, said or ""))
            said = None
    return steps, said


def _call(turn: Mapping[str, Any], thought: str) -> Step:
    result = turn["result"]
    failed = result["exception"] is not None
    observation = json.dumps(result["exception" if failed else "output"], ensure_ascii=False)
    status = Status.FAILED if failed else Status.OK
    return Step(turn["api_name"], turn["param_dict"], observation, thought, status)


def _rest(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says beside its output; all that it says when what was seen is its exception."""
    return {key: value for key, value in result.items() if key != "output" or result["exception"] is not None}


def _check(turn: Any, where: str) -> None:
    role = turn.get("role") if isinstance(turn, dict) else None
    if role not in _KEYS or set(turn) != _KEYS[role]:
        forms = "; ".join(f"{role}: {', '.join(sorted(keys))}" for role, keys in _KEYS.items())
        raise InputError(f"{where} must be an object with the keys of its role ({forms}), found {turn!r:.200}.")
    if role != "API":
        if not isinstance(turn["text"], str):
            raise InputError(f"{where}: 'text' must be a string, found {turn['text']!r:.200}.")
        return
    result = turn["result"]
    if not isinstance(turn["api_name"], str) or not isinstance(turn["param_dict"], dict):
        raise InputError(f"{where}: 'api_name' must be a string and 'param_dict' an object, found {turn!r:.200}.")
    if not isinstance(result, dict) or not {"output", "exception"} <= set(result):
        raise InputError(f"{where}: 'result' must be an object with 'output' and 'exception', found {result!r:.200}.")
