"""Rows that are held to where they started: what is added to the loss, once a step, and that going on adds the same."""

import copy
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resumption import assert_equal_weights, interrupted
from tiny_models import VOCABULARY, tiny_model
from tiny_stage import stage_one
from transformers import AutoModelForCausalLM

from toolgen.errors import InputError
from toolgen.plans import TrainPlan, prepare
from toolgen.regularizer import Regularizer, RegularizerConfig
from toolgen.stages import memorization
from toolgen.training import TrainingConfig
from toolgen.vocabulary import extend_model, output_weight

PLAN = TrainPlan(train="rows", input_rows=False)
TRAINING = TrainingConfig(epochs=4, batch_size=10, learning_rate=3e-2, precision="fp32", max_length=64, plan=PLAN)
NEW = 5


@pytest.mark.parametrize("distance", ["squared", "plain"])
def test_the_distance_from_the_start_is_what_is_added(distance: Any) -> None:
    model = copy.deepcopy(tiny_model("llama", True))
    extend_model(model, VOCABULARY, NEW)
    prepare(model, PLAN, VOCABULARY)
    rows = model.get_output_embeddings().rows
    pull = Regularizer(model, RegularizerConfig(weight=0.5, distance=distance))
    (still,) = torch.autograd.grad(pull.loss(), rows)
    assert pull.loss() == 0 and torch.equal(still, torch.zeros_like(rows))
    step = torch.zeros_like(rows)
    step[1, :2] = torch.tensor([3.0, -4.0])
    with torch.no_grad():
        rows += step
    (gradient,) = torch.autograd.grad(pull.loss(), rows)
    assert pull.loss().item() == pytest.approx(0.5 * (25 if distance == "squared" else 5))
    assert torch.allclose(gradient, step if distance == "squared" else step / 10, atol=1e-5)


def trained(files: dict[str, Path], base: Path, output: Path, **changes: object) -> torch.Tensor:
    """The new output rows of a run."""
    training = TRAINING.model_copy(update=changes)
    done = memorization.run(stage_one(files, base, output, training=training))
    first = len(output_weight(AutoModelForCausalLM.from_pretrained(base)))
    return output_weight(AutoModelForCausalLM.from_pretrained(done.checkpoint)).detach()[first:]


def test_the_pull_counts_once_a_step_however_it_is_computed(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    pull = {"regularizer": RegularizerConfig(weight=0.1)}
    free = trained(files, tiny_base, tmp_path / "free")
    whole = trained(files, tiny_base, tmp_path / "whole", **pull)
    parts = trained(files, tiny_base, tmp_path / "parts", micro_batch_size=5, **pull)
    cached = PLAN.model_copy(update={"cached_states": True})
    states = trained(files, tiny_base, tmp_path / "states", plan=cached, **pull)
    assert torch.allclose(whole, parts, atol=1e-4) and torch.allclose(whole, states, atol=1e-4)
    assert not torch.allclose(whole, free, atol=1e-2)


def test_the_stronger_the_pull_the_less_rows_move(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    start = trained(files, tiny_base, tmp_path / "start", learning_rate=1e-30)
    moved = [
        float(torch.linalg.vector_norm(rows - start))
        for weight in (None, 0.003, 0.03)
        for pull in [RegularizerConfig(weight=weight) if weight else None]
        for rows in [trained(files, tiny_base, tmp_path / str(weight), epochs=60, regularizer=pull)]
    ]
    assert moved[0] > 1.3 * moved[1] > 1.3 * 1.3 * moved[2] > 0


def test_a_run_that_goes_on_is_pulled_to_where_the_whole_run_began(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TRAINING.model_copy(update={"regularizer": RegularizerConfig(weight=0.1)})
    whole = memorization.run(stage_one(files, tiny_base, tmp_path / "whole", training=training))
    config = stage_one(files, tiny_base, tmp_path / "run", training=training, resume=True)
    assert interrupted(monkeypatch, config, signal.SIGTERM) == 128 + signal.SIGTERM
    resumed = memorization.run(config)
    assert resumed.report["resumed_at_step"] == 5
    assert_equal_weights(whole.checkpoint, resumed.checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": TrainPlan()}, "beside a base that stands still"),
        ({"plan": TrainPlan(train="rows", output_rows=False)}, "beside a base that stands still"),
        ({"deepspeed": Path("zero2.json")}, "without DeepSpeed"),
    ],
)
def test_what_has_no_rows_of_its_own_to_pull_is_refused(
    changes: dict[str, object], message: str, files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"regularizer": RegularizerConfig(weight=0.1), **changes})
    with pytest.raises(InputError, match=message):
        memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=training))
    assert not (tmp_path / "run").exists()


def test_runs_without_a_pull_are_told_the_same_as_before_there_was_one() -> None:
    assert "regularizer" not in TrainingConfig().model_dump(mode="json")
    assert TRAINING.model_copy(update={"regularizer": RegularizerConfig(weight=1)}).model_dump()["regularizer"]
