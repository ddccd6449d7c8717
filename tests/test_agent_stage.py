"""The agent stage on a tiny decoder: it learns what the assistant says and nothing else, whatever the layout, and goes
on where it stopped; its tool rows train under every plan."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizer_zoo import ZOO
from transformers import LlamaConfig, LlamaForCausalLM

from toolgen.agent.training import EpisodeCollator, linearize_episodes
from toolgen.agent.trajectory import Step, Trajectory, write_trajectories
from toolgen.agent.turns import FINISH, TurnRenderer
from toolgen.attention import PADDING
from toolgen.checkpoint import Artefacts
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.plans import LoraSettings, TrainPlan
from toolgen.stages import agent
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import Tool, ToolCatalog
from toolgen.training import IGNORED

PLANS = {
    "full": TrainPlan(),
    "rows": TrainPlan(train="rows"),
    "rows+lora": TrainPlan(train="rows+lora", lora=LoraSettings(rank=4)),
}


def episode(number: int, **keys: Any) -> Trajectory:
    name = f"b{number}"
    steps = (
        Step("s3.ListBuckets", {}, "[]", "I look."),
        Step("s3.CreateBucket", {"Bucket": name}, "{}", f"I make {name}."),
    )
    told = {"id": f"t{number}", "query": f"make {name}", "steps": steps[number % 2 :], "ended": "answer"}
    return Trajectory(**{**told, "answer": f"{name} is there.", "won": True, **keys})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, its catalogue and codebook, and episodes."""
    folder = tmp_path_factory.mktemp("agent")
    tokenizer = ZOO["llama2"]()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    parameters = {"type": "object", "properties": {"Bucket": {"type": "string"}}, "required": ["Bucket"]}
    catalog = ToolCatalog(
        [
            Tool("s3.CreateBucket", "CreateBucket", "Makes a bucket.", parameters=parameters),
            Tool("s3.ListBuckets", "ListBuckets", "Lists buckets."),
            FINISH,
        ]
    )
    catalog.to_jsonl(folder / "tools.jsonl")
    encode = lambda text: encode_text(tokenizer, text)  # noqa: E731
    build("atomic", catalog, encode=encode, end_id=end_token_id(tokenizer)).save(folder / "codebook.json")
    write_trajectories(folder / "episodes.jsonl", [episode(number) for number in range(8)])
    return {name: folder / name for name in ("base", "tools.jsonl", "codebook.json", "episodes.jsonl")}


def config(files: dict[str, Path], output: Path, training: dict[str, Any] | None = None, **keys: Any) -> Any:
    values: dict[str, Any] = {
        "model": str(files["base"]),
        "tools": files["tools.jsonl"],
        "codebook": files["codebook.json"],
        "trajectories": [files["episodes.jsonl"]],
        "prompt": "plain",
        "prior": {"kind": "random"},
        "output": output,
        "abilities": None,
        "tracking": {"mode": "disabled"},
        "training": {
            "epochs": 10,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "precision": "fp32",
            "max_length": 512,
            "row_tokens": 512,
            **(training or {}),
        },
    }
    return agent.AgentConfig.model_validate(values | keys)


@pytest.fixture(scope="module")
def trained(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return agent.run(
        config(
            files,
            tmp_path_factory.mktemp("trained"),
            {"save_every": 0.5, "eval_every": 0.5},
            validation={"trajectories": [files["episodes.jsonl"]]},
        )
    )


def test_it_learns_and_says_so(trained: Any) -> None:
    losses = [entry["loss"] for entry in trained.report["log"] if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert trained.report["validation"]["loss"] < losses[0]
    assert 0 < trained.report["validation"]["mean_token_accuracy"] <= 1
    assert not any("num_tokens" in entry for entry in trained.report["log"])
    history = Artefacts.load(trained.checkpoint).history[-1]
    assert history["stage"] == "agent" and history["config"]["documents"] is True


def test_the_checkpoint_holds_exactly_its_files(trained: Any) -> None:
    names = {path.name for path in trained.checkpoint.iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "tools.jsonl",
        "codebook.json",
        "toolgen.json",
    }


def test_a_run_that_goes_on_ends_bit_equal(files: dict[str, Path], trained: Any, tmp_path: Path) -> None:
    half = next((trained.checkpoint.parent / "checkpoints").glob("checkpoint-10"))
    shutil.copytree(half, tmp_path / "checkpoints" / half.name)
    again = agent.run(
        config(
            files,
            tmp_path,
            {"save_every": 0.5, "eval_every": 0.5},
            validation={"trajectories": [files["episodes.jsonl"]]},
            resume=True,
        )
    )
    assert again.report["resumed_at_step"] == 10
    ours, theirs = (load_file(run.checkpoint / "model.safetensors") for run in (again, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("plan", PLANS)
def test_tool_rows_train_and_a_frozen_base_stands_still(files: dict[str, Path], tmp_path: Path, plan: str) -> None:
    """TRL reads the head's matrix by itself: rows that stand apart from it must not be passed over."""
    done = agent.run(config(files, tmp_path, {"plan": PLANS[plan], "epochs": 2}))
    artefacts = Artefacts.load(done.checkpoint)
    first = artefacts.codes.first_new_id
    ends = []
    for epochs in (2, 4):
        run = agent.run(config(files, tmp_path / f"{epochs}", {"plan": PLANS[plan], "epochs": epochs}))
        ends.append(load_file(run.checkpoint / "model.safetensors")["model.embed_tokens.weight"])
    assert (ends[0][first:] != ends[1][first:]).any(1).all(), "every tool's row moves"
    base = load_file(files["base"] / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(ends[1][:first], base) is (plan != "full")
    assert done.report["log"][-1]["train_loss"] < done.report["log"][0]["loss"]


@pytest.mark.parametrize("plan", ["full", "rows"])
def test_the_layout_does_not_change_the_loss(files: dict[str, Path], tmp_path: Path, plan: str) -> None:
    layouts = ({"row_tokens": None}, {"row_tokens": 512}, {"row_tokens": 300, "micro_batch_size": 2})
    losses = []
    for number, layout in enumerate(layouts):
        done = agent.run(config(files, tmp_path / str(number), {"epochs": 2, "plan": PLANS[plan], **layout}))
        losses.append([entry["loss"] for entry in done.report["log"] if "loss" in entry] + [done.report["train_loss"]])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_only_what_the_assistant_says_is_learned(files: dict[str, Path], trained: Any) -> None:
    artefacts = Artefacts.load(trained.checkpoint)
    for documents in (True, False):
        renderer = TurnRenderer(
            artefacts.tokenizer, artefacts.catalog, artefacts.codes, artefacts.prompt, documents=documents
        )
        one = episode(0)
        row = linearize_episodes([one], renderer, 512)[0]
        pieces = renderer.render(one)
        learned = [token_id for piece in pieces if piece.learned for token_id in piece.ids]
        assert [label for label in row["labels"] if label != IGNORED] == learned
        assert row["input_ids"] == [token_id for piece in pieces for token_id in piece.ids]
        assert all(code in learned for code in artefacts.codes.sequences[0])


def test_rows_hold_whole_episodes_that_are_told_apart(files: dict[str, Path], trained: Any) -> None:
    artefacts = Artefacts.load(trained.checkpoint)
    renderer = TurnRenderer(artefacts.tokenizer, artefacts.catalog, artefacts.codes, artefacts.prompt)
    rows = linearize_episodes([episode(number) for number in range(5)], renderer, 512)
    batch = EpisodeCollator(artefacts.pad_id, 512)(list(rows))
    seen = []
    for ids, labels, positions, samples in zip(
        *(batch[key] for key in ("input_ids", "labels", "position_ids", "samples")), strict=True
    ):
        for number in range(int(samples.max()) + 1):
            own = samples == number
            assert positions[own].tolist() == list(range(int(own.sum())))
            seen.append((ids[own].tolist(), labels[own].tolist()))
        assert (labels[samples == PADDING] == IGNORED).all()
    assert sorted(seen) == sorted((row["input_ids"], row["labels"]) for row in rows)


@pytest.mark.parametrize("keys", [{"ended": "give_up", "answer": None}, {"ended": "unfinished"}, {"won": False}])
def test_lost_episodes_are_left_out_unless_they_are_wanted(
    files: dict[str, Path], tmp_path: Path, keys: dict[str, Any]
) -> None:
    catalog = ToolCatalog.from_jsonl(files["tools.jsonl"])
    write_trajectories(tmp_path / "e.jsonl", [episode(0), episode(1, **keys)])
    assert [one.id for one in agent.chosen([tmp_path / "e.jsonl"], catalog, lost=False)] == ["t0"]
    assert len(agent.chosen([tmp_path / "e.jsonl"], catalog, lost=True)) == 2
    write_trajectories(tmp_path / "lost.jsonl", [episode(1, **keys)])
    with pytest.raises(InputError, match="lost=true"):
        agent.chosen([tmp_path / "lost.jsonl"], catalog, lost=False)


def test_bad_configurations_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_length"):
        agent.run(config(files, tmp_path / "short", {"max_length": 4}))
    with pytest.raises(InputError, match="context holds 512"):
        agent.run(config(files, tmp_path / "long", {"max_length": 6144}))
    (tmp_path / "unknown.jsonl").write_text(
        json.dumps({**episode(0).to_record(), "steps": [{"tool": "s3.Gone", "arguments": {}}]}) + "\n"
    )
    with pytest.raises(InputError, match=r"s3\.Gone"):
        agent.run(config(files, tmp_path / "unknown", trajectories=[tmp_path / "unknown.jsonl"]))
    zero3 = Path(__file__).parent.parent / "configs/deepspeed/zero3.json"
    with pytest.raises(InputError, match="ZeRO-2"):
        agent.run(config(files, tmp_path, {"plan": PLANS["rows"], "deepspeed": zero3}))
