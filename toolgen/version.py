"""Which code made something: the version and a fingerprint of the sources. Knows files; nothing of what they do."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from toolgen import __version__
from toolgen.files import fingerprint

_ROOMS = ("toolgen", "toolgen.indexing", "toolgen.stages", "toolgen.benchmarks")
"""In an installation the outer rooms lie in the first one, in a checkout beside it."""


@cache
def code_version() -> str:
    """This library's version and a fingerprint of its sources, as they were when this process asked first."""
    # By name in the package: the same wherever the rooms lie.
    sources = {}
    for room in _ROOMS:
        spec = find_spec(room)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in Path(place).rglob("*.py"):
                name = "/".join((*room.split("."), *path.relative_to(place).parts))
                sources[name] = path.read_text(encoding="utf-8")
    return f"{__version__}+{fingerprint(sources)}"
