"""A small folder in ToolBench's layout, made by hand: two categories, three tools, queries, a corpus, two trees."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def write(path: Path, value: Any) -> Path:
    """Write JSON, or text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def parameter(name: str, kind: str | None = "STRING", default: Any = "", description: str = "") -> Json:
    return {"name": name, "type": kind, "description": description, "default": default}


def api(name: str, description: str | None = "", **more: Any) -> Json:
    """An API of a tool file."""
    return {
        "name": name,
        "description": description,
        "method": "GET",
        "url": "https://host/path",
        "required_parameters": [],
        "optional_parameters": [],
        "code": "import requests  # SECRET-CODE",
        **more,
    }


def tool(name: str, *apis: Json, description: str = "") -> Json:
    """A tool file."""
    return {"tool_name": name, "title": name, "tool_description": description, "api_list": list(apis)}


def listed(tool_name: str, api_name: str, description: str = "", category: str = "Weather", **more: Any) -> Json:
    """An API as the record of a query lists it."""
    return {
        "category_name": category,
        "tool_name": tool_name,
        "api_name": api_name,
        "api_description": description,
        "required_parameters": [],
        "optional_parameters": [],
        "method": "GET",
        **more,
    }


def asked(number: int, text: str, apis: Sequence[Json], relevant: Sequence[Sequence[str]]) -> Json:
    """The record of a query."""
    return {
        "query_id": number,
        "query": text,
        "api_list": list(apis),
        "relevant APIs": [list(pair) for pair in relevant],
    }


def node(kind: str, text: str, *children: Json, observation: str | None = None, code: int | None = None) -> Json:
    """A node of a tree."""
    found: Json = {"node_type": kind, "description": text, "pruned": False, "children": list(children)}
    return found | ({} if code is None else {"observation": observation, "observation_code": code})


def turn(function: str, arguments: Any, *children: Json, thought: str = "", seen: str = "seen", code: int = 0) -> Json:
    """The nodes of a turn, below which ``children`` stand."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    called = node("Action", function, node("Action Input", text, *children, observation=seen, code=code))
    return node("Thought", thought, called) if thought else called


def finish(answer: str | None = "Done.", thought: str = "") -> Json:
    """The turn that ends: with an answer, or by giving up."""
    if answer is None:
        return turn("Finish", {"return_type": "give_up_and_restart"}, thought=thought, code=4)
    return turn("Finish", {"return_type": "give_answer", "final_answer": answer}, thought=thought, code=3)


def tree(query: str, *turns: Json, win: bool = True) -> Json:
    """An answer file."""
    return {
        "win": win,
        "tree": {"size": 1, "max_length": 1, "tree": node("Action Input", "", *turns)},
        "answer_generation": {"query": query, "function": [], "train_messages": []},
    }


def conversation(*messages: tuple[str, str]) -> Json:
    """A record of ToolGen's files."""
    said = [{"role": role, "content": content, "loss": role == "assistant"} for role, content in messages]
    return {"conversations": said}


def toolbench(folder: Path, files: Mapping[str, Any] | None = None) -> Path:
    """Two Weather tools and one of Sports; ``files`` are written too."""
    wanted = {
        "toolenv/tools/Weather/sky.json": tool(
            "Sky",
            api("Forecast", "Tells the weather of tomorrow.", required_parameters=[parameter("city")]),
            api("ID"),
            description="Weather for everyone.",
        ),
        "toolenv/tools/Weather/sky_2.json": tool("Sky!", api("ID", "Another one.")),
        "toolenv/tools/Sports/goals.json": tool("Goals", api("Live", None), description="Football."),
        **(files or {}),
    }
    for name, value in wanted.items():
        write(folder / name, value)
    return folder
