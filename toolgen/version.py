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
    found = [find_spec(room) for room in _ROOMS]
    folders = {Path(place) for spec in found if spec is not None for place in spec.submodule_search_locations or ()}
    sources = sorted({path for folder in folders for path in folder.rglob("*.py")})
    return f"{__version__}+{fingerprint([path.read_text(encoding='utf-8') for path in sources])}"
