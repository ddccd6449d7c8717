"""The trained baseline on a tiny encoder: it learns, the best look is kept, runs end where others would, and faults are
sentences."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_encoder import save_tiny_encoder

from toolgen.benchmarks import bi_encoder
from toolgen.benchmarks.bi_encoder import BiEncoderConfig, main, rank_figures, run
from toolgen.benchmarks.dense import DenseRetriever
from toolgen.config import parse_config
from toolgen.embeddings import load_encoder
from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.manifest import verify
from toolgen.queries import Query, write_queries
from toolgen.records import retrieval_records
from toolgen.resumption import WORK, Work
from toolgen.stages.retrieval import RetrievalConfig, pairs
from toolgen.tools import ToolCatalog
from toolgen.version import code_version

EARLIER = {"seconds": 1000.0, "code_versions": ["0.0.9+earlier"]}
"""What a checkpoint of other code says of the work before it."""

STEPS = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog, queries: list[Query]) -> dict[str, Path]:
    """Thirty tools; the same queries, in other words, to train, and to choose on."""
    folder = tmp_path_factory.mktemp("data")
    paths = {"tools": folder / "tools.jsonl", "queries": folder / "queries.jsonl", "encoder": folder / "encoder"}
    catalog.to_jsonl(paths["tools"])
    train = [replace(query, id=f"t{query.id}", text=f"i want {query.text}", split="train") for query in queries]
    write_queries(paths["queries"], train + [replace(query, split="validation") for query in queries])
    save_tiny_encoder(paths["encoder"])
    return paths


@pytest.fixture(scope="module")
def configure(data: dict[str, Path]) -> Callable[..., BiEncoderConfig]:
    """A configuration of a short run into a folder, with other values for some keys."""

    def make(output: Path, training: dict[str, Any] | None = None, **keys: Any) -> BiEncoderConfig:
        values = {
            "model": str(data["encoder"]),
            "tools": data["tools"],
            "output": output,
            "queries": {"path": data["queries"], "split": "train"},
            "validation": {"queries": data["queries"], "split": "validation"},
            "tracking": {"mode": "disabled"},
            **keys,
        }
        short = {"epochs": STEPS / 3, "batch_size": 10, "learning_rate": 5e-3, "look_every": 4, "max_length": 32}
        values["training"] = {"precision": "fp32", **short, **(training or {})}
        return parse_config(BiEncoderConfig, values, "the test")

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, configure: Callable[..., BiEncoderConfig]) -> BiEncoderConfig:
    """The configuration of a run that is done."""
    config = configure(tmp_path_factory.mktemp("finished") / "run")
    run(config)
    return config


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def test_it_learns_and_the_best_look_is_what_is_kept(
    finished: BiEncoderConfig, catalog: ToolCatalog, queries: list[Query]
) -> None:
    report = read_json(finished.output / "report.json")
    looks = report["looks"]
    assert [(look["epoch"], look["step"]) for look in looks] == [(0, 0), (4, 12), (8, 24), (10, 30)]
    figures = [look["ndcg@5"] for look in looks]
    assert max(figures) > figures[0] + 0.3
    assert report["validation"]["ndcg@5"] == max(figures)
    assert report["epoch"] == next(look["epoch"] for look in looks if look["ndcg@5"] == max(figures))
    kept = load_encoder(str(finished.output / "final"), purpose="This test")
    assert kept.max_seq_length == 32
    assert rank_figures(kept, catalog, queries, "whole") == report["validation"]
    retriever = DenseRetriever(catalog, str(finished.output / "final"), name="bi-encoder")
    hits = retriever.search([queries[0].text], 5)[0]
    assert retriever.name == "bi-encoder" and queries[0].tools[0] in {hit.tool for hit in hits}


def test_the_first_of_the_best_looks_is_kept(
    configure: Callable[..., BiEncoderConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    scripted = iter([0.1, 0.9, 0.5, 0.9])

    def look(encoder: Any, *_: Any) -> dict[str, float]:
        seen.append(encoder[0].model.embeddings.word_embeddings.weight.detach().numpy().copy())
        return dict.fromkeys(("ndcg@1", "ndcg@5", "recall@5"), next(scripted))

    monkeypatch.setattr(bi_encoder, "rank_figures", look)
    result = run(configure(tmp_path / "run"))
    assert (result.report["epoch"], result.report["validation"]["ndcg@5"]) == (4.0, 0.9)
    kept = weights(result.checkpoint)["embeddings.word_embeddings.weight"]
    assert [np.array_equal(kept, each) for each in seen] == [False, True, False, False]


def test_the_folder_holds_the_encoder_and_the_report_and_nothing_half_done(finished: BiEncoderConfig) -> None:
    assert {path.name for path in finished.output.iterdir()} == {"final", "report.json", "settings.json"}
    verify(finished.output / "final", digests=True)
    suffixes = {path.suffix for path in (finished.output / "final").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}, "no pickle, and no card that quotes training texts"


def test_a_finished_run_is_kept(finished: BiEncoderConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bi_encoder, "_trainer", lambda *_: pytest.fail("trained again"))
    assert run(finished).report == read_json(finished.output / "report.json")
    micro = finished.training.model_copy(update={"micro_batch_size": 4})
    assert run(finished.model_copy(update={"training": micro})).checkpoint == finished.output / "final"


def test_another_run_is_refused_in_the_same_folder(
    finished: BiEncoderConfig, configure: Callable[..., BiEncoderConfig], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"other settings \(training.seed differ\)"):
        run(configure(finished.output, {"seed": 1}))
    with pytest.raises(InputError, match=r"\(training pairs differ\)"):
        run(configure(finished.output, synthetic_per_tool=1))
    # Another encoder under the same name.
    encoder = load_encoder(finished.model, purpose="This test")
    next(encoder.parameters()).data[0, 0] += 1
    encoder.save_pretrained(str(tmp_path / "changed"))
    with pytest.raises(InputError, match=r"\(model differ\)"):
        run(configure(finished.output, model=str(tmp_path / "changed")))


@pytest.mark.parametrize("step", [1, 17])
def test_a_run_that_was_stopped_ends_bit_equal(
    finished: BiEncoderConfig,
    configure: Callable[..., BiEncoderConfig],
    tmp_path: Path,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from toolgen.benchmarks.encoder_trainer import Steps

    config = configure(tmp_path / "run")
    counted = Steps.on_step_begin

    def stop(self: Steps, args: Any, state: Any, control: Any, **rest: Any) -> None:
        counted(self, args, state, control, **rest)
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "on_step_begin", stop)
        patch.setattr(Work, "save", lambda _, folder: write_json(folder / WORK, EARLIER))
        with pytest.raises(SystemExit) as stopped:
            run(config)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert not (config.output / "report.json").exists()
    assert [path.name for path in (config.output / "checkpoints").glob("checkpoint-*")] == [f"checkpoint-{step + 1}"]
    result = run(config)
    whole = read_json(finished.output / "report.json")
    assert result.report["looks"] == whole["looks"]
    assert 0 < whole["seconds_training"] < 1000 < result.report["seconds_training"] < 2000
    assert whole["code_versions"] == [code_version()]
    assert result.report["code_versions"] == sorted({code_version(), *EARLIER["code_versions"]})
    left, right = weights(result.checkpoint), weights(finished.output / "final")
    assert left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_a_run_that_was_killed_goes_on_from_its_last_whole_checkpoint(
    finished: BiEncoderConfig,
    configure: Callable[..., BiEncoderConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from toolgen.benchmarks import encoder_trainer

    config = configure(tmp_path / "run")
    original, calls = encoder_trainer.seal, []

    def die(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(folder)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(encoder_trainer, "seal", die)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert signal.getsignal(signal.SIGTERM) is before, "whatever ends a run, the signals are given back"
    assert [path.name for path in (config.output / "checkpoints").glob("checkpoint-*")] == ["checkpoint-12"]
    report = run(config).report
    assert report["looks"] == read_json(finished.output / "report.json")["looks"]
    assert not (config.output / "checkpoints").exists()


def test_a_run_that_came_to_nothing_stands_in_nobodys_way(
    configure: Callable[..., BiEncoderConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bi_encoder, "_fit", lambda *_: (_ for _ in ()).throw(InputError("no memory")))
        with pytest.raises(InputError, match="no memory"):
            run(configure(tmp_path / "run", {"batch_size": 30}))
    assert run(configure(tmp_path / "run", {"epochs": 0.1})).report["steps"] == 1


def test_an_encoder_that_lacks_weights_is_the_same_every_time(
    configure: Callable[..., BiEncoderConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_encoder(tmp_path / "encoder", pooler=False)
    config = configure(tmp_path / "run", {"epochs": 0.1}, model=str(tmp_path / "encoder"))
    first = run(config)
    monkeypatch.setattr(bi_encoder, "_trainer", lambda *_: pytest.fail("trained again"))
    assert run(config) == first


def test_no_validation_keeps_the_last_step(configure: Callable[..., BiEncoderConfig], tmp_path: Path) -> None:
    report = run(configure(tmp_path / "run", {"epochs": 1}, validation=None)).report
    assert (report["looks"], report["validation"], report["epoch"], report["steps"]) == ([], {}, 1.0, 3)
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()


def test_hard_negatives_and_documents_are_options(
    configure: Callable[..., BiEncoderConfig], finished: BiEncoderConfig, tmp_path: Path
) -> None:
    options = {"hard_negatives": {"per_query": 2, "among": 4}, "documents": True}
    report = run(configure(tmp_path / "first", {"epochs": 2, "micro_batch_size": 4}, **options)).report
    assert report["records"] == 60 and report["steps"] == 12
    second = {"hard_negatives": {"per_query": 1, "encoder": str(finished.output / "final")}}
    run(configure(tmp_path / "second", {"epochs": 0.1}, **second))
    settings = [read_json(tmp_path / name / "settings.json") for name in ("first", "second")]
    assert settings[0]["hard_negatives.encoder"] == settings[0]["model"]
    assert settings[1]["hard_negatives.encoder"] != settings[1]["model"]


def test_pairs_are_those_of_the_retrieval_stage(
    configure: Callable[..., BiEncoderConfig], data: dict[str, Path], catalog: ToolCatalog, tmp_path: Path
) -> None:
    keys = {"synthetic_per_tool": 2, "joined_per_tool": 3}
    config = configure(tmp_path, {"seed": 5}, **keys)
    stage = parse_config(
        RetrievalConfig,
        {"output": tmp_path, "queries": {"path": data["queries"], "split": "train"}, **keys, "training": {"seed": 5}},
        "the test",
    )
    mine = bi_encoder._Data.load(config)
    assert mine.records == pairs(catalog, stage, stage.training.seed, stage.multi_gold)
    assert len(mine.records) > 90 and mine.records != pairs(catalog, stage, 6)
    assert mine.records[:30] == retrieval_records(
        [
            query
            for query in bi_encoder.validation_queries(config.validation.model_copy(update={"split": "train"}), catalog)
        ]
    )


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["tools=none.jsonl"], "none.jsonl"),
        (["training.batch_size=1"], "'training.batch_size'"),
        (["hard_negative.per_query=1"], "unknown key 'hard_negative'"),
        (["queries=null", "synthetic_per_tool=0", "joined_per_tool=0"], "needs queries"),
        (["queries.split=nothing"], "no query of split 'nothing'"),
        (["model=configs"], "'configs' cannot be loaded"),
    ],
)
def test_the_command_says_what_is_wrong(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], part: str
) -> None:
    path = data["queries"]
    given = [f"model={data['encoder']}", f"tools={data['tools']}", f"output={tmp_path / 'run'}"]
    given += [f"queries.path={path}", f"validation.queries={path}", "tracking.mode=disabled"]
    with pytest.raises(SystemExit) as left:
        main(["--config", "configs/baselines/bi_encoder.yaml", *given, *overrides])
    shown = " ".join(capsys.readouterr().err.split())
    assert left.value.code == 2 and "Error:" in shown and part in shown


def test_one_process_trains(
    configure: Callable[..., BiEncoderConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process"):
        run(configure(tmp_path))
