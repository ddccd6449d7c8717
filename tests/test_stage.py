"""Stages on a tiny model: loss falls, exact files, resume goes on, faults are sentences."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_stage import stage_one
from transformers import AutoModelForCausalLM, AutoTokenizer

from toolgen.code_stage import ValidationConfig
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.plans import TrainPlan
from toolgen.queries import Query, write_queries
from toolgen.stages import memorization, retrieval
from toolgen.tools import ToolCatalog
from toolgen.trainer import CodeTrainer
from toolgen.training import TrainingConfig
from toolgen.version import code_version

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def memorized(
    tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog, queries: list, tiny_base: Path
) -> memorization.StageResult:
    from toolgen.base import load_tokenizer
    from toolgen.indexing import build
    from toolgen.tokenizer import encode_text, end_token_id

    folder = tmp_path_factory.mktemp("memorized")
    files = {"tools": folder / "tools.jsonl", "codebook": folder / "codebook.json", "queries": folder / "queries.jsonl"}
    catalog.to_jsonl(files["tools"])
    write_queries(files["queries"], queries)
    tokenizer = load_tokenizer(str(tiny_base))
    encode = lambda text: encode_text(tokenizer, text)  # noqa: E731
    build("atomic", catalog, encode=encode, end_id=end_token_id(tokenizer)).save(files["codebook"])
    validation = ValidationConfig(queries=files["queries"])
    return memorization.run(stage_one(files, tiny_base, folder / "run", validation=validation))


def test_memorization_learns_the_documents(memorized: memorization.StageResult, catalog: ToolCatalog) -> None:
    retriever = GenerativeRetriever.load(memorized.checkpoint, device="cpu")
    answers = retriever.search([tool.document() for tool in catalog.values()], 3)
    right = sum(hits[0].tool == tool_id for tool_id, hits in zip(catalog, answers, strict=True))
    assert right >= 0.9 * len(catalog)
    assert {hit.tool for hits in answers for hit in hits} <= set(catalog)


def test_the_checkpoint_holds_exactly_its_files(memorized: memorization.StageResult) -> None:
    names = {path.name for path in memorized.checkpoint.iterdir()}
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


def test_the_report_says_what_was_done(memorized: memorization.StageResult, catalog: ToolCatalog) -> None:
    report = json.loads((memorized.checkpoint.parent / "report.json").read_text())
    assert report["stage"] == "memorization"
    assert report["records"] == len(catalog)
    assert report["steps"] == 40 * 3
    assert report["train_loss"] < 3
    assert report["code_versions"] == [code_version()]
    assert 0 <= report["validation"]["ndcg@5"] <= 1


def test_plain_transformers_generates_the_tool_and_stops(
    memorized: memorization.StageResult, catalog: ToolCatalog
) -> None:
    model = AutoModelForCausalLM.from_pretrained(memorized.checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(memorized.checkpoint)
    tool = catalog["users.ListUser"]
    renderer = GenerativeRetriever.load(memorized.checkpoint, device="cpu").artefacts.renderer
    prompt = torch.tensor(renderer.render([tool.document()]))
    new = model.generate(prompt, max_new_tokens=5, do_sample=False)[0, prompt.shape[1] :]
    assert tokenizer.decode(new, skip_special_tokens=True) == "<<users&&ListUser>>"
    assert new[-1] == tokenizer.eos_token_id and len(new) == 2


def test_retrieval_goes_on_from_memorization(
    memorized: memorization.StageResult, files: dict[str, Path], tmp_path: Path
) -> None:
    config = retrieval.RetrievalConfig.model_validate(
        {
            "model": str(memorized.checkpoint),
            "output": tmp_path / "run",
            "queries": {"path": files["queries"]},
            "synthetic_per_tool": 2,
            "tracking": {"mode": "disabled"},
            "training": {"epochs": 3, "batch_size": 10, "learning_rate": 1e-3, "precision": "fp32"},
        }
    )
    result = retrieval.run(config)
    assert result.report["records"] == 30 + 60
    history = json.loads((result.checkpoint / "toolgen.json").read_text())["history"]
    assert [entry["stage"] for entry in history] == ["memorization", "retrieval"]


def test_wandb_keeps_configuration_losses_and_the_final_table_offline(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    short = TrainingConfig(epochs=1, batch_size=10, precision="fp32")
    memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=short, tracking={"mode": "offline"}))
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 1
    content = runs[0].read_bytes()
    assert b"learning_rate" in content and b"train/loss" in content and b"memorization/final" in content


def test_a_length_beyond_the_models_context_is_refused(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    long = TrainingConfig(max_length=512, precision="fp32")
    with pytest.raises(InputError, match="512.*128"):
        memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=long))


def test_a_validation_query_that_is_too_long_is_refused_before_training(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, catalog: ToolCatalog
) -> None:
    write_queries(files["queries"], [Query("long", "bucket " * 300, (catalog.ids[0],))])
    with pytest.raises(InputError, match="Query number 1 .*room for"):
        memorization.run(stage_one(files, tiny_base, tmp_path / "run", validation={"queries": files["queries"]}))


def test_a_checkpoint_brings_its_own_prompt_and_rows(memorized: memorization.StageResult, tmp_path: Path) -> None:
    config = retrieval.RetrievalConfig(
        model=str(memorized.checkpoint), output=tmp_path, prompt="plain", synthetic_per_tool=1
    )
    with pytest.raises(InputError, match="leave prompt out"):
        retrieval.run(config)


@pytest.mark.parametrize(
    ("zero", "message"),
    [
        ({"stage": 3}, "stage3_gather"),
        ({"stage": 0}, "ZeRO stage 0"),
        ({}, "ZeRO stage None"),
        ({"stage": 2, "offload_optimizer": {"device": "nvme"}}, "NVMe.*offload_optimizer"),
    ],
)
def test_a_deepspeed_file_that_cannot_save_a_checkpoint_is_refused(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, zero: dict[str, object], message: str
) -> None:
    path = tmp_path / "zero.json"
    path.write_text(json.dumps({"zero_optimization": zero}))
    plan = TrainingConfig(deepspeed=path, precision="fp32")
    with pytest.raises(InputError, match=message):
        memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=plan))


def test_few_tools_are_repeated_until_the_least_number_of_steps(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    few = TrainingConfig(epochs=1, min_steps=7, batch_size=10, precision="fp32")
    report = memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=few)).report
    assert report["steps"] == 7


def test_a_base_model_needs_catalogue_and_codebook(tiny_base: Path, tmp_path: Path) -> None:
    config = memorization.MemorizationConfig(model=str(tiny_base), output=tmp_path)
    with pytest.raises(InputError, match="'tools'.*'codebook'"):
        memorization.run(config)


def test_a_codebook_of_another_catalogue_is_refused(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, catalog: ToolCatalog
) -> None:
    ToolCatalog(list(catalog.values())[1:]).to_jsonl(files["tools"])
    with pytest.raises(InputError, match="belongs to another catalogue.*1 code"):
        memorization.run(stage_one(files, tiny_base, tmp_path / "run"))


def _stage(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "stages/memorization.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_script_teaches_its_keys() -> None:
    shown = _stage("--help")
    assert shown.returncode == 0
    assert "training.row_learning_rate" in shown.stdout and "--config" in shown.stdout


def test_the_script_reports_a_bad_key_in_one_sentence() -> None:
    for override, message in (
        ("training.epoch=3", "unknown key 'training.epoch'"),
        ("training.schedule=cosinus", "cosine_with_restarts"),
        ("validation.querys=x", "known here: most, queries, split"),
    ):
        refused = _stage("output=x", override)
        assert refused.returncode == 2
        assert message in " ".join(refused.stderr.split()) and "Traceback" not in refused.stderr


def test_retrieval_without_any_query_is_refused(memorized: memorization.StageResult, tmp_path: Path) -> None:
    config = retrieval.RetrievalConfig(model=str(memorized.checkpoint), output=tmp_path, tracking={"mode": "disabled"})
    with pytest.raises(InputError, match="synthetic_per_tool"):
        retrieval.run(config)


def test_a_run_without_memory_says_what_to_change(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: 5 bytes")

    monkeypatch.setattr(CodeTrainer, "training_step", fail)
    with pytest.raises(InputError, match="Out of memory in step 1 .*micro_batch_size=5 .it was 10") as raised:
        memorization.run(stage_one(files, tiny_base, tmp_path))
    assert "gradient_checkpointing=true" in str(raised.value) and "rows+lora" in str(raised.value)


def test_another_failure_is_no_matter_of_memory(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(CodeTrainer, "training_step", fail)
    with pytest.raises(RuntimeError, match="shapes differ") as raised:
        memorization.run(stage_one(files, tiny_base, tmp_path))
    assert not isinstance(raised.value, InputError)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
def test_compiled_layers_train_alike(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    figures = []
    for compiled in (False, True):
        training = TrainingConfig(epochs=10, batch_size=10, learning_rate=3e-3, precision="fp32", compile=compiled)
        validation = ValidationConfig(queries=files["queries"])
        config = stage_one(files, tiny_base, tmp_path / str(compiled), training=training, validation=validation)
        result = memorization.run(config)
        figures.append([result.report["train_loss"], result.report["validation"]["ndcg@5"]])
        assert not any("_orig_mod" in name for name in load_file(result.checkpoint / "model.safetensors"))
    assert figures[1] == pytest.approx(figures[0], rel=1e-3)


def test_compiled_layers_under_deepspeed_are_refused(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    training = TrainingConfig(compile=True, deepspeed=Path("configs/deepspeed/zero2.json"), precision="fp32")
    with pytest.raises(InputError, match="compile is for runs without DeepSpeed"):
        memorization.run(stage_one(files, tiny_base, tmp_path, training=training))


def test_compiled_layers_that_run_once_are_refused(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    plan = TrainPlan(train="rows", input_rows=False, cached_states=True)
    with pytest.raises(InputError, match="compile has nothing to compile"):
        memorization.run(stage_one(files, tiny_base, tmp_path, training=TrainingConfig(compile=True, plan=plan)))
