"""The decoding benchmark: its peers find what our decoder finds, and its rows say what was measured."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model
from torch import Tensor
from typer.testing import CliRunner

from toolgen.beam import BeamResult, Normalize, beam_search
from toolgen.benchmarks import speed
from toolgen.benchmarks.decode import constraint, replay
from toolgen.benchmarks.growth import catalog_of_size
from toolgen.benchmarks.peers import DictTrie, Generate, agreement
from toolgen.benchmarks.speed import peak_megabytes
from toolgen.cli import app
from toolgen.head import Head
from toolgen.tools import ToolCatalog
from toolgen.trie import TokenTrie


@pytest.fixture(autouse=True)
def small_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little more than the embedded tokenizer's: here it is not speed that is tested."""
    monkeypatch.setattr(speed, "WORDS", 31_000)


CODES = [(3, 4, 1), (3, 5, 1), (6, 1), (7, 8, 9, 1)]
KEYS = {"scheme", "batch", "beams", "method", "ms_per_query", "over_forwards", "agree", "memory_mb"}


@pytest.mark.parametrize("codes", [CODES, [(3,), (4,), (9,)]])
def test_both_peers_agree_with_our_decoder(codes: list[tuple[int, ...]]) -> None:
    ids_BT = torch.randint(3, 80, (6, 5), generator=torch.Generator().manual_seed(0))
    mask_BT, trie = torch.ones_like(ids_BT), TokenTrie.from_codes(codes)
    ours = beam_search(tiny_model(), trie, ids_BT, mask_BT, 3)
    for each in (DictTrie(codes), trie):
        theirs = Generate(tiny_model(), codes, 1, each).result(ids_BT, mask_BT, 3)
        assert agreement(ours, theirs) == 1


def test_agreement_counts_queries_and_forgives_ties_only() -> None:
    ours = BeamResult(torch.tensor([[0, 1], [0, 1], [0, 1], [0, 1]]), torch.tensor([[-1.0, -2.0]] * 4))
    scores = torch.tensor([[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.1]])
    assert agreement(ours, BeamResult(torch.tensor([[0, 1], [1, 0], [0, 2], [0, 1]]), scores)) == 0.25
    tied = BeamResult(ours.codes_BK[:1], torch.tensor([[-1.0, -1.0]]))
    assert agreement(tied, BeamResult(torch.tensor([[1, 0]]), torch.tensor([[-1.0, -1.0]]))) == 1


def test_the_command_measures_every_cell(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "decode", "--tools", str(files["tools"]), "--schemes", "atomic,numeric,atomic-closed"]
    arguments += ["--batch", "1,3", "--beams", "2", "--checked", "7", "--repeats", "1", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    rows = json.loads(Path("runs/bench/decode.json").read_text())
    assert all(row.keys() == KEYS and row["ms_per_query"] > 0 for row in rows)
    common = {"toolgen", "toolgen-processor", "transformers-trie", "forwards"}
    several = common | {"toolgen-allowed", "forwards-allowed", "constraint"}
    for scheme, methods in (("atomic", common | {"toolgen-vocab"}), ("numeric", several), ("atomic-closed", several)):
        for batch in (1, 3):
            cell = {row["method"]: row for row in rows if (row["scheme"], row["batch"]) == (scheme, batch)}
            assert cell.keys() == methods
            agreed = {name: row["agree"] for name, row in cell.items() if row["agree"] is not None}
            assert agreed == dict.fromkeys({"toolgen", "toolgen-processor", "toolgen-vocab"} & methods, 1)
            assert cell["toolgen"]["over_forwards"] == pytest.approx(
                cell["toolgen"]["ms_per_query"] / cell["forwards"]["ms_per_query"]
            )
    assert re.search(r"numeric, 3 x 2: the constraint takes \d+\.\d\d ms in each of \d steps", done.output)
    text = [row for row in rows if row["scheme"] == "text"]
    assert [(row["batch"], row["method"]) for row in text] == [
        (batch, method) for batch in (1, 3) for method in ("toolgen", "faiss-flat", "faiss-hnsw", "bm25")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schemes", "trees"], "Unknown indexing scheme 'trees'"),
        (["--batch", "1,x"], "--batch is '1,x'"),
        (["--beams", "1"], "--beams is '1'.*at least 2"),
        (["--beams", "5000"], "wider than the catalogue"),
        (["--device", "tpu"], "The device 'tpu' cannot be used"),
        (["--schemes", ","], "--schemes names none"),
    ],
)
def test_what_cannot_be_measured_is_refused(files: dict[str, Path], arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["bench", "decode", "--tools", str(files["tools"]), *arguments])
    assert done.exception is not None and re.search(message, str(done.exception))


def test_growth_draws_what_it_measures(files: dict[str, Path], tmp_path: Path) -> None:
    arguments = ["bench", "growth", "--tools", str(files["tools"]), "--counts", "20,40", "--beams", "2,3"]
    arguments += ["--schemes", "atomic,numeric", "--batch", "2", "--repeats", "1", "--output", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    points = json.loads((tmp_path / "growth.json").read_text())
    tools = {(point["scheme"], point["tools"], point["method"]) for point in points if point["along"] == "tools"}
    assert {("atomic", count, name) for count in (20, 40) for name in ("toolgen", "forwards", "rows")} <= tools
    assert {
        ("numeric", count, name) for count in (20, 40) for name in ("toolgen", "toolgen-allowed", "forwards")
    } <= tools
    beams = {(point["beams"], point["method"]) for point in points if point["along"] == "beams"}
    assert {(2, "transformers-trie"), (3, "transformers-trie"), (3, "toolgen")} <= beams
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert "numeric: transformers-trie" in (tmp_path / "growth.html").read_text()


def test_the_constraint_alone_is_the_search_without_its_model() -> None:
    model, trie = tiny_model(), TokenTrie.from_codes(CODES)
    ids_BT = torch.randint(3, 80, (4, 5), generator=torch.Generator().manual_seed(0))
    found: list[BeamResult] = []
    alone, steps = constraint(lambda: found.append(beam_search(model, trie, ids_BT, torch.ones_like(ids_BT), 3)))
    assert steps == trie.depth
    forward = model.forward
    model.forward = lambda *_given, **_inputs: pytest.fail("the model was called")
    try:
        alone()
    finally:
        model.forward = forward
    assert torch.equal(found[0].codes_BK, found[1].codes_BK) and torch.equal(found[0].scores_BK, found[1].scores_BK)


@pytest.mark.parametrize("normalize", ["vocab", "allowed"])
def test_the_forwards_are_those_of_the_search(normalize: Normalize, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trie = tiny_model(), TokenTrie.from_codes(CODES)
    ids_BT = torch.randint(3, 80, (4, 5), generator=torch.Generator().manual_seed(0))
    inputs = ids_BT, torch.ones_like(ids_BT)
    seen: list[tuple[int, ...]] = []
    for name in ("states", "normalizers"):
        original = getattr(Head, name)

        def watched(head: Head, *given: Tensor, original: Callable = original, **inputs: Tensor) -> Tensor:
            result = original(head, *given, **inputs)
            seen.append(tuple(result.shape))
            return result

        monkeypatch.setattr(Head, name, watched)
    search = partial(beam_search, model, trie, *inputs, 3, normalize=normalize)
    bare = replay(model, *inputs, search)
    seen.clear()
    search()
    searched = seen.copy()
    seen.clear()
    bare()
    assert seen == searched and len(seen) >= 2


def test_memory_is_that_of_the_peak() -> None:
    def work() -> None:
        first = torch.zeros(1000, 1000)
        del first
        torch.zeros(500, 1000) + 1

    assert peak_megabytes(work, torch.device("cpu")) == pytest.approx(4, abs=0.01)


def test_made_up_tools_follow_the_real_ones(files: dict[str, Path]) -> None:
    catalog = ToolCatalog.from_jsonl(files["tools"])
    assert len(catalog_of_size(catalog, 7)) == 7 and set(catalog_of_size(catalog, 7)) <= set(catalog)
    more = catalog_of_size(catalog, len(catalog) + 5)
    assert len(more) == len(catalog) + 5 and more.ids[: len(catalog)] == catalog.ids
    assert more.fingerprint == catalog_of_size(catalog, len(catalog) + 5).fingerprint
