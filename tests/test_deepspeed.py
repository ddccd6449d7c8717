"""Stages under the deepspeed launcher, two CPU processes, on a tiny model: however divided, they compute the same."""

import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_stage import stage_one

from toolgen.agent.trajectory import Step, Trajectory, write_trajectories
from toolgen.agent.turns import FINISH
from toolgen.base import load_tokenizer
from toolgen.benchmarks.tiny import tiny_catalog, tiny_queries
from toolgen.generative import GenerativeRetriever
from toolgen.indexing import build
from toolgen.plans import LoraSettings, TrainPlan
from toolgen.queries import Query, write_queries
from toolgen.resumption import checkpoints
from toolgen.stages import agent, memorization, retrieval
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog
from toolgen.training import TrainingConfig

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles an op on CPU and needs g++"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="this is the CPU path; with CUDA the launcher counts GPUs"),
]

PLAN = TrainingConfig(
    epochs=20, batch_size=10, learning_rate=3e-3, precision="fp32", max_length=64, save_every=0.5, eval_every=1
)
STEPS = 60
_ports = count(29641)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deepspeed")


@pytest.fixture(scope="module")
def paths(folder: Path, tiny_base: Path) -> dict[str, Path]:
    """Catalogue, queries and codebook."""
    catalog, tokenizer = tiny_catalog(), load_tokenizer(str(tiny_base))
    found = {"tools": folder / "tools.jsonl", "codebook": folder / "codebook.json", "queries": folder / "queries.jsonl"}
    catalog.to_jsonl(found["tools"])
    write_queries(found["queries"], tiny_queries(catalog))
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(found["codebook"])
    return found


@pytest.fixture(scope="module")
def alone(folder: Path, paths: dict[str, Path], tiny_base: Path) -> Path:
    """Stage 1 in this one process, without DeepSpeed."""
    memorization.run(stage_one(paths, tiny_base, folder / "alone", training=PLAN))
    return folder / "alone"


def launch(script: str, *overrides: str) -> None:
    command = [
        str(Path(sys.executable).parent / "deepspeed"),
        "--num_gpus=2",
        f"--master_port={next(_ports)}",
        f"stages/{script}",
        "tracking.mode=disabled",
        "abilities=null",
        "training.precision=fp32",
        "training.batch_size=10",
        "training.learning_rate=3e-3",
        *overrides,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]


def test_a_finished_process_of_several_is_not_taken_down() -> None:
    """Gloo's threads may still hold tensors then, and abort it."""
    program = "import atexit; from toolgen import distributed; atexit.register(print, 'taken down')\nprint('done')\n"
    program += "distributed.finish()"
    for size, printed in (("1", "done\ntaken down\n"), ("2", "done\n")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "WORLD_SIZE": size},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert done.stdout == printed


def launch_stage_one(output: Path, paths: dict[str, Path], tiny_base: Path, zero: str, *overrides: str) -> None:
    launch(
        "memorization.py",
        f"model={tiny_base}",
        f"tools={paths['tools']}",
        f"codebook={paths['codebook']}",
        f"output={output}",
        f"training.deepspeed=configs/deepspeed/{zero}.json",
        "training.epochs=20",
        "training.max_length=64",
        "training.save_every=0.5",
        "training.eval_every=1",
        *overrides,
    )


def logged(run: Path) -> list[float]:
    """Losses and gradient norms of a finished run."""
    history = json.loads((checkpoints(run / "checkpoints")[-1] / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in history for key in ("loss", "grad_norm")]


def assert_same_run(one: Path, other: Path) -> None:
    assert logged(one) == pytest.approx(logged(other), rel=1e-4)
    ours, theirs = (load_file(run / "final" / "model.safetensors") for run in (one, other))
    assert set(ours) == set(theirs)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5) for name in ours)


def cut_at_half(run: Path, output: Path) -> None:
    """Leave in ``output`` what ``run`` would have left if it had been killed after half of its steps."""
    half = checkpoints(run / "checkpoints")[0]
    assert half.name == f"checkpoint-{STEPS // 2}"
    shutil.copytree(half, output / "checkpoints" / half.name)


@pytest.mark.parametrize("zero", ["zero1", "zero3"])
def test_two_processes_compute_what_one_does(
    folder: Path, paths: dict[str, Path], tiny_base: Path, alone: Path, zero: str
) -> None:
    launch_stage_one(folder / zero, paths, tiny_base, zero)
    assert_same_run(folder / zero, alone)
    assert {path.name for path in (folder / zero).iterdir()} == {"checkpoints", "final", "report.json"}


def test_two_processes_go_on_as_one_and_one_as_two(
    folder: Path, paths: dict[str, Path], tiny_base: Path, alone: Path
) -> None:
    launch_stage_one(folder / "zero2", paths, tiny_base, "zero2", "training.micro_batch_size=2")
    assert_same_run(folder / "zero2", alone)
    cut_at_half(folder / "zero2", folder / "one")
    resumed = memorization.run(stage_one(paths, tiny_base, folder / "one", training=PLAN, resume=True))
    assert resumed.report["resumed_at_step"] == STEPS // 2
    assert_same_run(folder / "one", alone)
    cut_at_half(alone, folder / "two")
    launch_stage_one(folder / "two", paths, tiny_base, "zero3", "resume=true")
    assert json.loads((folder / "two" / "report.json").read_text())["resumed_at_step"] == STEPS // 2
    assert_same_run(folder / "two", alone)


def test_rows_alone_under_partitioned_weights(folder: Path, paths: dict[str, Path], tiny_base: Path) -> None:
    training = PLAN.model_copy(update={"plan": TrainPlan(train="rows")})
    memorization.run(stage_one(paths, tiny_base, folder / "rows", training=training))
    launch_stage_one(folder / "rows3", paths, tiny_base, "zero3", "training.plan.train=rows")
    assert_same_run(folder / "rows3", folder / "rows")


def test_rows_and_adapters_go_on_under_partitioned_weights(
    folder: Path, paths: dict[str, Path], tiny_base: Path
) -> None:
    """A checkpoint's model holds adapters merged, so theirs come from the training state alone."""
    plan = TrainPlan(train="rows+lora", lora=LoraSettings(rank=4))
    training = PLAN.model_copy(update={"plan": plan})
    memorization.run(stage_one(paths, tiny_base, folder / "lora", training=training))
    for zero in ("zero2", "zero3_offload"):
        cut_at_half(folder / "lora", folder / f"lora-{zero}")
        keys = "training.plan.train=rows+lora", "training.plan.lora.rank=4", "resume=true"
        launch_stage_one(folder / f"lora-{zero}", paths, tiny_base, zero, *keys)
        assert json.loads((folder / f"lora-{zero}" / "report.json").read_text())["resumed_at_step"] == STEPS // 2
        assert_same_run(folder / f"lora-{zero}", folder / "lora")
    base, final = (load_file(path / "model.safetensors") for path in (tiny_base, folder / "lora-zero2" / "final"))
    frozen = [name for name in base if base[name].ndim == 1]
    assert frozen and all(torch.equal(base[name], final[name]) for name in frozen)


def test_the_same_processes_go_on_bit_by_bit_and_stage_two_follows(
    folder: Path, paths: dict[str, Path], tiny_base: Path
) -> None:
    bf16 = "training.precision=bf16"
    launch_stage_one(folder / "bf16", paths, tiny_base, "zero3_offload", bf16)
    cut_at_half(folder / "bf16", folder / "again")
    launch_stage_one(folder / "again", paths, tiny_base, "zero3_offload", bf16, "resume=true")
    assert logged(folder / "again") == logged(folder / "bf16")
    ours, theirs = (load_file(folder / run / "final" / "model.safetensors") for run in ("again", "bf16"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    launch(
        "retrieval.py",
        f"model={folder / 'again' / 'final'}",
        f"output={folder / 'retrieval'}",
        f"queries.path={paths['queries']}",
        f"validation.queries={paths['queries']}",
        "training.deepspeed=configs/deepspeed/zero3.json",
        "training.epochs=10",
        "training.learning_rate=1e-3",
    )
    retriever = GenerativeRetriever.load(folder / "retrieval" / "final", device="cpu")
    queries = [json.loads(line) for line in paths["queries"].read_text().splitlines()]
    answers = retriever.search([query["query"] for query in queries], 1)
    right = sum(hits[0].tool in query["tools"] for hits, query in zip(answers, queries, strict=True))
    assert right >= 0.8 * len(queries)


def test_stage_three_computes_what_one_process_does_and_goes_on(folder: Path, tiny_base: Path) -> None:
    """Behind stages 1 and 2, whose checkpoint is a tiny one here; episodes are packed, weights partitioned."""
    catalog, tokenizer = ToolCatalog([*tiny_catalog().values(), FINISH]), load_tokenizer(str(tiny_base))
    files = {name: folder / f"agent-{name}" for name in ("tools.jsonl", "codebook.json", "episodes.jsonl")}
    catalog.to_jsonl(files["tools.jsonl"])
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(files["codebook.json"])
    write_trajectories(
        files["episodes.jsonl"],
        [
            Trajectory(tool.id, f"to {tool.description}", (Step(tool.id, {}, "{}", "I do."),), "answer", "Done.")
            for tool in tiny_catalog().values()
        ],
    )
    keys = {
        "model": str(tiny_base),
        "tools": str(files["tools.jsonl"]),
        "codebook": str(files["codebook.json"]),
        "prompt": "plain",
        "trajectories": [str(files["episodes.jsonl"])],
        "documents": False,
    }
    training = {"epochs": 4, "max_length": 128, "row_tokens": 256, "save_every": 0.5, "eval_every": 1}
    shared = {"precision": "fp32", "batch_size": 10, "learning_rate": 3e-3}
    alone = agent.AgentConfig.model_validate(
        {
            **keys,
            "output": folder / "agent-alone",
            "tracking": {"mode": "disabled"},
            "abilities": None,
            "training": {**training, **shared},
        }
    )
    agent.run(alone)
    overrides = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    overrides += [f"training.{key}={value}" for key, value in training.items()]
    for zero in ("zero2", "zero3"):
        run = folder / f"agent-{zero}"
        launch("agent.py", *overrides, f"output={run}", f"training.deepspeed=configs/deepspeed/{zero}.json")
        assert_same_run(run, folder / "agent-alone")
    again = folder / "agent-again"
    half = checkpoints(folder / "agent-alone" / "checkpoints")[0]
    shutil.copytree(half, again / "checkpoints" / half.name)
    zero = "training.deepspeed=configs/deepspeed/zero3.json"
    launch("agent.py", *overrides, f"output={again}", zero, "resume=true")
    assert_same_run(again, folder / "agent-alone")


def test_answers_side_by_side_and_beams_are_the_same_under_partitioned_weights(
    folder: Path, paths: dict[str, Path], tiny_base: Path
) -> None:
    catalog, tokenizer = tiny_catalog(), load_tokenizer(str(tiny_base))
    book = build("numeric", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(folder / "numeric.json")
    pairs = [
        Query(f"pair-{one}", f"{catalog[one].description} {catalog[other].description}", (one, other))
        for one, other in zip(catalog.ids[:20], catalog.ids[10:], strict=True)
    ]
    write_queries(folder / "pairs.jsonl", pairs)
    start = stage_one(paths, tiny_base, folder / "numeric", codebook=folder / "numeric.json")
    memorization.run(start)
    keys = {
        "model": str(folder / "numeric" / "final"),
        "queries.path": str(folder / "pairs.jsonl"),
        "validation.queries": str(folder / "pairs.jsonl"),
        "training.epochs": "5",
    }
    launch(
        "retrieval.py",
        f"output={folder / 'partitioned'}",
        "training.deepspeed=configs/deepspeed/zero3.json",
        *(f"{key}={value}" for key, value in keys.items()),
    )
    whole = retrieval.run(
        retrieval.RetrievalConfig(
            model=keys["model"],
            output=folder / "whole",
            queries={"path": folder / "pairs.jsonl"},
            validation={"queries": folder / "pairs.jsonl"},
            tracking={"mode": "disabled"},
            training=TrainingConfig(epochs=5, batch_size=10, learning_rate=3e-3, precision="fp32"),
        )
    ).report
    partitioned = json.loads((folder / "partitioned" / "report.json").read_text())
    assert partitioned["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-4)
    for figure in ("loss", "ndcg@5"):
        assert partitioned["validation"][figure] == pytest.approx(whole["validation"][figure], rel=1e-3)
    assert whole["validation"]["ndcg@5"] > 0.5
