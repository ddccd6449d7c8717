"""What trains trains, what is frozen keeps its bits, and a merged checkpoint is the model that was trained."""

import copy
from pathlib import Path

import pytest
import torch
from tiny_models import MODELS, VOCABULARY, tiny_model
from tiny_stage import stage_one
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from toolgen.checkpoint import load_model
from toolgen.errors import InputError
from toolgen.head import Head
from toolgen.plans import LoraSettings, TrainPlan, check_plan, plain_weights, prepare, restore_base
from toolgen.stages import memorization
from toolgen.training import CodeCollator, TrainingConfig, answer_logits, code_loss, parameter_groups
from toolgen.vocabulary import extend_model, input_weight, is_tied, output_weight

NEW = 7
IDS_BT = torch.tensor([[3, 4, 5, VOCABULARY, VOCABULARY + 6], [8, VOCABULARY + 2, 6, 2, 1]])
EXAMPLES = [{"prompt": [3, 4, 5], "answers": [[VOCABULARY + place, 1]]} for place in range(NEW)] + [
    {"prompt": [6, 7], "answers": [[VOCABULARY, VOCABULARY + 1, 1]]}
]


def _extended(kind: str, tied: bool) -> PreTrainedModel:
    model = copy.deepcopy(tiny_model(kind, tied))
    extend_model(model, VOCABULARY, NEW)
    return model.eval()


def _train(model: PreTrainedModel, steps: int = 4, **config: object) -> None:
    settings = TrainingConfig(learning_rate=1e-2, weight_decay=0.1, **config)
    optimizer = torch.optim.AdamW(parameter_groups(model, settings))
    batch = CodeCollator(0)(EXAMPLES)
    for _ in range(steps):
        code_loss(answer_logits(model, model, batch), batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()


def _plain(model: PreTrainedModel, kind: str, tied: bool) -> PreTrainedModel:
    """A plain model with the merged weights."""
    again = _extended(kind, tied)
    if is_tied(again) and not model.config.tie_word_embeddings:
        again.config.tie_word_embeddings = False
        again.get_output_embeddings().weight = torch.nn.Parameter(output_weight(again).detach().clone())
    weights = plain_weights(model, model.state_dict())
    assert set(weights) == set(again.state_dict())
    again.load_state_dict(weights)
    return again


def _logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS_BT).logits


@pytest.mark.parametrize(("kind", "tied"), MODELS)
@pytest.mark.parametrize("plan", ["rows", "rows+lora"])
def test_a_prepared_model_computes_what_the_plain_one_does(kind: str, tied: bool, plan: str) -> None:
    model = _extended(kind, tied)
    before, names = _logits(model), set(model.state_dict())
    prepare(model, TrainPlan(train=plan), VOCABULARY)
    after = _logits(model)
    assert torch.allclose(after, before, atol=1e-6)
    assert set(plain_weights(model, model.state_dict())) == names
    states = Head(model).states(input_ids=IDS_BT).flatten(0, 1)
    tokens = torch.tensor([VOCABULARY + 3, 4, VOCABULARY, 5])
    head, whole = Head(model), after.flatten(0, 1)
    with torch.no_grad():
        assert torch.allclose(head.logits(states, tokens), whole[:, tokens], atol=1e-5)
        for start, stop in ((2, 9), (VOCABULARY, VOCABULARY + NEW), (VOCABULARY - 3, VOCABULARY + 3)):
            assert torch.allclose(head.logits(states, slice(start, stop)), whole[:, start:stop], atol=1e-5)
        assert torch.allclose(head.normalizers(states), whole.logsumexp(-1), atol=1e-5)


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_under_rows_the_base_keeps_every_bit(kind: str, tied: bool) -> None:
    model = _extended(kind, tied)
    text_BT = IDS_BT.clamp(max=VOCABULARY - 1)
    with torch.no_grad():
        base = tiny_model(kind, tied)(input_ids=text_BT).logits
    frozen = {name: tensor.clone() for name, tensor in tiny_model(kind, tied).state_dict().items()}
    prepare(model, TrainPlan(train="rows"), VOCABULARY)
    started = plain_weights(model, model.state_dict())
    _train(model)
    with torch.no_grad():
        assert torch.equal(model(input_ids=text_BT).logits[..., :VOCABULARY], base), (
            "in the two-product form, to the bit"
        )
    plain = _plain(model, kind, tied)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor[:VOCABULARY] if tensor.shape != frozen[name].shape else tensor, frozen[name]), name
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=text_BT).logits[..., :VOCABULARY], base, atol=1e-5)
    assert torch.allclose(_logits(plain), _logits(model), atol=1e-5)
    assert not torch.equal(output_weight(plain)[VOCABULARY:], started[_name(plain, output_weight(plain))][VOCABULARY:])


def _name(model: PreTrainedModel, wanted: Tensor) -> str:
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_adapters_are_merged_as_peft_merges_them(kind: str, tied: bool) -> None:
    model = _extended(kind, tied)
    prepare(model, TrainPlan(train="rows+lora", lora=LoraSettings(rank=3, alpha=5)), VOCABULARY)
    _train(model)
    plain = _plain(model, kind, tied)
    assert torch.allclose(_logits(plain), _logits(model), atol=2e-4)
    changed = [
        name
        for name, tensor in plain.state_dict().items()
        if tensor.shape == tiny_model(kind, tied).state_dict()[name].shape
        and not torch.equal(tensor, tiny_model(kind, tied).state_dict()[name])
    ]
    assert changed and all(tensor.ndim == 2 for name, tensor in plain.state_dict().items() if name in changed)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.merge()
    assert torch.allclose(_logits(model), _logits(plain), atol=2e-5)
    restore_base(plain, tiny_model(kind, tied))
    for name in changed:
        assert torch.equal(plain.state_dict()[name], tiny_model(kind, tied).state_dict()[name]), name


@pytest.mark.parametrize(("kind", "tied"), MODELS)
@pytest.mark.parametrize(("inputs", "outputs"), [(True, False), (False, True)])
def test_input_and_output_rows_train_apart(kind: str, tied: bool, inputs: bool, outputs: bool, tmp_path: Path) -> None:
    model = _extended(kind, tied)
    before = [weight(model).detach()[VOCABULARY:].clone() for weight in (input_weight, output_weight)]
    prepare(model, TrainPlan(train="rows", input_rows=inputs, output_rows=outputs), VOCABULARY)
    _train(model)
    plain = _plain(model, kind, tied)
    moved = [
        not torch.equal(weight(plain)[VOCABULARY:], old)
        for weight, old in zip((input_weight, output_weight), before, strict=True)
    ]
    assert moved == [inputs, outputs]
    assert torch.allclose(_logits(plain), _logits(model), atol=1e-5)
    model.save_pretrained(tmp_path, state_dict=plain_weights(model, model.state_dict()))
    loaded, found = type(plain).from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"] and torch.allclose(_logits(loaded), _logits(model), atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_rows_apart_train_as_rows_of_the_matrix_do(tied: bool) -> None:
    """Two products against one matrix whose base rows get no gradient: the same losses and the same rows."""
    apart, joined = _extended("llama", tied), _extended("llama", tied)
    prepare(apart, TrainPlan(train="rows"), VOCABULARY)
    joined.requires_grad_(False)
    weights = [input_weight(joined)] if tied else [input_weight(joined), output_weight(joined)]
    for weight in weights:
        weight.requires_grad_(True)
        weight.register_hook(lambda grad: grad.index_fill(0, torch.arange(VOCABULARY), 0))
    batch = CodeCollator(0)(EXAMPLES)
    losses = []
    for model in (apart, joined):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
        losses.append([])
        for _ in range(5):
            loss = code_loss(answer_logits(model, model, batch), batch["labels"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(_logits(apart), _logits(joined), atol=1e-4)


def test_the_optimiser_keeps_nothing_for_what_is_frozen() -> None:
    model = _extended("llama", False)
    prepare(model, TrainPlan(train="rows"), VOCABULARY)
    groups = parameter_groups(
        model, TrainingConfig(learning_rate=1e-3, row_learning_rate=2e-3, input_row_learning_rate=3e-3)
    )
    assert {group["lr"]: sum(p.numel() for p in group["params"]) for group in groups} == {
        2e-3: NEW * model.config.hidden_size,
        3e-3: NEW * model.config.hidden_size,
    }


@pytest.mark.parametrize(
    ("plan", "new", "message"),
    [
        (TrainPlan(train="rows"), 0, "text of the base vocabulary"),
        (TrainPlan(train="rows", input_rows=False, output_rows=False), 5, "nothing to train"),
        (TrainPlan(train="full", input_rows=False), 5, "all rows train"),
    ],
)
def test_a_plan_that_trains_nothing_is_refused(plan: TrainPlan, new: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_plan(plan, new)


def test_layers_that_are_not_there_are_refused() -> None:
    plan = TrainPlan(train="rows+lora", lora=LoraSettings(layers="q_proj,nowhere_at_all,neither"))
    prepare(_extended("llama", False), plan, VOCABULARY)
    with pytest.raises(InputError, match="training.plan.lora.layers"):
        prepare(
            _extended("llama", False), TrainPlan(train="rows+lora", lora=LoraSettings(layers="nowhere")), VOCABULARY
        )


@pytest.mark.parametrize("train", ["rows", "rows+lora"])
def test_a_stage_learns_under_a_plan_and_leaves_a_plain_checkpoint(
    train: str, files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    config = stage_one(files, tiny_base, tmp_path / "run")
    plan = TrainPlan(train=train, lora=LoraSettings(rank=4))
    config = config.model_copy(update={"training": config.training.model_copy(update={"plan": plan})})
    done = memorization.run(config)
    short = config.training.model_copy(update={"plan": plan, "epochs": 4})
    shorter = memorization.run(config.model_copy(update={"training": short, "output": tmp_path / "shorter"}))
    assert done.report["train_loss"] < 0.8 * shorter.report["train_loss"]
    plain = AutoModelForCausalLM.from_pretrained(done.checkpoint)
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    same = [
        torch.equal(parameter, dict(base.named_parameters())[name])
        for name, parameter in plain.named_parameters()
        if parameter.shape == dict(base.named_parameters())[name].shape
    ]
    assert all(same) == (train == "rows")
    assert torch.equal(output_weight(plain)[: len(output_weight(base))], output_weight(base))
    assert not hasattr(load_model(done.checkpoint).get_output_embeddings(), "rows")
