"""Tools as an import reads them, each under an id of its own. Knows tools and function names, but no files."""

from collections import defaultdict
from dataclasses import replace

from toolgen.sources.function_names import exposed_name, function_names
from toolgen.sources.remarks import Remark, Remarks
from toolgen.sources.toolbench import Api, joined
from toolgen.tools import Tool, ToolCatalog

MERGED_API = Remark("merged", "APIs given again: same names, description, method and parameters")
KNOWN_API = Remark("merged", "APIs that the given catalogue has, as it has them")
RENAMED_API = Remark("renamed", "APIs that differ from another of the same names: '#2', '#3' ... in their ids")
RENAMED_FUNCTION = Remark("renamed", "function names that are taken: '_2', '_3' ... at their ends")
LISTED_API = Remark("noted", "tools taken from what queries or a corpus list, as no tool file describes them")
UNSURE_API = Remark("noted", "listed APIs that are like none of several tools with their names: the first is taken")


class ToolCollection:
    """Tools as they are read, each under an id of its own, after those that were known before."""

    def __init__(self, known: ToolCatalog | None, remarks: Remarks) -> None:
        """
        Args:
            known: Tools that keep their ids, places and content.
            remarks: What is merged and renamed.
        """
        self._remarks = remarks
        self._tools: dict[str, Tool] = dict(known or {})
        self._known = frozenset(self._tools)
        self._listed: set[tuple[str, str]] = set()
        self._named: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for tool in self._tools.values():
            self._named[tool.group or "", tool.name].append(tool.id)

    def __contains__(self, tool_id: str) -> bool:
        return tool_id in self._tools

    def __len__(self) -> int:
        return len(self._tools)

    def ids(self, tool: str, api: str) -> tuple[str, ...]:
        """Ids of all APIs of this tool and name, in the order in which they came."""
        return tuple(self._named.get((tool, api), ()))

    def add(self, tool: Tool, left_out: Remarks | None = None) -> str:
        """Take a tool over. One with the same names and content is the same tool; one with the same names and other
        content gets a number in its id. A tool that was known before is what its names mean, whatever its content.

        Args:
            tool: Under its plain id.
            left_out: Remarks about the tool, which count when it is taken over.

        Returns:
            The id that it has here.
        """
        same = self._same(tool)
        if known := [tool_id for tool_id in self.ids(tool.group or "", tool.name) if tool_id in self._known]:
            self._remarks.add(KNOWN_API, tool.id)
            return same or known[0]
        if same:
            self._remarks.add(MERGED_API, tool.id)
            self._note_category(same, tool)
            return same
        return self._take(tool, left_out or Remarks())

    def add_listed(self, api: Api) -> str:
        """Take over an API that a query or a corpus lists, unless a tool file describes one of its names.

        Returns:
            The id that it has here: among several tools of its names that of the one with its content, else the first.
        """
        ids = self.ids(api.tool, api.name)
        described = bool(ids) and (api.tool, api.name) not in self._listed
        if described and len(ids) == 1:
            return ids[0]
        left_out = Remarks()
        tool = api.to_tool(left_out)
        if same := self._same(tool):
            return same
        if described:
            self._remarks.add(UNSURE_API, tool.id)
            return ids[0]
        self._remarks.add(LISTED_API, tool.id)
        self._listed.add((api.tool, api.name))
        return self._take(tool, left_out)

    def catalog(self) -> ToolCatalog:
        """All tools; those that were not known before have their function name under ``metadata["function"]``."""
        names = function_names(self._tools)
        tools = []
        for tool in self._tools.values():
            if tool.id in self._known:
                tools.append(tool)
                continue
            if names[tool.id] != exposed_name(tool):
                self._remarks.add(RENAMED_FUNCTION, f"{names[tool.id]} ({tool.id})")
            tools.append(replace(tool, metadata={**tool.metadata, "function": names[tool.id]}))
        return ToolCatalog(tools)

    def _take(self, tool: Tool, left_out: Remarks) -> str:
        self._remarks.extend(left_out)
        tool_id, number = tool.id, 1
        while tool_id in self._tools:
            number += 1
            tool_id = f"{tool.id}#{number}"
        if number > 1:
            self._remarks.add(RENAMED_API, tool_id)
        self._tools[tool_id] = replace(tool, id=tool_id)
        self._named[tool.group or "", tool.name].append(tool_id)
        return tool_id

    def _same(self, tool: Tool) -> str | None:
        ids = self.ids(tool.group or "", tool.name)
        return next((known for known in ids if _alike(self._tools[known], tool)), None)

    def _note_category(self, tool_id: str, again: Tool) -> None:
        tool = self._tools[tool_id]
        category = again.metadata.get("category")
        also = tool.metadata.get("also_in", [])
        if tool_id not in self._known and category not in (None, tool.metadata.get("category"), *also):
            self._tools[tool_id] = replace(tool, metadata={**tool.metadata, "also_in": [*also, category]})


def _alike(known: Tool, tool: Tool) -> bool:
    """Whether two tools of the same names have the same content; ``tool`` may come from a list that says nothing of the
    tool that its API belongs to."""
    # Not the address: an API is often given once with placeholders in it and once with sample values.
    if known.metadata.get("method") != tool.metadata.get("method") or known.parameters != tool.parameters:
        return False
    general = known.metadata.get("tool_description", "") if "tool_description" not in tool.metadata else ""
    return joined(tool.description, general) == known.description
