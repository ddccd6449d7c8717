"""Rows follow their documents: in a step, in what is searched and saved, and through an interruption."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_resumption import assert_equal_weights, interrupted
from transformers import PreTrainedModel

from toolgen.checkpoint import Artefacts, load_model
from toolgen.document_rows import DocumentRows, DocumentRowsConfig
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.queries import Query, write_queries
from toolgen.rivals import Rivals
from toolgen.stages import retrieval
from toolgen.training import TrainingConfig
from toolgen.vocabulary import output_weight

FOLLOWING = {"renewed": 4, "offsets": False}


@pytest.fixture
def parts(untrained: Path) -> tuple[PreTrainedModel, Artefacts]:
    return load_model(untrained, torch.float32), Artefacts.load(untrained)


def tool_rows(model: PreTrainedModel, artefacts: Artefacts) -> torch.Tensor:
    return output_weight(model)[torch.tensor([code[0] for code in artefacts.codes.sequences])]


def documents_read(model: PreTrainedModel, artefacts: Artefacts, norm: float) -> torch.Tensor:
    """One document after another, each by itself."""
    prompts = artefacts.renderer.render([artefacts.catalog[tool].document() for tool in artefacts.codes.tool_ids], 64)
    seen: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _module, given: seen.append(given[0][0, -1]))
    for prompt in prompts:
        model(input_ids=torch.tensor([prompt]), use_cache=False)
    hook.remove()
    return F.normalize(torch.stack(seen), dim=1) * norm


def disturb(model: PreTrainedModel) -> None:
    """Change the layers and leave the rows alone."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def test_a_step_renews_rows_keeps_offsets_and_teaches_the_documents(parts: tuple[PreTrainedModel, Artefacts]) -> None:
    model, artefacts = parts
    before = tool_rows(model, artefacts).detach().clone()
    norm = float(before.norm(dim=1).mean())
    rows = DocumentRows(model, artefacts, DocumentRowsConfig(renewed=99))
    offsets = before - documents_read(model, artefacts, norm).detach()
    states, labels = torch.randn(3, before.shape[1]), torch.tensor([code[0] for code in artefacts.codes.sequences[:3]])
    rows.logits(states, labels)
    torch.testing.assert_close(tool_rows(model, artefacts), before)
    disturb(model)
    logits = rows.logits(states, labels)
    expected = documents_read(model, artefacts, norm) + offsets
    torch.testing.assert_close(tool_rows(model, artefacts), expected)
    logits_expected = torch.cat([F.linear(states, output_weight(model)[: labels[0]]), F.linear(states, expected)], 1)
    torch.testing.assert_close(logits, logits_expected)
    layers = [parameter for name, parameter in model.named_parameters() if "layers" in name]
    ours, theirs = (torch.autograd.grad(F.cross_entropy(each, labels), layers) for each in (logits, logits_expected))
    assert all(gradient.any() for gradient in theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_the_rows_that_the_loss_pulls_most_are_renewed(parts: tuple[PreTrainedModel, Artefacts]) -> None:
    model, artefacts = parts
    rows = DocumentRows(model, artefacts, DocumentRowsConfig(renewed=2))
    before = tool_rows(model, artefacts).detach().clone()
    # The state points at tool 7 and away from tool 3, which is right: these two are wrong at most.
    states = 20 * F.normalize(before[7] - before[3], dim=0)[None]
    rows.logits(states, torch.tensor([artefacts.codes.sequences[3][0]]))
    disturb(model)
    rows.logits(states, torch.tensor([artefacts.codes.sequences[3][0]]))
    moved = (tool_rows(model, artefacts) != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [3, 7]


def test_spared_tools_are_not_renewed_for_those_they_do_not_compete_with(
    parts: tuple[PreTrainedModel, Artefacts],
) -> None:
    model, artefacts = parts
    codes = artefacts.codes
    rows = DocumentRows(model, artefacts, DocumentRowsConfig(renewed=4))
    before = tool_rows(model, artefacts).detach().clone()
    with rows.up_to_date(0):
        disturb(model)
    wanted = Rivals(codes, codes.tool_ids[:4])
    logits = rows.logits(torch.randn(2, before.shape[1]), torch.tensor([codes.sequences[0][0]] * 2), wanted)
    assert (tool_rows(model, artefacts) != before).any(1).nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    assert logits[:, [code[0] for code in codes.sequences[4:]]].isinf().all()


def test_searches_see_all_rows_renewed_and_training_does_not(parts: tuple[PreTrainedModel, Artefacts]) -> None:
    model, artefacts = parts
    stale = tool_rows(model, artefacts).detach().clone()
    rows = DocumentRows(model, artefacts, DocumentRowsConfig())
    with rows.up_to_date(0):
        torch.testing.assert_close(tool_rows(model, artefacts), stale)
    offsets = stale - documents_read(model, artefacts, float(stale.norm(dim=1).mean()))
    disturb(model)
    with rows.up_to_date(1):
        fresh = documents_read(model, artefacts, float(stale.norm(dim=1).mean())) + offsets
        torch.testing.assert_close(tool_rows(model, artefacts), fresh)
    assert tool_rows(model, artefacts).equal(stale)


def config(untrained: Path, output: Path, queries: list[Query], **changes: Any) -> retrieval.RetrievalConfig:
    output.parent.mkdir(exist_ok=True, parents=True)
    write_queries(output.parent / "few.jsonl", queries)
    values: dict[str, Any] = {
        "model": str(untrained),
        "output": output,
        "queries": {"path": output.parent / "few.jsonl"},
        "document_rows": FOLLOWING,
        "abilities": None,
        "tracking": {"mode": "disabled"},
        "training": TrainingConfig(epochs=2, batch_size=4, learning_rate=1e-2, precision="fp32"),
    }
    return retrieval.RetrievalConfig.model_validate(values | changes)


def test_queries_of_some_tools_move_the_rows_of_all(untrained: Path, queries: list[Query], tmp_path: Path) -> None:
    done = retrieval.run(config(untrained, tmp_path / "run", queries[:8]))
    artefacts = Artefacts.load(done.checkpoint)
    before, after = (load_model(folder, torch.float32) for folder in (untrained, done.checkpoint))
    rows = [tool_rows(model, artefacts).detach() for model in (before, after)]
    norm = float(rows[0].norm(dim=1).mean())
    documents = [documents_read(model, artefacts, norm).detach() for model in (before, after)]
    assert (rows[1] != rows[0]).any(1).all()
    # Without offsets of their own, all that moved is the documents' part.
    torch.testing.assert_close(rows[1] - rows[0], documents[1] - documents[0], rtol=1e-4, atol=1e-5)


def test_rows_without_offsets_learn_no_bias_either(parts: tuple[PreTrainedModel, Artefacts]) -> None:
    model, artefacts = parts
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
    for offsets in (True, False):
        rows = DocumentRows(model, artefacts, DocumentRowsConfig(renewed=2, offsets=offsets))
        code = artefacts.codes.sequences[0][0]
        model.zero_grad()
        F.cross_entropy(
            rows.logits(torch.randn(1, head.weight.shape[1]), torch.tensor([code])), torch.tensor([code])
        ).backward()
        learned = [bool(own.grad[code].any()) for own in (head.bias, head.weight)]
        assert learned == [offsets, offsets]
        assert head.bias.grad[0] != 0


def test_what_is_kept_ranks_as_it_was_ranked(untrained: Path, queries: list[Query], tmp_path: Path) -> None:
    watched = {"queries": tmp_path / "few.jsonl"}
    told = config(untrained, tmp_path / "run", queries[:8], validation=watched, keep="best")
    done = retrieval.run(told)
    kept = GenerativeRetriever(load_model(done.checkpoint, torch.float32), Artefacts.load(done.checkpoint))
    hits = kept.search([query.text for query in queries[:8]], 5)
    found = [next((rank for rank, hit in enumerate(own) if hit.tool in query.tools), None) for query, own in zip(
        queries[:8], hits, strict=True
    )]  # fmt: skip
    first = sum(rank == 0 for rank in found) / len(found)
    assert done.report["validation"]["ndcg@1"] == pytest.approx(first)


def test_an_interrupted_run_ends_where_the_whole_one_does(
    untrained: Path, queries: list[Query], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = retrieval.run(config(untrained, tmp_path / "whole", queries))
    cut = config(untrained, tmp_path / "cut", queries)
    assert interrupted(monkeypatch, cut, signal.SIGTERM, run=retrieval.run) == 128 + signal.SIGTERM
    assert_equal_weights(whole.checkpoint, retrieval.run(cut.model_copy(update={"resume": True})).checkpoint)


def test_an_evaluation_changes_no_training(untrained: Path, queries: list[Query], tmp_path: Path) -> None:
    once = retrieval.run(config(untrained, tmp_path / "once", queries))
    training = TrainingConfig(epochs=2, batch_size=4, learning_rate=1e-2, precision="fp32", eval_every=0.25)
    watched = {"queries": tmp_path / "few.jsonl"}
    often = config(untrained, tmp_path / "often", queries, training=training, validation=watched)
    assert_equal_weights(once.checkpoint, retrieval.run(often).checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"plan": {"train": "rows"}}}, r"document_rows .* needs a model that\s+trains"),
        ({"training": {"deepspeed": "configs/deepspeed/zero2.json"}}, r"one process without DeepSpeed"),
        ({"training": {"weight_decay": 0.1}}, r"weight_decay is 0.1"),
    ],
)
def test_what_it_cannot_do_is_refused(
    untrained: Path, queries: list[Query], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retrieval.document_rows(_Trainer(untrained), config(untrained, tmp_path / "run", queries, **changes))


def test_codes_of_several_tokens_have_no_row_that_is_a_documents(parts: tuple[PreTrainedModel, Artefacts]) -> None:
    model, artefacts = parts
    codes = artefacts.codes
    longer = type(codes)(codes.tool_ids, tuple((code[0], 1) for code in codes.sequences), codes.end_id, codes.new_ids)
    shared = Artefacts(artefacts.tokenizer, artefacts.catalog, artefacts.codebook, longer, "plain", "tiny")
    with pytest.raises(InputError, match="toolgen index --scheme atomic"):
        DocumentRows(model, shared, DocumentRowsConfig())


class _Trainer:
    """As much of a trainer as is looked at before anything is computed."""

    def __init__(self, untrained: Path) -> None:
        self.artefacts = Artefacts.load(untrained)
        self.args = type("Arguments", (), {"world_size": 1})
