"""Free generation beside the constrained one: the same tools where the model writes codes, and no tool hidden."""

from pathlib import Path

import pytest
from tiny_stage import stage_one

from toolgen.base import load_tokenizer
from toolgen.benchmarks.unconstrained import UnconstrainedRetriever
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.indexing import build
from toolgen.retriever import Retriever
from toolgen.stages import memorization
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog
from toolgen.training import TrainingConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, catalog: ToolCatalog) -> GenerativeRetriever:
    folder = tmp_path_factory.mktemp("free")
    tokenizer = load_tokenizer(str(tiny_base))
    catalog.to_jsonl(folder / "tools.jsonl")
    book = build("numeric", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(folder / "codebook.json")
    files = {"tools": folder / "tools.jsonl", "codebook": folder / "codebook.json"}
    training = TrainingConfig(epochs=60, batch_size=10, learning_rate=3e-3, precision="fp32", max_length=64)
    return GenerativeRetriever.load(
        memorization.run(stage_one(files, tiny_base, folder / "run", training=training)).checkpoint
    )


def test_free_generation_ranks_like_the_constrained_one_where_codes_are_written(trained: GenerativeRetriever) -> None:
    free = UnconstrainedRetriever(trained, batch_size=7)
    assert isinstance(free, Retriever)
    documents = [tool.document() for tool in trained.artefacts.catalog.values()]
    theirs, ours = free.search(documents, 5), trained.search(documents, 5)
    assert all(len(hits) == 5 for hits in theirs)
    real = [[hit for hit in hits if hit.tool in trained.artefacts.catalog] for hits in theirs]
    assert sum(map(len, real)) > len(documents), "it has learned to write codes"
    for found, expected in zip(real, ours, strict=True):
        scores = {hit.tool: hit.score for hit in expected}
        for hit in found:
            if hit.tool in scores:
                assert hit.score == pytest.approx(scores[hit.tool], abs=1e-3)
    first = sum(found[0].tool == expected[0].tool for found, expected in zip(theirs, ours, strict=True))
    assert first > 0.8 * len(documents)


def test_what_is_no_code_is_an_answer_that_no_tool_has(trained: GenerativeRetriever) -> None:
    free = UnconstrainedRetriever(trained)
    tool = trained.artefacts.codes.tool_ids[3]
    code = list(trained.artefacts.codes.sequences[3])
    assert free._answer(code) == free._answer([*code, 0, 0]) == tool
    for broken in (code[:-1], [code[0]], [5, 6, 7]):
        assert free._answer(broken).startswith("(no tool) ")


def test_groups_and_numbers_out_of_range_are_refused(trained: GenerativeRetriever) -> None:
    free = UnconstrainedRetriever(trained)
    with pytest.raises(InputError, match="without a constraint"):
        free.search(["a"], 1, groups=["g"])
    with pytest.raises(InputError, match="k is 0"):
        free.search(["a"], 0)
