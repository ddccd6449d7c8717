"""ToolGen's ShareGPT files: tools from memorization pairs, queries from retrieval pairs, trajectories from agent
conversations. Knows what ToolGen writes into messages, but no folders.

A record is ``{"conversations": [{"role": "user", "content": ..., "loss": false}, {"role": "assistant", ...}]}``. The
answer of a pair is a code ``<<tool&&api>>``; what stands between its brackets is the tool's id. Pairs may come in any
order, so queries and trajectories are taken out of a ``Conversations`` when all files are read.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from toolgen.agent.trajectory import Trajectory
from toolgen.errors import InputError
from toolgen.files import Line
from toolgen.queries import Query
from toolgen.sources.collection import ToolCollection
from toolgen.sources.episodes import BrokenCallError, Episode, Longest, call_status
from toolgen.sources.remarks import Remark, Remarks
from toolgen.sources.toolbench import SOURCE, block, joined
from toolgen.tools import Tool

MERGED_DOCUMENT = Remark("merged", "memorization pairs of a tool that has a document")
MIXED_DOCUMENT = Remark("dropped", "memorization pairs whose parts cannot be told apart")
MERGED_ROWS = Remark("merged", "retrieval pairs of a query that came before")
UNKNOWN_CODE = Remark("dropped", "queries with the code of a tool that no file describes")
MERGED_CONVERSATION = Remark("merged", "conversations that begin or repeat another one")
STRANGE_CONVERSATION = Remark("dropped", "conversations that are neither a pair nor an agent's turns")
BROKEN_CALL = Remark("dropped", "trajectories with arguments that are no JSON object")
UNKNOWN_CALL = Remark("dropped", "trajectories that call a tool which no file describes")

_CODE = re.compile(r"<<(.+)>>", re.DOTALL)
_TOOL, _ABOUT_TOOL, _API, _ABOUT_API = "Tool Name: ", ". Tool Description: ", " Api Name: ", " Api Description: "
_ABSENT = frozenset(("None", "None."))
"""What ToolGen writes for a description that is not there."""

_REQUESTS = frozenset(("Generate the action.", "Please generate the action."))
_DOCUMENT = "Please give the input."
_BEGIN = re.compile(r"\s*\bBegin!\s*$")


class Message(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


class Document(NamedTuple):
    """What a memorization pair says of a tool."""

    tool: str
    about_tool: str
    api: str
    about_api: str


def is_conversation(record: dict[str, Any]) -> bool:
    """Whether a record has the form of ToolGen's; ToolLLaMA's have other keys."""
    messages = record.get("conversations")
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]


class Conversations:
    """Reads records, and gives queries and trajectories when all tools are known."""

    def __init__(self, tools: ToolCollection, remarks: Remarks, *, trajectories: bool = True) -> None:
        """
        Args:
            tools: Where tools are added.
            remarks: What is merged and left out.
            trajectories: Whether to keep agents' turns, which take memory.
        """
        self._tools, self._remarks, self._wanted = tools, remarks, trajectories
        self._ids: dict[str, str] = {}
        self._pairs: dict[str, _Asked] = {}
        self._longest = Longest()

    def read(self, line: Line, name: str, number: int) -> None:
        """Take over record ``number`` of the file ``name``.

        Raises:
            InputError: The record is broken.
        """
        messages = [message for message in _messages(line) if message.role != "system"]
        origin = f"{name}.{number}"
        if len(messages) == 2 and (code := _code(messages[1])):
            asked = messages[0].content
            if is_document(asked):
                self._memorize(asked, code, line.where)
            else:
                self._ask(asked.strip(), code, name, origin)
        elif len(messages) > 2 and messages[0].role == "user" and any(map(_code, messages)):
            if self._wanted:
                self._act(messages, name, origin, line.where)
        else:
            self._remarks.add(STRANGE_CONVERSATION, line.where)

    def queries(self) -> list[Query]:
        """One query a text, with all its tools; without those of which a tool is unknown."""
        found: list[Query] = []
        for text, asked in self._pairs.items():
            ids = [self._id(code) for code in asked.codes]
            if None in ids:
                self._remarks.add(UNKNOWN_CODE, f"{asked.origin}: {asked.codes[ids.index(None)]}")
            else:
                known = tuple(dict.fromkeys(tool for tool in ids if tool is not None))
                found.append(Query(asked.origin, text, known, metadata={"type": asked.name}))
        return found

    def trajectories(self) -> list[Trajectory]:
        """The longest of those that begin alike; without those that call an unknown tool."""
        found: list[Trajectory] = []
        for trajectory in self._longest.all():
            steps = []
            for step in trajectory.calls:
                if (tool := self._id(step.tool)) is None:
                    self._remarks.add(UNKNOWN_CALL, f"{trajectory.id}: {step.tool}")
                    break
                steps.append(replace(step, tool=tool))
            else:
                found.append(replace(trajectory, steps=tuple(steps)))
        return found

    def _id(self, code: str) -> str | None:
        return code if code in self._tools else self._ids.get(code)

    def _memorize(self, text: str, code: str, where: str) -> None:
        if self._id(code) is not None:
            self._remarks.add(MERGED_DOCUMENT, f"{where}: {code}")
            return
        document = parse_document(text, code)
        if document is None or not document.api.strip():
            self._remarks.add(MIXED_DOCUMENT, f"{where}: {code}")
            return
        about_tool, about_api = ("" if part.strip() in _ABSENT else block(part) for part in (document[1], document[3]))
        metadata = {"tool_description": about_tool} if about_tool else {}
        description = joined(about_api, about_tool)
        tool = Tool(code, document.api, description, group=document.tool or None, source=SOURCE, metadata=metadata)
        # A tool file may write the names in letters that the code spells in others.
        self._ids[code] = self._tools.add(tool)

    def _ask(self, text: str, code: str, name: str, origin: str) -> None:
        asked = self._pairs.get(text)
        if asked is None:
            self._pairs[text] = _Asked(origin, name, [code])
            return
        self._remarks.add(MERGED_ROWS, origin)
        if code not in asked.codes:
            asked.codes.append(code)

    def _act(self, messages: list[Message], name: str, origin: str, where: str) -> None:
        try:
            episode = _episode(messages[1:])
        except BrokenCallError as error:
            self._remarks.add(BROKEN_CALL, f"{where}: {error}")
            return
        if episode is None:
            self._remarks.add(STRANGE_CONVERSATION, where)
            return
        query = _BEGIN.sub("", messages[0].content).strip()
        if not self._longest.add(episode.trajectory(origin, query, metadata={"type": name})):
            self._remarks.add(MERGED_CONVERSATION, origin)


class _Asked(NamedTuple):
    """The retrieval pairs of one text."""

    origin: str
    name: str
    codes: list[str]


def is_document(text: str) -> bool:
    """Whether a text has the parts of a memorization pair, in their order."""
    if not text.startswith(_TOOL):
        return False
    place = 0
    for part in (_ABOUT_TOOL, _API, _ABOUT_API):
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def parse_document(text: str, code: str) -> Document | None:
    """Take ``Tool Name: X. Tool Description: Y Api Name: Z Api Description: W.`` apart.

    Names and descriptions may hold dots, colons and even these words. The code says what the names are; where it writes
    them in another way, the parts must stand in the text once each.

    Returns:
        None when the parts cannot be told apart.
    """
    for tool, api in _splits(code):
        head, middle = f"{_TOOL}{tool}{_ABOUT_TOOL}", f"{_API}{api}{_ABOUT_API}"
        if text.startswith(head) and (place := text.find(middle, len(head))) >= 0:
            return Document(tool, text[len(head) : place], api, _undotted(text[place + len(middle) :]))
    if not is_document(text) or any(text.count(part) != 1 for part in (_ABOUT_TOOL, _API, _ABOUT_API)):
        return None
    tool, _, rest = text.removeprefix(_TOOL).partition(_ABOUT_TOOL)
    about_tool, _, rest = rest.partition(_API)
    api, _, about_api = rest.partition(_ABOUT_API)
    return Document(tool, about_tool, api, _undotted(about_api))


def _splits(code: str) -> Iterator[tuple[str, str]]:
    """The ways to read a code as tool and API; names may hold ``&&`` themselves."""
    place = code.find("&&")
    while place >= 0:
        yield code[:place], code[place + 2 :]
        place = code.find("&&", place + 1)


def _undotted(text: str) -> str:
    # The template closes with a dot of its own.
    return text.removesuffix(".")


def _code(message: Message) -> str | None:
    found = _CODE.fullmatch(message.content.strip()) if message.role == "assistant" else None
    return found.group(1) if found else None


def _messages(line: Line) -> Iterator[Message]:
    messages = line.record.get("conversations")
    if not isinstance(messages, list):
        raise InputError(f"{line.where}: 'conversations', a list, is wanted; found keys {', '.join(line.record)}.")
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise InputError(f"{line.where}: a message needs the strings 'role' and 'content', found {message!r:.200}.")
        yield Message(role, content)


def _episode(messages: list[Message]) -> Episode | None:
    """An agent's turns: thought, request for an action, code, document, arguments, observation. A turn may lack all but
    code and arguments. None when a message fits nowhere."""
    episode = Episode()
    code: str | None = None
    for message in messages:
        content = message.content.strip()
        if episode.ended:
            break
        if content.startswith(_DOCUMENT):
            if code is None:
                return None
        elif message.role == "assistant":
            if code is not None:
                episode.call(code, message.content)
                code = None
            elif (code := _code(message)) is None:
                episode.think(message.content)
        elif content not in _REQUESTS:
            if code is not None or not episode.awaits:
                return None
            episode.observe(message.content, call_status(message.content))
    return episode if code is None else None
