"""What all cells of a comparison are trained and measured on: catalogue, labelled queries dealt out to splits that
share nothing, codebooks. Trains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolgen.benchmarks.evaluation import spread
from toolgen.benchmarks.grid import CompareConfig, DataConfig, Material, tokenizer_of
from toolgen.benchmarks.recipe import Variant, index_variant
from toolgen.codebook import Codebook, CodebookStatistics
from toolgen.config import parse_config
from toolgen.errors import InputError
from toolgen.files import fingerprint
from toolgen.leaks import check_splits, require_clean_splits
from toolgen.queries import Query, read_queries, write_queries
from toolgen.splits import split_queries
from toolgen.stages.retrieval import PairsConfig
from toolgen.terminal import err, progress_bar
from toolgen.tools import ToolCatalog


@dataclass(frozen=True)
class Splits:
    """Catalogue and queries of a comparison.

    Attributes:
        catalog: The tools.
        train: To train on.
        validation: To choose by.
        test: For the leaderboard.
    """

    catalog: ToolCatalog
    train: Sequence[Query]
    validation: Sequence[Query]
    test: Sequence[Query]

    @property
    def fingerprint(self) -> str:
        """Of the queries and what each is used for."""
        parts = (self.train, self.validation, self.test)
        return fingerprint([[query.to_record() for query in part] for part in parts])


def read_splits(data: DataConfig) -> Splits:
    """Read, relabel, split, thin out and check.

    Raises:
        InputError: A file is unusable, a key has no such content, or two splits share what they must not; then with
            the evidence.
    """
    catalog = ToolCatalog.from_jsonl(data.tools)
    queries = [_styled(query, data.style) for query in _labelled(data, catalog)]
    if data.split.only is not None and data.split.shares is None:
        raise InputError(
            f"data.split.only is {data.split.only!r}, and no shares say how to deal those queries out. Give "
            "data.split.shares, or leave only out."
        )
    if data.split.shares is not None:
        done = split_queries(
            queries,
            data.split.shares,
            data.split.by,
            catalog=catalog,
            key=data.split.key,
            near=data.split.near,
            only=data.split.only,
        )
        queries = list(done.queries)
    names = (data.train, data.validation, data.test)
    if len(set(names)) < len(names):
        raise InputError(f"data.train, validation and test are {', '.join(names)}. The three splits must differ.")
    parts = {name: [query for query in queries if query.split == name] for name in names}
    if missing := [name for name, part in parts.items() if not part]:
        known = ", ".join(sorted({query.split for query in queries if query.split})) or "none"
        raise InputError(f"{data.queries}: no query of split {missing[0]!r} (splits here: {known}).")
    with err.status("Looking for what the splits share"):
        used = [query for part in parts.values() for query in part]
        by, roles = data.split.by, {"train": [data.train], "test": [data.test], "validation": [data.validation]}
        require_clean_splits(used, by, catalog=catalog, key=data.split.key, near=data.split.near, **roles)
    train, validation, test = parts.values()
    return Splits(catalog, _thinned(train, data.most_train), validation, _thinned(test, data.most_test))


def _labelled(data: DataConfig, catalog: ToolCatalog) -> list[Query]:
    if data.gold == "tools":
        return read_queries(data.queries, catalog)
    found = []
    for query in read_queries(data.queries):
        tools = query.metadata.get(data.gold) or []
        if not isinstance(tools, list) or not all(isinstance(tool, str) for tool in tools):
            raise InputError(f"data.gold={data.gold}: query {query.id!r} has {tools!r} there, no list of tool ids.")
        if unknown := [tool for tool in tools if tool not in catalog]:
            raise InputError(f"data.gold={data.gold}: query {query.id!r} names {unknown[0]!r}, which is no tool here.")
        if tools:
            # Calls name the tools of another catalogue.
            found.append(replace(query, tools=tuple(dict.fromkeys(tools)), calls=()))
    if not found:
        raise InputError(f"data.gold={data.gold}: no query of {data.queries} has tool ids there.")
    return found


def _styled(query: Query, key: str | None) -> Query:
    value = query.split if key == "split" else query.metadata.get(key or "")
    return query if value is None else replace(query, metadata={**query.metadata, "style": str(value)})


def _thinned(queries: Sequence[Query], most: int | None) -> Sequence[Query]:
    return queries if most is None else spread(queries, most)


def read_made(config: CompareConfig, splits: Splits) -> list[Query]:
    """The queries of the recipe's ``made``, those of several files with ids of their own.

    Raises:
        InputError: A file is unusable, or a text is, or nearly is, that of a query that chooses or is tested on.
    """
    paths = parse_config(PairsConfig, config.recipe.pairs, "retrieval in the recipe").made
    made = [
        replace(query, id=f"{number}:{query.id}", split=None)
        for number, path in enumerate(paths, start=1)
        for query in read_queries(path, splits.catalog)
    ]
    if made:
        _check_made(made, splits, config.data.split.near)
    return made


def _check_made(made: Sequence[Query], splits: Splits, near: float) -> None:
    # With one gold tool a query is compared by its text alone: gold sets are meant to be like those of people.
    judging = {"validation": splits.validation, "test": splits.test}
    judged = [replace(query, tools=query.tools[:1], split=role) for role, part in judging.items() for query in part]
    trained = [replace(query, tools=query.tools[:1], split="made") for query in made]
    report = check_splits([*trained, *judged], "query", near=near, train=["made"], test=list(judging))
    if not report.clean:
        shown = [
            f"{leak.earlier.id!r} ({leak.earlier.text!r}) is like {leak.later.split} {leak.later.id!r}"
            for crossing in report.crossings
            for leak in crossing.leaks
        ]
        raise InputError(
            f"recipe.retrieval.made holds {report.pairs:,} near copies of validation or test queries, such as "
            f"{'; '.join(shown)}. Take these out: figures would flatter. The number before an id is that of the file."
        )


def write_material(config: CompareConfig, splits: Splits, made: Sequence[Query] = ()) -> Material:
    """Lay catalogue and queries down in the comparison's folder, where every stage reads them.

    Args:
        config: Names the folder.
        splits: Catalogue and labelled queries.
        made: Queries that were made for training.

    Raises:
        InputError: The folder holds others.
    """
    folder = config.folder / "data"
    material = Material(
        folder / "tools.jsonl.gz",
        folder / "queries.jsonl.gz",
        folder / "codebooks",
        folder / "made.jsonl.gz" if made else None,
    )
    queries = [*splits.train, *splits.validation, *splits.test]
    if material.queries.is_file():
        same = _holds(material.queries, queries) and _holds(folder / "made.jsonl.gz", made)
        if not same or ToolCatalog.from_jsonl(material.tools).fingerprint != splits.catalog.fingerprint:
            raise InputError(
                f"{config.folder} holds a comparison on other tools or queries. Give the data that it was begun with, "
                "or another name."
            )
        return material
    splits.catalog.to_jsonl(material.tools)
    if material.made is not None:
        write_queries(material.made, made)
    # The last one: where it lies, the others do.
    write_queries(material.queries, queries)
    return material


def _holds(path: Path, queries: Sequence[Query]) -> bool:
    """Whether a file holds these queries; without any, whether it is not there."""
    if not path.is_file() or not queries:
        return path.is_file() == bool(queries)
    return [query.to_record() for query in read_queries(path)] == [query.to_record() for query in queries]


def codebooks(
    config: CompareConfig, catalog: ToolCatalog, material: Material, variants: Sequence[Variant]
) -> Mapping[str, CodebookStatistics]:
    """Build the codebooks of all schemes, with disambiguation, and save them; name of a variant -> its figures.

    Raises:
        InputError: A codebook of an earlier run differs: models there were trained with it.
    """
    found = {}
    for variant in variants:
        with progress_bar(f"Index {variant.name}") as progress:
            indexed = index_variant(variant, catalog, tokenizer_of(config), progress)
        path = material.codebook(variant)
        if path.is_file() and Codebook.load(path).fingerprint != indexed.book.fingerprint:
            raise InputError(
                f"{path} holds other codes than are built now: this version or machine makes them otherwise. Give the "
                "comparison another name, or remove its folder."
            )
        indexed.book.save(path)
        found[variant.name] = indexed.statistics
    return found
