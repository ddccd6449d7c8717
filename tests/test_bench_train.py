"""The training benchmark: its lines train alike, its pairs compute the same, its rows say what was measured."""

import json
import re
from pathlib import Path

import pytest
import torch
from tiny_models import VOCABULARY, tiny_model
from typer.testing import CliRunner

from toolgen.benchmarks import speed, train_pairs
from toolgen.benchmarks.train import Settings, compare
from toolgen.benchmarks.train_lines import layer_weights
from toolgen.benchmarks.train_parts import labelled_loss, material, peak_flops, published_loss
from toolgen.cli import app
from toolgen.errors import InputError
from toolgen.tools import ToolCatalog
from toolgen.training import CodeCollator

STEPS = ["published", "+labelled", "+sorted", "+packed", "+checkpointing"]
PLANS = ["rows+lora", "rows", "output rows", "the one pass", "cached states"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little more than the embedded tokenizer's vocabulary, and a few layers: here it is not speed that is tested."""
    monkeypatch.setattr(speed, "WORDS", 31_000)
    monkeypatch.setitem(
        speed.TRUNKS,  # type: ignore[arg-type]
        "22m",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    )
    for name, size in (("POSITIONS", 64), ("LABELLED", 4), ("WIDTH", 16), ("PACKED_BATCH", 8)):
        monkeypatch.setattr(train_pairs, name, size)


def test_the_published_loss_is_ours() -> None:
    examples = [{"prompt": [5, 6, 7], "answers": [[20, 1]]}, {"prompt": [8], "answers": [[21, 22, 1]]}]
    batch = CodeCollator(0)(examples)
    assert published_loss(tiny_model(), batch).item() == pytest.approx(labelled_loss(tiny_model(), batch).item())


def test_the_command_measures_every_line_and_pair(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolgen.training.uses_bf16", lambda _precision: True)
    arguments = ["bench", "train", "--tools", str(files["tools"]), "--batch", "4", "--steps", "2", "--max-length", "32"]
    arguments += ["--row-tokens", "64", "--lengths", "16,32", "--cached-tools", "20", "--epochs", "3"]
    done = CliRunner().invoke(app, [*arguments, "--repeats", "1", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(Path("runs/bench/train.json").read_text())
    parts: dict[str, dict[str, dict[str, float]]] = {}
    for row in report["rows"]:
        parts.setdefault(row["part"], {})[row["line"]] = row
    assert list(parts["steps, 22m"]) == [*STEPS[:4], "+bf16", STEPS[4], *PLANS]
    for row in parts["steps, 22m"].values():
        assert row["samples_per_second"] == pytest.approx(8 / row["seconds"])
        assert row["mfu"] > 0 and row["memory_mb"] > 0
    assert parts["steps, 22m"]["published"]["memory_mb"] > parts["steps, 22m"]["+labelled"]["memory_mb"]
    assert {"packing, cut at 16", "packing, cut at 32", "loss, 4 of 64"} < parts.keys()
    cached = parts["output rows, 20 tools, 3 epochs"]
    assert list(cached) == ["through the model", "the one pass", "on cached states", "pass and states"]
    for part in parts.values():
        first = next(iter(part.values()))
        assert all(row["factor"] == pytest.approx(first["seconds"] / row["seconds"]) for row in part.values())
    assert report["apart"] < 1e-4
    assert report["lengths"] == sorted(report["lengths"]) and report["peak_tflops"].keys() == {"fp32", "bf16"}
    assert re.search(r"differ by \d\.\de-\d\d at most", done.output)


def test_tools_follow_the_words_and_the_end_is_not_read(catalog: ToolCatalog) -> None:
    texts = material(catalog, 32, 10)
    assert len(texts.examples) == 10 and texts.tools == len(catalog) and texts.labels == 20
    named = [answers[0][0] for answers in texts.examples["answers"]]
    assert len(set(named)) == 10 and {*named} <= set(range(31_000, 31_000 + len(catalog)))
    for batches in (texts.shuffled(4), texts.by_length(4)):
        assert sorted(place for places in batches for place in places) == list(range(10))
        read = [texts.batch(CodeCollator(texts.end_id), places)["segments"] for places in batches]
        assert sum(int((segments_BT >= 0).sum()) for segments_BT in read) == texts.tokens


def test_mfu_leaves_embedding_and_head_out() -> None:
    for tied in (True, False):
        model = tiny_model(tied=tied)
        rows = (1 if tied else 2) * VOCABULARY * 32
        assert layer_weights(model) == sum(weight.numel() for weight in model.parameters()) - rows


def test_a_gpu_of_unknown_peak_must_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(device=torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H200")
    assert peak_flops(settings, bf16=True) == 989e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "GeForce")
    with pytest.raises(InputError, match="--peak-tflops.*'GeForce'"):
        peak_flops(settings, bf16=True)
    assert peak_flops(Settings(peak_tflops=2.0), bf16=False) == 2e12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trunk", "7b"], "Unknown trunk '7b'"),
        (["--trunk", ","], "--trunk names none"),
        (["--max-length", "1000"], "1000 is beyond the models' context"),
        (["--lengths", "4"], "--lengths is '4'"),
        (["--device", "tpu"], "The device 'tpu' cannot be used"),
    ],
)
def test_what_cannot_be_measured_is_refused(files: dict[str, Path], arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["bench", "train", "--tools", str(files["tools"]), *arguments])
    assert done.exception is not None and re.search(message, str(done.exception))


def test_the_pairs_can_be_left_out(catalog: ToolCatalog) -> None:
    report = compare(catalog, ["22m"], Settings(batch=4, steps=1, max_length=16, repeats=1), None)
    assert [row.line for row in report.rows] == STEPS + PLANS and report.apart is None
