"""A sentence encoder with tools in its vocabulary: what it knows before any training, and what it never says."""

import pytest

from toolgen.base import load_tokenizer
from toolgen.benchmarks.dense import DenseRetriever
from toolgen.benchmarks.unconstrained import UnconstrainedRetriever
from toolgen.generative import GenerativeRetriever
from toolgen.indexing import build
from toolgen.origin import OriginConfig, start
from toolgen.priors import Prior
from toolgen.queries import Query
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog


@pytest.fixture(scope="module")
def untrained_encoder(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog) -> GenerativeRetriever:
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = load_tokenizer("encoder:embedded")
    catalog.to_jsonl(folder / "tools.jsonl")
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(folder / "codebook.json")
    files = {"tools": folder / "tools.jsonl", "codebook": folder / "codebook.json"}
    return GenerativeRetriever(*start(OriginConfig(model="encoder:embedded", prior=Prior(), **files)))


def test_documents_are_memorised_before_any_training(
    untrained_encoder: GenerativeRetriever, catalog: ToolCatalog
) -> None:
    found = untrained_encoder.search([tool.document() for tool in catalog.values()], 1)
    assert [hits[0].tool for hits in found] == list(catalog)


def test_queries_are_ranked_as_by_dense_retrieval(
    untrained_encoder: GenerativeRetriever, catalog: ToolCatalog, queries: list[Query]
) -> None:
    texts = [query.text for query in queries]
    ours, dense = (retriever.search(texts, 5) for retriever in (untrained_encoder, DenseRetriever(catalog)))
    shared = [
        len({hit.tool for hit in one} & {hit.tool for hit in other}) for one, other in zip(ours, dense, strict=True)
    ]
    assert sum(shared) > 0.7 * 5 * len(texts)


def test_nothing_but_codes_is_written_where_nothing_forbids_it(
    untrained_encoder: GenerativeRetriever, catalog: ToolCatalog, queries: list[Query]
) -> None:
    free = UnconstrainedRetriever(untrained_encoder)
    answers = free.search([query.text for query in queries[:4]], 5)
    assert all(hit.tool in catalog for hits in answers for hit in hits)
