"""The decoding benchmark: its peers find what our decoder finds, and its rows say what was measured."""

import json
import re
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model
from typer.testing import CliRunner

from toolgen.beam import BeamResult, beam_search
from toolgen.benchmarks.peers import DictTrie, Generate, agreement
from toolgen.cli import app
from toolgen.trie import TokenTrie

CODES = [(3, 4, 1), (3, 5, 1), (6, 1), (7, 8, 9, 1)]
KEYS = {"scheme", "batch", "beams", "method", "ms_per_query", "over_forwards", "agree"}


@pytest.mark.parametrize("codes", [CODES, [(3,), (4,), (9,)]])
def test_both_peers_agree_with_our_decoder(codes: list[tuple[int, ...]]) -> None:
    ids_BT = torch.randint(3, 80, (6, 5), generator=torch.Generator().manual_seed(0))
    mask_BT, trie = torch.ones_like(ids_BT), TokenTrie.from_codes(codes)
    ours = beam_search(tiny_model(), trie, ids_BT, mask_BT, 3)
    for constraint in (DictTrie(codes), trie):
        theirs = Generate(tiny_model(), codes, 1, constraint).result(ids_BT, mask_BT, 3)
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
    arguments = ["bench", "decode", "--tools", str(files["tools"]), "--schemes", "atomic,numeric", "--batch", "1,3"]
    done = CliRunner().invoke(app, [*arguments, "--beams", "2", "--repeats", "1", "--no-retrievers", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(Path("runs/bench/decode.json").read_text())
    assert all(row.keys() == KEYS and row["ms_per_query"] > 0 for row in rows)
    methods = {"toolgen", "toolgen-allowed", "toolgen-processor", "transformers-trie", "forwards", "forwards-allowed"}
    for scheme in ("atomic", "numeric"):
        for batch in (1, 3):
            cell = [row for row in rows if (row["scheme"], row["batch"]) == (scheme, batch)]
            assert {row["method"] for row in cell} == methods
            agreed = {row["method"]: row["agree"] for row in cell if row["agree"] is not None}
            assert agreed == {"toolgen": 1, "toolgen-processor": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schemes", "trees"], "Unknown indexing scheme 'trees'"),
        (["--batch", "1,x"], "--batch is '1,x'"),
        (["--beams", "1"], "--beams is '1'.*at least 2"),
        (["--beams", "5000"], "wider than the catalogue"),
    ],
)
def test_what_cannot_be_measured_is_refused(files: dict[str, Path], arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["bench", "decode", "--tools", str(files["tools"]), *arguments])
    assert done.exception is not None and re.search(message, str(done.exception))
