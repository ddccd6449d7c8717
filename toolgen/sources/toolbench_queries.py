"""ToolBench's queries: instruction files (StableToolBench's too) and retrieval folders. Knows tools and their ids, but
not where a folder keeps what.

An instruction file lists queries, each with the APIs that were shown to its writer (``api_list``) and those that it
wants (``relevant APIs``). A retrieval folder holds ``corpus.tsv`` and, for train and test, ``X.query.txt`` and
``qrels.X.tsv``; its queries are those of instruction files once more, with a split.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.errors import InputError
from toolgen.files import Line
from toolgen.queries import Query
from toolgen.sources.collection import ToolCollection
from toolgen.sources.reading import Advance, parse, read_rows
from toolgen.sources.remarks import Remark, Remarks
from toolgen.sources.toolbench import api_of_record

UNLABELLED = Remark("dropped", "queries without labels (open domain)")
UNKNOWN_GOLD = Remark("dropped", "queries with a relevant API that no file describes")
UNASKED = Remark("dropped", "labels of queries whose text is missing")
SAME_QUERY = Remark("merged", "queries of the retrieval folders that an instruction file gives: they got their split")

CORPUS = "corpus.tsv"


def is_query(record: dict[str, Any]) -> bool:
    """Whether a record is one of an instruction file."""
    return "query" in record and ("query_id" in record or "api_list" in record)


def read_instructions(records: Iterable[Line], name: str, tools: ToolCollection, remarks: Remarks) -> list[Query]:
    """Read the queries of an instruction file, and the tools that only its records describe.

    Args:
        records: Of the file.
        name: Of the file, without its suffix: the queries' ``metadata["type"]`` and the beginning of their ids.
        tools: What the relevant APIs are looked up in; APIs that are new are added.
        remarks: What is left out.

    Returns:
        Queries with ``metadata``: ``type``, ``query_id`` as the file has it, and ``candidates``, the ids of the APIs
        that were shown to the writer.

    Raises:
        InputError: A record is broken.
    """
    queries: list[Query] = []
    for number, (record, where) in enumerate(records, start=1):
        text = record.get("query")
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: 'query' must be a text, found {text!r}.")
        given = record.get("query_id", number)
        if not record.get("relevant APIs"):
            remarks.add(UNLABELLED, f"{name}, query {given}")
            continue
        listed = _listed(record, where, tools, remarks)
        gold, unknown = _gold(record, where, listed, tools)
        if unknown:
            remarks.add(UNKNOWN_GOLD, f"{name}, query {given}: {unknown}")
            continue
        candidates = list(dict.fromkeys(tool for ids in listed.values() for tool in ids))
        metadata = {"type": name, "query_id": given, "candidates": candidates}
        queries.append(Query(f"{name}.{given}", text.strip(), gold, metadata=metadata))
    return queries


def _listed(
    record: dict[str, Any], where: str, tools: ToolCollection, remarks: Remarks
) -> dict[tuple[str, str], list[str]]:
    """Ids of the APIs in ``api_list``, by the names of tool and API."""
    apis = record.get("api_list") or []
    if not isinstance(apis, list):
        raise InputError(f"{where}: 'api_list' must be a list, found {apis!r}.")
    listed: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for api in apis:
        if found := api_of_record(api, where, remarks):
            listed[found.tool, found.name].append(tools.add_listed(found))
    return listed


def _gold(
    record: dict[str, Any], where: str, listed: dict[tuple[str, str], list[str]], tools: ToolCollection
) -> tuple[tuple[str, ...], str]:
    """Ids of the relevant APIs, and the first of them that is not to be found."""
    pairs = record["relevant APIs"]
    if not isinstance(pairs, list):
        raise InputError(f"{where}: 'relevant APIs' must be a list, found {pairs!r}.")
    gold: list[str] = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise InputError(f"{where}: a relevant API is a pair of strings, tool and API; found {pair!r}.")
        tool, api = pair
        ids = listed.get((tool, api)) or tools.ids(tool, api)
        if not ids:
            return (), f"{tool}&&{api}"
        gold.append(ids[0])
    return tuple(dict.fromkeys(gold)), ""


def read_retrieval(folder: Path, tools: ToolCollection, remarks: Remarks, advance: Advance) -> list[Query]:
    """Read a retrieval folder: the tools of its corpus, and queries with their split.

    Returns:
        Queries whose ids are folder, split and number, with the folder's name as ``metadata["type"]``.

    Raises:
        InputError: A file is broken or missing.
    """
    corpus = _read_corpus(folder / CORPUS, tools, remarks, advance)
    queries: list[Query] = []
    for path in sorted(folder.glob("*.query.txt")):
        split = path.name.removesuffix(".query.txt")
        labels = folder / f"qrels.{split}.tsv"
        if not labels.is_file():
            raise InputError(f"{labels}: no such file; it holds the labels of {path.name}. Put it beside that.")
        gold: defaultdict[str, list[str]] = defaultdict(list)
        for row in read_rows(labels, 4, advance):
            number, _, document, label = row.cells
            if label.strip() != "0":
                gold[number].append(document)
        texts = {row.cells[0]: row.cells[1].strip() for row in read_rows(path, 2, advance)}
        for number in sorted(gold.keys() - texts.keys()):
            remarks.add(UNASKED, f"{labels}: query {number}")
        for number, text in texts.items():
            query_id = f"{folder.name}.{split}.{number}"
            documents = gold.get(number, [])
            unknown = [document for document in documents if document not in corpus]
            if not documents or not text:
                remarks.add(UNLABELLED, query_id)
            elif unknown:
                remarks.add(UNKNOWN_GOLD, f"{query_id}: document {unknown[0]}")
            else:
                ids = tuple(dict.fromkeys(corpus[document] for document in documents))
                queries.append(Query(query_id, text, ids, split, metadata={"type": folder.name}))
    return queries


def _read_corpus(path: Path, tools: ToolCollection, remarks: Remarks, advance: Advance) -> dict[str, str]:
    """Tool id by the number of a document. Documents are repeated, one row for each query that lists them."""
    corpus: dict[str, str] = {}
    for row in read_rows(path, 2, advance):
        number, document = row.cells
        if number in corpus or row.cells == ("docid", "document_content"):
            continue
        if api := api_of_record(parse(document, row.where), row.where, remarks):
            corpus[number] = tools.add_listed(api)
    return corpus


def with_splits(queries: Sequence[Query], retrieval: Iterable[Query], remarks: Remarks) -> list[Query]:
    """Queries of instruction files and retrieval folders together; those that both give, with the same tools, once."""
    places: defaultdict[tuple[str, frozenset[str]], list[int]] = defaultdict(list)
    for place, query in enumerate(queries):
        places[query.text, frozenset(query.tools)].append(place)
    together = list(queries)
    for query in retrieval:
        same = places.get((query.text, frozenset(query.tools)), ())
        # A text in train and in test stays there twice, for whoever checks splits.
        if not same or any(together[place].split not in (None, query.split) for place in same):
            together.append(query)
            continue
        remarks.add(SAME_QUERY, query.id)
        for place in same:
            together[place] = replace(together[place], split=query.split)
    return together
