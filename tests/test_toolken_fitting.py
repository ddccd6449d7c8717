"""States that are kept and rows that learn from them: the same as the whole model with autograd, and a base that stands
still."""

import copy
import errno
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import MODELS, PAD, VOCABULARY, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.agent.stream import Stream
from toolgen.errors import DiskFullError, InputError
from toolgen.regularizer import RegularizerConfig
from toolgen.toolken.fitting import FitConfig, fit_rows, label_losses, mean_loss
from toolgen.toolken.linearize import Example
from toolgen.toolken.measures import Decisions, best_bias, decide, decide_by_neighbour, figures
from toolgen.toolken.states import TextStates, text_states, weights_checksum
from toolgen.training import IGNORED

ROWS = 3


def examples(count: int = 12, seed: int = 0) -> list[Example]:
    """Random texts of many lengths, each with a call of one or two tools."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        length = 6 + 2 * (number % 7)
        ids = torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
        labels = [IGNORED, *ids[1:]]
        labels[3:5] = [VOCABULARY + number % ROWS, IGNORED]
        if number % 2:
            labels[-1] = VOCABULARY + (number + 1) % ROWS
        found.append(Example(f"t{number}", tuple(ids), tuple(labels)))
    return found


def kept(model: PreTrainedModel, tmp_path: Path, texts: list[Example] | None = None, **keys: Any) -> TextStates:
    return text_states(model, texts or examples(), PAD, cache=tmp_path, **keys)


def start(seed: int = 1, width: int = 32) -> Tensor:
    return torch.randn(ROWS, width, generator=torch.Generator().manual_seed(seed)) * 0.1


def whole_loss(model: PreTrainedModel, text: Example, rows_SD: Tensor) -> Tensor:
    """Losses of a text's labels by the whole model, its rows below the base's."""
    seen: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    logits_TV = model(input_ids=torch.tensor([text.input_ids])).logits[0]
    hook.remove()
    logits = torch.cat([logits_TV.detach(), seen[0][0].detach() @ rows_SD.T], 1)
    return F.cross_entropy(logits[:-1], torch.tensor(text.labels[1:]), ignore_index=IGNORED)


@torch.inference_mode()
def own_logits(model: PreTrainedModel) -> Tensor:
    """What the base says by itself."""
    return model(input_ids=torch.tensor([examples()[0].input_ids])).logits


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_training_on_kept_states_is_training_of_the_whole_model(kind: str, tied: bool, tmp_path: Path) -> None:
    model, texts = tiny_model(kind, tied), examples()
    before, logits_BTV = weights_checksum(model), own_logits(model)
    states = kept(model, tmp_path)
    config = FitConfig(epochs=3, learning_rate=1e-2, keep="last", seed=5)
    fit = fit_rows(states, range(len(texts)), start(), config)
    assert torch.equal(own_logits(model), logits_BTV), "a base with its rows off is the base, bit for bit"

    rows_SD = start().requires_grad_()
    optimizer = torch.optim.Adam([rows_SD], lr=1e-2)
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        for number in torch.randperm(len(texts), generator=generator).tolist():
            optimizer.zero_grad()
            whole_loss(model, texts[number], rows_SD).backward()
            optimizer.step()
    assert torch.allclose(fit.rows_SD, rows_SD, atol=1e-4)
    assert not torch.allclose(fit.rows_SD, start(), atol=1e-2)
    assert weights_checksum(model) == before, "frozen means frozen"


@pytest.mark.parametrize("distance", ["squared", "plain"])
def test_a_pull_is_part_of_the_loss(distance: Any, tmp_path: Path) -> None:
    states = kept(tiny_model(), tmp_path)
    free, held = (
        fit_rows(states, range(12), start(), FitConfig(epochs=5, learning_rate=1e-2, regularizer=pull, keep="last"))
        for pull in (None, RegularizerConfig(weight=10.0, distance=distance))
    )
    assert (held.rows_SD - start()).norm() < 0.2 * (free.rows_SD - start()).norm()


def test_losses_fall_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    states = kept(tiny_model(), tmp_path)
    fit = fit_rows(states, range(8), start(), FitConfig(epochs=30, learning_rate=3e-2), validation=range(8, 12))
    assert fit.losses[-1] < fit.losses[0] and len(fit.losses) == 30 and len(fit.validation) == 31
    assert fit.validation[fit.kept] == min(fit.validation)
    assert mean_loss(states, range(8, 12), fit.rows_SD) == pytest.approx(min(fit.validation), abs=1e-6)
    untouched = fit_rows(states, range(8), start(), FitConfig(epochs=0), validation=range(8, 12))
    assert torch.equal(untouched.rows_SD, start()) and untouched.kept == 0


def test_the_batch_does_not_change_a_label_nor_padding_a_state(tmp_path: Path) -> None:
    model, texts = tiny_model(), examples()
    together = kept(model, tmp_path)
    for number, text in enumerate(texts):
        alone = kept(model, tmp_path / text.id, [text])
        own = together.places([number])
        assert np.allclose(alone.states_nD, together.states_nD[own], atol=1e-5)
        loss = label_losses(together, own, start())
        assert torch.allclose(loss, label_losses(alone, alone.places([0]), start()), atol=1e-5)
        assert loss.mean() == pytest.approx(float(whole_loss(model, text, start())), abs=1e-4)


def test_a_pass_is_made_once_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import toolgen.toolken.states as module

    monkeypatch.setattr(module, "_TOKENS_A_BATCH", 32)
    model, told = tiny_model(), []

    def stop(done: int, _: int) -> None:
        told.append(done)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(model, tmp_path / "a", progress=stop)
    again: list[int] = []
    resumed = kept(model, tmp_path / "a", progress=lambda done, _: again.append(done))
    # The batch in which it stopped had not been noted down.
    assert again[0] == told[1] and again[-1] == 12
    whole = kept(model, tmp_path / "b")
    for name in ("states_nD", "words_n", "sums_n", "bests_n", "labels_n"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name))
    silent: list[int] = []
    kept(model, tmp_path / "a", progress=lambda done, _: silent.append(done))
    assert not silent
    kept(tiny_model(seed=1), tmp_path / "a", progress=lambda done, _: silent.append(done))
    assert silent, "another model has states of its own"


def test_texts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    long = Example("long", tuple([1] * 99), tuple([IGNORED] + [1] * 98))
    with pytest.raises(InputError, match="'long' takes 99 tokens.*holds 48"):
        kept(tiny_model(), tmp_path, [long])
    with pytest.raises(InputError, match="label nothing"):
        kept(tiny_model(), tmp_path, [Example("bare", (1, 2), (IGNORED, IGNORED))])


def test_decisions_are_those_of_the_whole_model(tmp_path: Path) -> None:
    model, texts, rows_SD = tiny_model(), examples(), start() * 20
    states = kept(model, tmp_path)
    found = decide(states, range(len(texts)), rows_SD)
    place = 0
    for number, text in enumerate(texts):
        fresh = kept(model, tmp_path / text.id, [text])
        logits_TV = model(input_ids=torch.tensor([text.input_ids])).logits[0].detach()
        for at in range(1, len(text.labels)):
            if text.labels[at] == IGNORED:
                continue
            tools_S = torch.from_numpy(fresh.states_nD[place - states.offsets[number]]) @ rows_SD.T
            assert found.margin_n[place] == pytest.approx(float(tools_S.max() - logits_TV[at - 1].max()), abs=1e-3)
            assert found.tool_n[place] == int(tools_S.argmax()) and found.text_n[place] == number
            assert found.gold_n[place] == max(text.labels[at] - VOCABULARY, -1)
            place += 1
    assert place == len(found.gold_n)


def test_the_bias_is_the_best_of_all() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        gold = generator.integers(-1, 3, 40)
        margin = generator.normal(size=40).round(1).astype(np.float32)
        found = Decisions(margin, generator.integers(0, 3, 40), gold, np.zeros(40, np.int64))
        bias = best_bias(found)
        tried = [figures(found, float(-value) + step).exact_f1 for value in margin for step in (-1e-3, 1e-3)]
        assert figures(found, bias).exact_f1 == pytest.approx(max([*tried, 0.0]))


def test_figures_by_hand() -> None:
    margin = np.array([2.0, 1.0, -1.0, -3.0], np.float32)
    found = Decisions(margin, np.array([0, 1, 1, 0]), np.array([0, -1, 0, -1]), np.zeros(4, np.int64))
    got = figures(found, 0.0)
    assert (got.precision, got.recall, got.f1) == (0.5, 0.5, 0.5)
    assert (got.tool_accuracy, got.exact_f1, got.calls, got.labels) == (0.5, 0.5, 2, 4)
    more = figures(found, 1.5)
    assert (more.precision, more.recall, more.exact_f1) == (2 / 3, 1.0, 2 / 5)
    assert figures(found, -math.inf).precision == 0
    bare = Decisions(margin, np.zeros(4, np.int64), np.full(4, -1), np.zeros(4, np.int64))
    assert figures(bare, best_bias(bare)).labels == 4 and (bare.margin_n + best_bias(bare) < 0).all()


def test_a_neighbour_decides_by_its_tool(tmp_path: Path) -> None:
    states = kept(tiny_model(), tmp_path)
    own = decide_by_neighbour(states, range(12), range(12))
    called = own.gold_n >= 0
    assert (own.tool_n[called] == own.gold_n[called]).all() and np.allclose(own.margin_n[called], 1, atol=1e-5)
    assert figures(own, best_bias(own)).exact_f1 == 1


def test_where_every_label_is_a_call_nothing_is_triggered_wrongly() -> None:
    found = Decisions(np.ones(3, np.float32), np.array([0, 1, 1]), np.array([0, 1, 0]), np.zeros(3, np.int64))
    got = figures(found, 0.0)
    assert (got.precision, got.recall, got.f1, got.exact_f1) == (None, None, None, None)
    assert got.tool_accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_states_that_are_damaged_are_made_again(damage: str, tmp_path: Path) -> None:
    whole = kept(tiny_model(), tmp_path).sums_n.copy()
    (path,) = tmp_path.rglob("sums.bin")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-8])
    assert np.array_equal(kept(tiny_model(), tmp_path).sums_n, whole)


def test_a_full_disk_is_told_before_the_model_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match="The states of the texts take"):
        kept(tiny_model(), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_model_that_bends_its_logits_is_refused(tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_model())
    model.config.final_logit_softcapping = 5.0
    with pytest.raises(InputError, match="bends its logits.*base without a cap"):
        kept(model, tmp_path)
    with pytest.raises(InputError, match="bends its logits"):
        Stream(model, [1])


def test_a_checksum_knows_weights_and_what_is_computed_with_them() -> None:
    model = copy.deepcopy(tiny_model())
    before = weights_checksum(model)
    model.config._name_or_path = "elsewhere"
    assert weights_checksum(model) == before
    model.config.rms_norm_eps = 0.5
    assert weights_checksum(model) != before
