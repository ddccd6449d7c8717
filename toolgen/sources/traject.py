"""TRAJECT-Bench: queries with the calls that answer them, as trajectories. Knows what its splits are called.

Its queries are labelled ones as the library has them (``toolgen.queries``), each with ``calls``. A call is a step
without observation and status, as nothing was run, and a trajectory has no end: no answer is given. The split says
whether the calls stand side by side or build on each other: ``parallel_simple_ver``, ``parallel_hard_ver``,
``sequential_traj_query``.
"""

from pathlib import Path

from toolgen.agent.trajectory import Step, Trajectory
from toolgen.errors import InputError
from toolgen.queries import Query, read_queries
from toolgen.sources.remarks import Remark, Remarks
from toolgen.sources.set_folder import ImportedSet, find_records, read_tools
from toolgen.tools import ToolCatalog

NO_CALLS = Remark("dropped", "queries without calls")

SOURCE = "traject"
ORDERS = ("parallel", "sequential")
"""How the calls of a query stand to each other."""


def import_traject(path: str | Path, known: ToolCatalog | None = None) -> ImportedSet:
    """Read TRAJECT-Bench's queries as trajectories.

    ``metadata["order"]`` is one of ``ORDERS``; ``metadata["split"]`` and all that a query says beside stay there too.

    Args:
        path: Folder with ``queries.jsonl`` and ``tools.jsonl``, plain or gzip.
        known: Tools that keep their ids and places; with them the folder may lack its own.

    Raises:
        InputError: A file is absent or broken, a tool is unknown, an id is used twice, a split is neither parallel nor
            sequential, or no query has calls.

    Example:
        >>> import_traject("traject").trajectories[0].metadata["order"]  # doctest: +SKIP
        'parallel'
    """
    folder = Path(path)
    file = find_records(folder, "queries")
    remarks = Remarks()
    catalog = ToolCatalog(read_tools(folder, known, SOURCE, remarks).values())
    trajectories = []
    for query in read_queries(file, catalog):
        if query.calls:
            trajectories.append(_trajectory(query, file))
        else:
            remarks.add(NO_CALLS, query.id)
    if not trajectories:
        raise InputError(f"{file}: no query has 'calls'. At least one is needed.")
    return ImportedSet(catalog, trajectories, len(catalog) - len(known or ()), remarks)


def _trajectory(query: Query, file: Path) -> Trajectory:
    order = (query.split or "").partition("_")[0]
    if order not in ORDERS:
        raise InputError(
            f"{file}: the split of query {query.id!r} must begin with {' or '.join(ORDERS)}, found {query.split!r}."
        )
    called = tuple(dict.fromkeys(call.tool for call in query.calls))
    # As a rule the gold tools are those that are called, in the order of their first calls.
    gold = {} if called == query.tools else {"tools": list(query.tools)}
    return Trajectory(
        id=query.id,
        query=query.text,
        steps=tuple(Step(call.tool, call.arguments) for call in query.calls),
        ended="unfinished",
        metadata={**query.metadata, **gold, "split": query.split, "order": order},
    )
