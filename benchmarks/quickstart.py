"""The quickstart: the whole job on the embedded default, from the import to the table. Knows every room.

AWS operations are the tools; the human-written example titles are the queries. No example text is used in training.
Examples are split by operation into validation (looked at during training) and test (the table).
"""

import json
import os
import resource
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pydantic import Field

from toolgen.base import load_tokenizer
from toolgen.benchmarks.baselines import BASELINES, make_baseline
from toolgen.benchmarks.bm25 import singular
from toolgen.benchmarks.evaluation import Evaluation, evaluate_retrievers
from toolgen.config import Section, load_config
from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.generative import GenerativeRetriever
from toolgen.indexing import build
from toolgen.metrics import paired_difference
from toolgen.queries import Query, read_queries, write_queries
from toolgen.retriever import Retriever
from toolgen.sources.botocore import import_catalog, import_examples
from toolgen.splits import split_by_tools
from toolgen.stages import memorization, retrieval
from toolgen.terminal import err, out, progress_bar
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog, words


class QuickstartConfig(Section):
    """What the quickstart is told; see configs/quickstart.yaml."""

    services: tuple[str, ...]
    dense_tokens: int = Field(description="Tokens of a document that the dense baseline reads.")


@dataclass(frozen=True)
class Folder:
    """Where the quickstart's artefacts lie."""

    root: Path

    @property
    def tools(self) -> Path:
        return self.root / "tools.jsonl"

    @property
    def codebook(self) -> Path:
        return self.root / "codebook.json"

    @property
    def queries(self) -> Path:
        return self.root / "queries.jsonl"

    @property
    def figures(self) -> Path:
        return self.root / "figures.json"

    def of_seed(self, seed: int) -> Path:
        """Stages of the first seed lie in the root itself, so that the README's commands find them."""
        return self.root if seed == 0 else self.root / f"seed-{seed}"


def run_quickstart(output: Path, seeds: int = 1, config: QuickstartConfig | None = None) -> dict[str, Any]:
    """Run the quickstart and write ``figures.json``.

    Args:
        output: Folder of the run.
        seeds: How often to train, with the seeds 0, 1, ...
        config: None: configs/quickstart.yaml.

    Returns:
        The content of ``figures.json``.

    Raises:
        InputError: ``seeds`` is below 1.
    """
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; give at least 1.")
    started = time.perf_counter()
    folder = Folder(output)
    if config is None:
        with as_file(files("toolgen.configs") / "quickstart.yaml") as path:
            config = load_config(QuickstartConfig, path)
    catalog, test = prepare(folder, config)
    checkpoints = [train(folder, seed) for seed in range(seeds)]
    with err.status("Embedding documents for the dense baseline"):
        baselines = [make_baseline(name, catalog, dense_tokens=config.dense_tokens) for name in BASELINES]
    first, *others = (GenerativeRetriever.load(checkpoint) for checkpoint in checkpoints)
    evaluation = _evaluate([first, *baselines], test, catalog)
    figures = evaluation.to_json()
    if seeds > 1:
        runs = [evaluation, *(_evaluate([other], test, catalog) for other in others)]
        figures["seeds"] = _over_seeds(runs)
    figures["above"] = {baseline.name: _above(evaluation, baseline.name) for baseline in baselines}
    figures["minutes"] = (time.perf_counter() - started) / 60
    figures["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    write_json(folder.figures, figures)
    out.print(evaluation.table())
    _say(folder, checkpoints[0], figures)
    return figures


def prepare(folder: Folder, config: QuickstartConfig) -> tuple[ToolCatalog, list[Query]]:
    """Import, split and index; returns the catalogue and the test queries."""
    with progress_bar("Importing AWS services") as progress:
        catalog = import_catalog(config.services, progress)
    catalog.to_jsonl(folder.tools)
    queries = split_by_tools(import_examples(catalog), {"validation": 0.5, "test": 0.5})
    write_queries(folder.queries, queries)
    tokenizer = load_tokenizer("embedded")
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(folder.codebook)
    return catalog, read_queries(folder.queries, catalog, "test")


def train(folder: Folder, seed: int) -> Path:
    """Memorization, then retrieval training, both as in configs/embedded/; returns the final checkpoint."""
    target = folder.of_seed(seed)
    memorized = memorization.run(memorization_config(folder, target / "memorization", seed))
    return retrieval.run(retrieval_config(folder, target / "retrieval", seed, memorized.checkpoint)).checkpoint


def memorization_config(
    folder: Folder, output: Path, seed: int, overrides: Sequence[str] = ()
) -> memorization.MemorizationConfig:
    """configs/embedded/memorization.yaml on the quickstart's files, then ``overrides``."""
    values = {"tools": folder.tools, "codebook": folder.codebook, **_shared(folder, output, seed)}
    with as_file(files("toolgen.configs") / "embedded" / "memorization.yaml") as path:
        return load_config(memorization.MemorizationConfig, path, (*quoted(values), *overrides))


def retrieval_config(
    folder: Folder, output: Path, seed: int, model: Path | str, overrides: Sequence[str] = ()
) -> retrieval.RetrievalConfig:
    """configs/embedded/retrieval.yaml on the quickstart's files, starting from ``model``, then ``overrides``."""
    values = {"model": model, **_shared(folder, output, seed)}
    with as_file(files("toolgen.configs") / "embedded" / "retrieval.yaml") as path:
        return load_config(retrieval.RetrievalConfig, path, (*quoted(values), *overrides))


def _shared(folder: Folder, output: Path, seed: int) -> dict[str, object]:
    return {
        "output": output,
        "training.seed": seed,
        # An interrupted quickstart goes on where it stopped.
        "resume": True,
        "tracking.group": f"quickstart-{seed}",
        "validation.queries": folder.queries,
        "validation.split": "validation",
    }


def quoted(values: Mapping[str, object]) -> list[str]:
    """``key=value`` overrides of plain values. JSON is YAML, so no character of a path means anything."""
    return [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()]


def says_its_words(query: Query, catalog: ToolCatalog) -> bool:
    """Whether a query holds every word of the name of one of its gold tools, number aside."""
    said = {singular(word) for word in words(query.text).split()}
    return any({singular(word) for word in words(catalog[tool].name).split()} <= said for tool in query.tools)


def _evaluate(methods: list[Retriever], test: list[Query], catalog: ToolCatalog) -> Evaluation:
    paraphrased = {query.id for query in test if not says_its_words(query, catalog)}
    with progress_bar("Evaluating") as progress:
        return evaluate_retrievers(
            methods, test, catalog, subsets={"title without the operation's words": paraphrased}, progress=progress
        )


def _above(evaluation: Evaluation, baseline: str) -> dict[str, float]:
    """By how much the first seed's NDCG@5 is above a baseline's on the same queries: paired bootstrap, 95%."""
    ours, theirs = (evaluation.methods[name].scores.per_query["ndcg@5"] for name in ("generative", baseline))
    difference = paired_difference(ours, theirs)
    return {"mean": difference.mean, "low": difference.interval.low, "high": difference.interval.high}


def _over_seeds(runs: list[Evaluation]) -> dict[str, Any]:
    values = [run.methods["generative"].to_json() for run in runs]
    return {
        "n": len(values),
        **{
            measure: {
                "values": [value[measure] for value in values],
                "mean": mean(value[measure] for value in values),
                "stdev": stdev(value[measure] for value in values),
            }
            for measure in ("ndcg@1", "ndcg@5", "recall@5", "recall@10", "mrr")
        },
    }


def _say(folder: Folder, checkpoint: Path, figures: dict[str, Any]) -> None:
    for baseline, above in figures["above"].items():
        out.print(f"NDCG@5 above {baseline} by {above['mean']:.3f}, 95% {above['low']:.3f} to {above['high']:.3f}")
    if "seeds" in figures:
        ndcg = figures["seeds"]["ndcg@5"]
        out.print(f"generative NDCG@5 over {figures['seeds']['n']} seeds: {ndcg['mean']:.3f} ± {ndcg['stdev']:.3f}")
    out.print(
        f"{figures['minutes']:.1f} minutes, peak {figures['peak_gb']:.1f} GB; artefacts in {folder.root}, "
        f"figures in {folder.figures}",
        markup=False,
    )
    python = os.path.relpath(sys.executable)
    command = f'{python} -m toolgen.retrieve --checkpoint {shlex.quote(str(checkpoint))} "make a new bucket" -k 5'
    out.print("Next, ask it yourself:")
    out.print(command, markup=False, soft_wrap=True)
