"""What a bi-encoder learns from: the loss is that of pairs of their own, and right answers are nobody's rivals."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from tiny_encoder import save_tiny_encoder
from torch import Tensor

from toolgen.benchmarks.contrastive import (
    LEFT_OUT,
    RIVAL,
    WANTED,
    Example,
    PairCollator,
    RankingLoss,
    embed_by_length,
    examples_of,
    ranking_loss,
    right_documents,
)
from toolgen.benchmarks.negatives import mine
from toolgen.embeddings import load_encoder
from toolgen.queries import Query
from toolgen.records import retrieval_records
from toolgen.tools import Tool, ToolCatalog

TOOLS = ToolCatalog(
    [
        Tool("copy", "Copy", "Copies a file."),
        Tool("copy2", "Copy", "Copies a file."),
        Tool("move", "Move", "Moves a file."),
        Tool("rent", "Rent", "Rents a car."),
        Tool("book", "Book", "Books a table for two."),
    ]
)
COPY, _, MOVE, RENT, BOOK = (tool.document() for tool in TOOLS.values())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    folder = tmp_path_factory.mktemp("encoder")
    save_tiny_encoder(folder)
    return load_encoder(str(folder), purpose="This test", device="cpu").eval()


def collate(encoder: SentenceTransformer, examples: Sequence[Example], rows: Sequence[int], **options) -> dict:
    collator = PairCollator(
        encoder, examples, options.get("negatives", {}), options.get("per_query", 0), options.get("seed", 0)
    )
    return collator([{"example": row} for row in rows])


def features(batch: dict) -> list[dict]:
    return [
        {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}
        for prefix in ("query_", "document_")
    ]


def gradients(encoder: SentenceTransformer, loss: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in encoder.named_parameters() if each.grad is not None}


@given(
    labels=st.lists(
        st.lists(st.sampled_from([RIVAL, WANTED, LEFT_OUT]), min_size=5, max_size=5), min_size=1, max_size=4
    )
)
@settings(max_examples=60)
def test_the_loss_is_that_of_an_example_of_its_own_for_every_wanted_document(labels: list[list[int]]) -> None:
    for row, values in enumerate(labels):
        values[row] = WANTED
    generator = torch.Generator().manual_seed(len(str(labels)))
    queries_BD = torch.randn(len(labels), 8, generator=generator, requires_grad=True)
    documents_UD = torch.randn(5, 8, generator=generator)
    cosines = F.cosine_similarity(queries_BD[:, None], documents_UD[None], dim=-1)
    losses = []
    for row, values in enumerate(labels):
        rivals = [column for column, value in enumerate(values) if value == RIVAL]
        for column, value in enumerate(values):
            if value == WANTED:
                scores = 20 * cosines[row, [column, *rivals]]
                losses.append(F.cross_entropy(scores[None], torch.tensor([0])))
    expected = torch.stack(losses).mean()
    found = ranking_loss(queries_BD, documents_UD, torch.tensor(labels), 20.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(found, queries_BD)[0], torch.autograd.grad(expected, queries_BD)[0], rtol=1e-3, atol=1e-5
    )


def test_with_one_answer_each_it_is_the_librarys_loss(encoder: SentenceTransformer) -> None:
    examples = [Example("a duplicate", (COPY,)), Example("a vehicle", (RENT,)), Example("dinner", (BOOK,))]
    batch = collate(encoder, examples, [0, 1, 2])
    assert batch["label"].tolist() == [[WANTED, RIVAL, RIVAL], [RIVAL, WANTED, RIVAL], [RIVAL, RIVAL, WANTED]]
    ours = RankingLoss(encoder, 20.0)(features(batch), batch["label"])
    theirs = MultipleNegativesRankingLoss(encoder, scale=20.0)(features(batch), batch["label"])
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(encoder, ours), gradients(encoder, theirs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("micro", [1, 2, 64])
def test_texts_embedded_in_parts_give_the_same_loss_and_gradients(encoder: SentenceTransformer, micro: int) -> None:
    examples = [Example("a duplicate", (COPY, MOVE)), Example("a vehicle, please", (RENT,)), Example("dinner", (BOOK,))]
    batch = collate(encoder, examples, [0, 1, 2])
    whole = RankingLoss(encoder, 20.0)(features(batch), batch["label"])
    parts = RankingLoss(encoder, 20.0, micro)(features(batch), batch["label"])
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(gradients(encoder, parts), gradients(encoder, whole), rtol=1e-3, atol=1e-4)


def test_gold_tools_and_equal_documents_are_no_rivals(encoder: SentenceTransformer) -> None:
    queries = [
        Query("1", "files, please", ("copy", "move")),
        Query("2", "duplicate", ("copy2",)),
        Query("3", "a car", ("rent",)),
        # The same text wants something else elsewhere.
        Query("4", "a car", ("book",)),
    ]
    examples = examples_of(retrieval_records(queries), TOOLS)
    assert examples_of(retrieval_records(queries, "sequence"), TOOLS)[1:] == examples[1:]
    assert examples[0] == Example("files, please", (COPY, MOVE)) and examples[1].documents == (COPY,)
    assert right_documents(examples)["a car"] == {RENT, BOOK}
    batch = collate(encoder, examples, [0, 1, 2, 3])
    assert batch["document_input_ids"].shape[0] == 4, "equal documents are embedded once"
    assert batch["label"].tolist() == [
        [WANTED, WANTED, RIVAL, RIVAL],
        [WANTED, RIVAL, RIVAL, RIVAL],
        [RIVAL, RIVAL, WANTED, LEFT_OUT],
        [RIVAL, RIVAL, LEFT_OUT, WANTED],
    ]


def test_hard_negatives_are_ranked_high_and_answer_nothing() -> None:
    right = {"copy a file": frozenset({COPY}), "hire a car": frozenset({RENT, BOOK})}
    told = []
    found = mine("embedded", TOOLS, right, 2, lambda done, total: told.append((done, total)))
    assert found["copy a file"][0] == MOVE and len(found["copy a file"]) == 2
    assert set(found["hire a car"]) == {COPY, MOVE}
    assert all(right[query].isdisjoint(documents) for query, documents in found.items()) and told == [(2, 2)]


def test_hard_negatives_join_the_batch_in_the_same_way_every_time(encoder: SentenceTransformer) -> None:
    examples = [Example("a duplicate", (COPY,)), Example("dinner", (BOOK,))]
    negatives = {"a duplicate": [MOVE, RENT, BOOK], "dinner": [RENT]}
    options = {"negatives": negatives, "per_query": 2}
    first, again = (collate(encoder, examples, [0, 1], seed=0, **options) for _ in range(2))
    assert torch.equal(first["document_input_ids"], again["document_input_ids"])
    assert first["label"][0].tolist().count(WANTED) == 1 and first["label"].shape[1] >= 3
    drawn = {tuple(collate(encoder, examples, [0], seed=seed, **options)["label"].shape) for seed in range(5)}
    assert drawn == {(1, 3)}, "two beside the one that is wanted"


def test_queries_and_documents_get_the_prompts_that_they_are_embedded_with(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path)
    prompted = SentenceTransformer(str(tmp_path), prompts={"query": "query: ", "document": "passage: "}, device="cpu")
    batch = collate(prompted, [Example("dinner", (BOOK,))], [0])
    read = prompted.tokenizer.batch_decode
    assert read(batch["query_input_ids"], skip_special_tokens=True) == ["query : dinner"]
    assert read(batch["document_input_ids"], skip_special_tokens=True)[0].startswith("passage : book")
    # What is trained is what a search embeds.
    prompted.eval()
    with torch.no_grad():
        trained = F.normalize(prompted(features(batch)[0])["sentence_embedding"], dim=1)
    torch.testing.assert_close(trained, torch.tensor(prompted.encode_query(["dinner"], normalize_embeddings=True)))


def test_features_without_a_mask_go_through_as_they_are() -> None:
    class Static(torch.nn.Module):
        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"sentence_embedding": features["input_ids"].float()}

    given = {"input_ids": torch.arange(3), "offsets": torch.tensor([0, 1])}
    assert embed_by_length(Static(), given).tolist() == [0.0, 1.0, 2.0]


def test_texts_of_like_length_are_embedded_together_and_come_back_in_order(encoder: SentenceTransformer) -> None:
    texts = ["word " * (1 + number * 7 % 23) for number in range(40)]
    batch = encoder.preprocess(texts)
    widths: list[int] = []
    hook = encoder.register_forward_pre_hook(lambda _module, given: widths.append(given[0]["input_ids"].shape[1]))
    try:
        ours = embed_by_length(encoder, batch)
    finally:
        hook.remove()
    assert widths == sorted(widths) and widths[0] < widths[-1]
    torch.testing.assert_close(ours, encoder(dict(batch))["sentence_embedding"])
