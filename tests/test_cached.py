"""Training on states that were computed once is training, only cheaper."""

import copy
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tiny_models import MODELS, VOCABULARY, tiny_model
from tiny_stage import stage_one
from transformers import AutoModelForCausalLM

from toolgen.cached import cache_states, cached_loss, collate_states
from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.plans import TrainPlan, prepare
from toolgen.rivals import Rivals
from toolgen.stages import memorization
from toolgen.training import IGNORED, CodeCollator, TrainingConfig, answer_logits, code_loss
from toolgen.vocabulary import extend_model, output_weight

NEW = 7
PLAN = TrainPlan(train="rows", input_rows=False)
EXAMPLES = [
    {"prompt": [3, 4, 5, 6][: 1 + place % 4], "answers": [[VOCABULARY + place, 1]], "length": 3 + place % 4}
    for place in range(NEW)
]
EXAMPLES += [{"prompt": [8, 9], "answers": [[VOCABULARY, VOCABULARY + 2, 1], [VOCABULARY + 1, 7]], "length": 7}]


@pytest.mark.parametrize("wanted", [None, {"0", "2"}])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_loss_and_gradient_are_those_of_the_whole_model(
    kind: str, tied: bool, wanted: set[str] | None, tmp_path: Path
) -> None:
    model = copy.deepcopy(tiny_model(kind, tied))
    extend_model(model, VOCABULARY, NEW)
    prepare(model.eval(), PLAN, VOCABULARY)
    rows = model.get_output_embeddings().rows
    whole = CodeCollator(0)(EXAMPLES)
    codes = TokenCodes(tuple(map(str, range(NEW))), tuple((VOCABULARY + place, 1) for place in range(NEW)), 1, {})
    rivals = Rivals(codes, wanted) if wanted is not None else None
    logits = answer_logits(model, model, whole)
    if rivals is not None:
        logits = rivals.logits(logits, whole["labels"][whole["labels"] != IGNORED])
    expected = code_loss(logits, whole["labels"], 10)
    (gradient,) = torch.autograd.grad(expected, rows)
    told: list[tuple[int, int]] = []
    states = cache_states(
        model,
        Dataset.from_list(EXAMPLES),
        0,
        tmp_path / "states",
        batch=3,
        progress=lambda *done: told.append(done),
    )
    assert len(states) == len(EXAMPLES) and states.lengths.tolist() == [2] * NEW + [5]
    assert told == [(3, 8), (6, 8), (8, 8)]
    own = [[label for answer in example["answers"] for label in answer] for example in EXAMPLES]
    assert [states[place]["labels_n"].tolist() for place in range(len(states))] == own
    if wanted is not None:
        # Or nothing would be shown.
        assert 0 < int(logits.isinf().sum()) < logits.numel() / 2
        rivals = Rivals(codes, wanted)
    batch = collate_states([states[place] for place in range(len(states))])
    loss = cached_loss(model, batch, 10, rivals=rivals).whole
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (cached,) = torch.autograd.grad(loss, rows)
    assert torch.allclose(cached, gradient, atol=1e-6)


@pytest.mark.parametrize("row_tokens", [None, 64])
def test_a_stage_on_cached_states_ends_with_the_same_rows(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, row_tokens: int | None
) -> None:
    rows = []
    for cached in (False, True):
        plan = PLAN.model_copy(update={"cached_states": cached})
        training = TrainingConfig(
            epochs=8,
            batch_size=10,
            learning_rate=3e-3,
            precision="fp32",
            max_length=64,
            plan=plan,
            row_tokens=row_tokens,
        )
        done = memorization.run(stage_one(files, tiny_base, tmp_path / str(cached), training=training))
        model = AutoModelForCausalLM.from_pretrained(done.checkpoint)
        rows.append(output_weight(model).detach())
        assert not (tmp_path / str(cached) / "states").exists()
    assert torch.allclose(*rows, atol=1e-4)
    started = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert torch.equal(rows[0][: len(output_weight(started))], output_weight(started))


@pytest.mark.parametrize("plan", [{"train": "full"}, {"train": "rows"}, {"train": "rows+lora", "input_rows": False}])
def test_states_that_change_are_never_kept(
    plan: dict[str, object], files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    training = TrainingConfig(plan=TrainPlan(cached_states=True, **plan))
    with pytest.raises(InputError, match="cached_states needs a model that stands still"):
        memorization.run(stage_one(files, tiny_base, tmp_path, training=training))
