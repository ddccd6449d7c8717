"""Export: any checkpoint becomes a plain folder with the same model, or is refused in a sentence."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import toolgen.checkpoint
from toolgen.checkpoint import Artefacts, load_model, publish, write_model
from toolgen.cli import app
from toolgen.errors import InputError
from toolgen.export import export, find_source
from toolgen.generative import GenerativeRetriever
from toolgen.manifest import MANIFEST, seal, verify

PLAIN = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "tools.jsonl",
    "codebook.json",
    "toolgen.json",
    MANIFEST,
}


@pytest.fixture
def run(tmp_path: Path, untrained: Path) -> Path:
    """A run's folder with two intermediate checkpoints, as complete as the trainer's own, and no final one."""
    folder = tmp_path / "run"
    for step in (2, 10):
        checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
        shutil.copytree(untrained, checkpoint)
        (checkpoint / "optimizer").mkdir()
        (checkpoint / "optimizer" / "00001.safetensors").write_bytes(b"state")
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        (checkpoint / "resume.json").write_text("{}")
        seal(checkpoint)
    return folder


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = AutoTokenizer.from_pretrained(folder)("Delete a bucket of the account.", return_tensors="pt")
    with torch.no_grad():
        return model(**prompt).logits


def test_an_intermediate_checkpoint_becomes_a_plain_folder_with_the_same_logits(run: Path, tmp_path: Path) -> None:
    source = run / "checkpoints" / "checkpoint-10"
    done = export(source, tmp_path / "plain")
    assert {path.relative_to(done.folder).as_posix() for path in done.folder.rglob("*")} == PLAIN
    verify(done.folder, digests=True)
    assert torch.equal(logits(source), logits(done.folder))
    before, after = (load_file(folder / "model.safetensors") for folder in (source, done.folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (done.tools, done.dtype, done.source.folder) == (30, "float32", source)
    assert done.size == sum(path.stat().st_size for path in done.folder.iterdir())
    earlier, exported = Artefacts.load(source), Artefacts.load(done.folder)
    assert earlier.catalog.fingerprint == exported.catalog.fingerprint
    assert earlier.codes == exported.codes and earlier.history == exported.history
    assert len(GenerativeRetriever.load(done.folder, device="cpu").search(["delete a bucket"], 3)[0]) == 3


def test_large_weights_are_kept_in_several_files(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = run / "checkpoints" / "checkpoint-10"
    monkeypatch.setattr(toolgen.checkpoint, "MODEL_SHARD", "40KB")
    done = export(source, tmp_path / "plain")
    assert len(list(done.folder.glob("model-*.safetensors"))) > 1
    verify(done.folder, digests=True)
    assert torch.equal(logits(source), logits(done.folder))
    again = export(done.folder, tmp_path / "again")
    assert torch.equal(logits(source), logits(again.folder))


@pytest.mark.parametrize(("dtype", "stored"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_weights_are_stored_in_the_dtype_that_was_asked_for(
    untrained: Path, tmp_path: Path, dtype: str, stored: torch.dtype
) -> None:
    done = export(untrained, tmp_path / "small", dtype)  # type: ignore[arg-type]
    full, small = (load_file(folder / "model.safetensors") for folder in (untrained, done.folder))
    assert {weight.dtype for weight in small.values()} == {stored}
    assert all(torch.equal(full[name].to(stored), small[name]) for name in full)
    assert AutoModelForCausalLM.from_pretrained(done.folder).dtype == stored
    # What is small stays so unless told otherwise, and goes back without loss.
    assert export(done.folder, tmp_path / "kept").dtype == done.dtype
    kept = load_file(tmp_path / "kept" / "model.safetensors")
    assert all(torch.equal(kept[name], small[name]) for name in small)
    assert export(done.folder, tmp_path / "wide", "fp32").dtype == "float32"
    wide = load_file(tmp_path / "wide" / "model.safetensors")
    assert all(torch.equal(wide[name], small[name].float()) for name in small)


def test_weights_beyond_fp16_are_refused_by_name(untrained: Path, tmp_path: Path) -> None:
    model, artefacts = load_model(untrained), Artefacts.load(untrained)
    with torch.no_grad():
        model.get_submodule("model.layers.1.mlp").down_proj.weight[3, 4] = 70_000.0
    publish(tmp_path / "large", lambda folder: write_model(folder, model, artefacts))
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.down_proj\.weight holds values that fp16 cannot.*bf16"):
        export(tmp_path / "large", tmp_path / "out", "fp16")
    assert not (tmp_path / "out").exists()
    export(tmp_path / "large", tmp_path / "out", "bf16")


def test_a_runs_folder_stands_for_its_final_else_for_its_newest_whole_checkpoint(run: Path, untrained: Path) -> None:
    assert find_source(run).folder.name == "checkpoint-10", "by number, not by name"
    os.truncate(run / "checkpoints" / "checkpoint-10" / "optimizer" / "00001.safetensors", 2)
    (run / "checkpoints" / "unfinished").mkdir()
    found = find_source(run)
    assert found.folder.name == "checkpoint-2"
    assert len(found.passed_over) == 1 and "checkpoint-10" in found.passed_over[0]
    shutil.copytree(untrained, run / "final")
    assert find_source(run).folder == run / "final"
    # Killed in the moment of replacing it.
    (run / "final").rename(run / ".final.old")
    shutil.copytree(untrained, run / ".final.new")
    assert find_source(run).folder == run / ".final.new"


def test_what_was_asked_for_is_never_replaced_by_something_else(run: Path, untrained: Path, tmp_path: Path) -> None:
    shutil.copytree(untrained, run / "final")
    os.truncate(run / "final" / "model.safetensors", 100)
    with pytest.raises(InputError, match="'model.safetensors' has 100 bytes"):
        export(run, tmp_path / "out")
    shutil.rmtree(run / "final")
    for checkpoint in (run / "checkpoints").iterdir():
        (checkpoint / MANIFEST).unlink()
    with pytest.raises(InputError, match="no checkpoint of this run is as it was written.*checkpoint-10.*no manifest"):
        export(run, tmp_path / "out")
    for nothing in (tmp_path / "absent", run / "checkpoints", tmp_path):
        with pytest.raises(InputError, match="neither a checkpoint nor a run's folder"):
            export(nothing, tmp_path / "out")


def test_a_changed_bit_is_not_exported(untrained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "final"
    shutil.copytree(untrained, folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    load_model(folder)
    with pytest.raises(InputError, match="content of 'model.safetensors' has changed"):
        export(folder, tmp_path / "out")


TARGETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a file": (lambda run: run / "checkpoints" / "checkpoint-2" / "config.json", "is a file"),
    "other files": (lambda run: run, "holds files and is no checkpoint"),
    "itself": (lambda run: run / "final", "cannot take the place of"),
    "inside itself": (lambda run: run / "final" / "plain", "cannot take the place of"),
    "around itself": (lambda run: run.parent / "around", "cannot take the place of"),
    "a checkpoint to resume from": (lambda run: run / "checkpoints" / "checkpoint-2", "a run may go on from"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_nothing_but_an_earlier_export_is_replaced(run: Path, untrained: Path, kind: str) -> None:
    choose, message = TARGETS[kind]
    shutil.copytree(untrained, run / "final")
    source = run / "final"
    if kind == "around itself":
        shutil.copytree(untrained, run.parent / "around")
        source = run.parent / "around" / "inner"
        shutil.copytree(untrained, source)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        export(source, choose(run))
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_an_earlier_export_is_replaced(untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(untrained, tmp_path / "out")
    export(untrained, tmp_path / "out", "bf16")
    assert load_model(tmp_path / "out").dtype == torch.bfloat16
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_says_what_it_took_and_what_it_wrote(run: Path, tmp_path: Path) -> None:
    os.truncate(run / "checkpoints" / "checkpoint-10" / "config.json", 0)
    done = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "out"), "--dtype", "bf16"])
    assert done.exit_code == 0, done.output
    assert "checkpoint-2 to" in done.stdout and "in bfloat16" in done.stdout
    assert "Passed over" in done.stderr and "'config.json' has 0 bytes" in " ".join(done.stderr.split())
