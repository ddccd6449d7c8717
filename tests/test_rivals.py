"""Tools that nobody labelled are not pushed away by those that somebody did."""

from pathlib import Path

import pytest
import torch

from toolgen.checkpoint import Artefacts, load_model
from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.queries import Query, write_queries
from toolgen.rivals import Rivals
from toolgen.stages import retrieval
from toolgen.training import TrainingConfig
from toolgen.vocabulary import output_weight

CODES = TokenCodes(("a", "b", "c"), ((5, 6, 1), (5, 7, 1), (8,)), end_id=1, new_ids={})


def test_only_symbols_of_other_tools_are_spared_and_only_by_wanted_ones() -> None:
    logits = Rivals(CODES, {"a"}).logits(torch.zeros(4, 10), torch.tensor([5, 6, 7, 1]))
    out = [row.isinf().nonzero()[:, 0].tolist() for row in logits]
    # 7 and 8 belong to nobody wanted; 5 and the end are shared; the third label is one of the spared themselves.
    assert out == [[7, 8], [7, 8], [], [7, 8]]


@pytest.mark.parametrize("wanted", [set(), {"a", "b", "c"}])
def test_nobody_is_spared_where_all_or_none_are_wanted(wanted: set[str]) -> None:
    logits = torch.randn(3, 10)
    assert torch.equal(Rivals(CODES, wanted).logits(logits, torch.tensor([5, 6, 8])), logits)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("spared", [True, False])
def test_rows_of_spared_tools_stay_where_they_are(
    untrained: Path, queries: list[Query], tmp_path: Path, spared: bool, cached: bool
) -> None:
    few = [query for query in queries if len(query.tools) == 1][:4]
    write_queries(tmp_path / "few.jsonl", few)
    plan = {"train": "rows", "input_rows": not cached, "cached_states": cached}
    config = retrieval.RetrievalConfig(
        model=str(untrained),
        output=tmp_path / "run",
        queries={"path": tmp_path / "few.jsonl"},
        spare_unlabelled=spared,
        abilities=None,
        tracking={"mode": "disabled"},
        training=TrainingConfig(epochs=2, batch_size=2, precision="fp32", plan=plan),
    )
    done = retrieval.run(config)
    codes = Artefacts.load(untrained).codes
    before, after = (output_weight(load_model(folder, torch.float32)) for folder in (untrained, done.checkpoint))
    moved = {
        tool
        for tool, (token, *_) in zip(codes.tool_ids, codes.sequences, strict=True)
        if not before[token].equal(after[token])
    }
    labelled = {tool for query in few for tool in query.tools}
    assert moved == (labelled if spared else set(codes.tool_ids))


def test_sparing_needs_labelled_queries(untrained: Path, tmp_path: Path) -> None:
    config = retrieval.RetrievalConfig(
        model=str(untrained),
        output=tmp_path,
        synthetic_per_tool=1,
        spare_unlabelled=True,
        tracking={"mode": "disabled"},
    )
    with pytest.raises(InputError, match=r"spare_unlabelled needs labelled queries"):
        retrieval.run(config)
