"""Priors: each kind against a computation by hand, the scales, shared symbols, and what is left behind."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from tokenizer_zoo import ZOO
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from toolgen.base import Base, load_base
from toolgen.codebook import Codebook
from toolgen.config import Section, load_config
from toolgen.errors import InputError
from toolgen.priors import Prior, hidden_vectors, initialise_rows, prior_rows
from toolgen.tokenizer import encode_text
from toolgen.tools import Tool, ToolCatalog
from toolgen.vocabulary import extend, input_weight, output_weight

TOOLS = ToolCatalog(
    [
        Tool("a", "CreateBucket", "Creates a new bucket in the account.", group="s3"),
        Tool("b", "ListQueues", "Lists queues.", group="sqs"),
        Tool("c", "list_queues"),
        Tool("d", "天気", "東京の天気 for a city, with its cheap flights and whatever else there is to be said " * 9),
    ]
)
BOOK = Codebook(
    "mixed",
    {"a": ("<<a>>",), "b": ("<<b>>", "<<#1>>"), "c": ("<<b>>", "<<#2>>"), "d": ("<<d>>", "<<#2>>")},
    ("<<a>>", "<<b>>", "<<d>>", "<<#1>>", "<<#2>>"),
    TOOLS.fingerprint,
)


@pytest.fixture(scope="module")
def embedded() -> Base:
    return load_base("embedded")


@pytest.fixture(scope="module")
def untied() -> Base:
    tokenizer = ZOO["llama3"]()
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 5,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.2)
    return Base(model, tokenizer)


def rows(base: Base, prior: Prior, target: str = "output", book: Codebook = BOOK) -> Tensor:
    return prior_rows(prior, base.model, base.tokenizer, TOOLS, book, target=target)  # type: ignore[arg-type]


def plain(kind: str, pooling: str = "mean") -> Prior:
    return Prior(kind=kind, pooling=pooling, scale="none")  # type: ignore[arg-type]


def word_rows(base: Base, target: str, text: str) -> Tensor:
    weight = input_weight(base.model) if target == "input" else output_weight(base.model)
    return weight.detach()[encode_text(base.tokenizer, text)]


@pytest.mark.parametrize("target", ["input", "output"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_names_are_pooled_word_rows_of_their_own_matrix(untied: Base, target: str, pooling: str) -> None:
    got = rows(untied, plain("name", pooling), target)
    texts = ("s 3 create bucket", "sqs list queues", "list queues", "天気")
    a, b, c, d = (
        found.mean(0) if pooling == "mean" else found.amax(0)
        for found in (word_rows(untied, target, text) for text in texts)
    )
    for row, wanted in zip(got, (a, (b + c) / 2, d, b, (c + d) / 2), strict=True):
        assert torch.allclose(row, wanted, atol=1e-6)


@pytest.mark.parametrize("target", ["input", "output"])
def test_descriptions_are_pooled_word_rows_of_the_document(untied: Base, target: str) -> None:
    got = rows(untied, plain("description"), target)
    wanted = [word_rows(untied, target, tool.document()).mean(0) for tool in TOOLS.values()]
    assert torch.allclose(got[0], wanted[0], atol=1e-6)
    assert torch.allclose(got[4], (wanted[2] + wanted[3]) / 2, atol=1e-6)


def states_by_hand(base: Base, text: str, most: int = 128) -> Tensor:
    """Head inputs of one text alone, without padding, special first token and its position left out."""
    model = base.model
    first = base.tokenizer.bos_token_id if base.tokenizer.bos_token_id is not None else base.tokenizer.cls_token_id
    ids = torch.tensor([[first, *encode_text(base.tokenizer, text)[:most]]])
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state
        if hasattr(model, "cls"):
            hidden = model.cls.predictions.transform(hidden)
    return hidden[0, 1:]


@pytest.mark.parametrize("which", ["embedded", "untied"])
@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_hidden_is_what_the_output_projection_sees(which: str, pooling: str, request: pytest.FixtureRequest) -> None:
    base: Base = request.getfixturevalue(which)
    got = rows(base, plain("hidden", pooling))
    pooled = []
    for tool in TOOLS.values():
        states = states_by_hand(base, tool.document())
        pooled.append({"mean": states.mean(0), "max": states.amax(0), "last": states[-1]}[pooling])
    a, b, c, d = pooled
    for row, wanted in zip(got, (a, (b + c) / 2, d, b, (c + d) / 2), strict=True):
        assert torch.allclose(row, wanted, atol=1e-4)


def test_centring_moves_all_rows_alike(untied: Base) -> None:
    apart, centred = (rows(untied, Prior(kind="hidden", scale="none", center=center)) for center in (False, True))
    assert torch.allclose(centred[0] - centred[1], apart[0] - apart[1], atol=1e-5)
    assert not torch.allclose(centred[0], apart[0], atol=1e-3)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_title_takes_its_share_of_the_direction_and_leaves_the_norm(untied: Base, share: float) -> None:
    got = rows(untied, Prior(kind="hidden", scale="none", title=share))
    apart = rows(untied, plain("hidden"))
    for row, documents_row, tool in zip(got[[0, 2]], apart[[0, 2]], (TOOLS["a"], TOOLS["d"]), strict=True):
        own, title = (states_by_hand(untied, text).mean(0) for text in (tool.document(), tool.title()))
        direction = (1 - share) * own / own.norm() + share * title / title.norm()
        assert torch.allclose(row / row.norm(), direction / direction.norm(), atol=1e-5)
        assert torch.allclose(row.norm(), documents_row.norm(), atol=1e-4)


def test_hidden_does_not_depend_on_the_batch(untied: Base) -> None:
    texts = [tool.document() for tool in TOOLS.values()] * 3
    alone = hidden_vectors(plain("hidden"), untied.model, untied.tokenizer, texts, tokens_a_batch=1)
    together = hidden_vectors(plain("hidden"), untied.model, untied.tokenizer, texts, tokens_a_batch=10_000)
    assert torch.allclose(alone, together, atol=1e-5)
    assert torch.allclose(alone[:4], alone[4:8])


def test_hidden_reads_no_more_than_it_may(untied: Base) -> None:
    short = Prior(kind="hidden", scale="none", max_tokens=3)
    got = hidden_vectors(short, untied.model, untied.tokenizer, [TOOLS["d"].document()])
    assert torch.allclose(got[0], states_by_hand(untied, TOOLS["d"].document(), most=3).mean(0), atol=1e-5)


def test_hidden_stops_at_the_models_last_position(embedded: Base) -> None:
    long = Prior(kind="hidden", scale="none", max_tokens=10_000)
    got = hidden_vectors(long, embedded.model, embedded.tokenizer, ["bucket " * 700])
    assert torch.allclose(got[0], states_by_hand(embedded, "bucket " * 700, most=511).mean(0), atol=1e-3)


def test_the_logits_of_a_special_token_in_a_document_are_not_reached(untied: Base) -> None:
    forged, plain_text = "bucket <|eot_id|>", "bucket"
    got = hidden_vectors(plain("hidden"), untied.model, untied.tokenizer, [forged, plain_text])
    assert torch.allclose(got[0], states_by_hand(untied, forged).mean(0), atol=1e-5)
    assert len(encode_text(untied.tokenizer, forged)) > 3


def test_the_model_is_left_as_it_was(untied: Base) -> None:
    untied.model.train()
    before = [value.clone() for value in untied.model.state_dict().values()]
    rows(untied, plain("hidden"))
    assert untied.model.training
    assert not untied.model.get_output_embeddings()._forward_pre_hooks
    assert all(torch.equal(old, new) for old, new in zip(before, untied.model.state_dict().values(), strict=True))
    untied.model.eval()
    rows(untied, plain("hidden"))
    assert not untied.model.training


def test_the_hook_goes_even_when_the_model_fails(untied: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(untied.model, "forward", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        rows(untied, plain("hidden"))
    assert not untied.model.get_output_embeddings()._forward_pre_hooks


def test_progress_counts_documents(untied: Base) -> None:
    seen: list[tuple[int, int]] = []
    hidden_vectors(
        plain("hidden"), untied.model, untied.tokenizer, ["a b", "c", "d e f", ""],
        lambda done, total: seen.append((done, total)), tokens_a_batch=1,
    )  # fmt: skip
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("kind", ["name", "description", "hidden", "random"])
@pytest.mark.parametrize("target", ["input", "output"])
def test_scales_give_the_norms_they_promise(untied: Base, kind: str, target: str) -> None:
    weight = input_weight(untied.model) if target == "input" else output_weight(untied.model)
    mean = weight.detach().norm(dim=1).mean()
    bare = rows(untied, Prior(kind=kind, scale="none"), target)  # type: ignore[arg-type]
    for scale, norm in (("word", mean), ("small", torch.tensor(32**-0.5))):
        got = rows(untied, Prior(kind=kind, scale=scale), target)  # type: ignore[arg-type]
        assert torch.allclose(got.norm(dim=1), norm.expand(5), rtol=1e-4)
        assert torch.allclose(torch.cosine_similarity(got, bare), torch.ones(5), atol=1e-5)


def test_random_rows_spread_like_word_rows_and_follow_the_seed(untied: Base) -> None:
    many = Codebook("atomic", {"a": ("<<a>>",)}, ("<<a>>", *(f"<<{n}>>" for n in range(999))), "none")
    got = rows(untied, Prior(kind="random", scale="none"), book=many)
    assert got.std().item() == pytest.approx(output_weight(untied.model).std().item(), rel=0.02)
    torch.manual_seed(7)
    assert torch.equal(got, rows(untied, Prior(kind="random", scale="none"), book=many))
    assert not torch.equal(got, rows(untied, Prior(kind="random", scale="none", seed=1), book=many))


def test_word_rows_end_where_the_new_symbols_begin(untied: Base) -> None:
    """After an extension the rows of tools must not count as word rows."""
    base = Base(Qwen2ForCausalLM(untied.model.config), untied.tokenizer)
    wanted = {kind: rows(base, Prior(kind=kind)) for kind in ("name", "random")}  # type: ignore[arg-type]
    extended = extend(base.model, base.tokenizer, BOOK)
    with torch.no_grad():
        output_weight(base.model)[extended.first_id :] = 100.0
    for kind, before in wanted.items():
        after = prior_rows(
            Prior(kind=kind), base.model, extended.tokenizer, TOOLS, BOOK,  # type: ignore[arg-type]
            target="output", words_below=extended.first_id,
        )  # fmt: skip
        assert torch.allclose(after, before)


@pytest.mark.parametrize("kind", ["name", "description", "hidden"])
def test_a_tool_whose_text_has_no_token_gets_the_mean_word_row(embedded: Base, kind: str) -> None:
    catalog = ToolCatalog([Tool("a", "CreateBucket"), Tool("z", "\u200b\u200d")])
    book = Codebook("atomic", {"a": ("<<a>>",), "z": ("<<z>>",)}, ("<<a>>", "<<z>>"), "none")
    prior = Prior(kind=kind, scale="none")  # type: ignore[arg-type]
    got = prior_rows(prior, embedded.model, embedded.tokenizer, catalog, book, target="output")
    if kind == "name":
        assert torch.allclose(got[1], output_weight(embedded.model).detach().mean(0), atol=1e-6)
    assert got.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_initialising_writes_both_matrices(untied: Base, dtype: torch.dtype) -> None:
    model: PreTrainedModel = Qwen2ForCausalLM(untied.model.config).to(dtype)
    extended = extend(model, untied.tokenizer, BOOK)
    initialise_rows(extended, TOOLS, BOOK, Prior(kind="name"), input_prior=Prior(kind="description", scale="small"))
    for weight, prior, target in (
        (output_weight(model), Prior(kind="name"), "output"),
        (input_weight(model), Prior(kind="description", scale="small"), "input"),
    ):
        wanted = prior_rows(
            prior,
            model,
            extended.tokenizer,
            TOOLS,
            BOOK,
            target=target,
            words_below=extended.first_id,  # type: ignore[arg-type]
        )
        assert torch.equal(weight[extended.first_id :], wanted.to(dtype))


def test_initialising_a_tied_model_writes_the_output_rows() -> None:
    base = load_base("embedded")
    extended = extend(base.model, base.tokenizer, BOOK)
    initialise_rows(extended, TOOLS, BOOK, Prior(), input_prior=Prior(kind="random"))
    wanted = prior_rows(
        Prior(), base.model, extended.tokenizer, TOOLS, BOOK, target="output", words_below=extended.first_id
    )
    assert torch.equal(input_weight(base.model)[extended.first_id :], wanted)


def test_initialising_without_new_symbols_does_nothing(untied: Base) -> None:
    text = Codebook("semantic", {"a": ("create",), "b": ("list",)}, (), "none")
    catalog = ToolCatalog([TOOLS["a"], TOOLS["b"]])
    model = Qwen2ForCausalLM(untied.model.config)
    before = output_weight(model).clone()
    initialise_rows(extend(model, untied.tokenizer, text), catalog, text, Prior())
    assert torch.equal(output_weight(model), before)


def test_a_prior_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="pooling 'last' is for kind 'hidden'"):
        Prior(kind="name", pooling="last")
    with pytest.raises(ValidationError, match="title is for kind 'hidden'"):
        Prior(kind="description", title=0.5)
    with pytest.raises(ValidationError, match="title"):
        Prior(title=1.5)
    # Runs that knew no titles are still the same runs.
    assert "title" not in Prior().model_dump() and Prior(title=0.5).model_dump()["title"] == 0.5
    with pytest.raises(ValidationError, match="frozen"):
        Prior().kind = "name"  # type: ignore[misc]

    class Holder(Section):
        prior: Prior = Prior()

    path = tmp_path / "prior.yaml"
    path.write_text("prior: {kind: nmae, pooled: mean}\n", encoding="utf-8")
    with pytest.raises(InputError, match="prior.kind.*'nmae'.*unknown key 'prior.pooled'"):
        load_config(Holder, path)
