"""What training on tools costs a language model: perplexity and ranking after both stages, under each way to train.

The base is a decoder that has read general text (``decoder``), the tools are AWS operations, the queries its
human-written examples; half of them, which share no tool with the others, are the test. Every way starts from the same
base and reads the same data in the same order. Perplexity is of held-out text over the whole vocabulary, tools and all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from toolgen.base import load_base
from toolgen.benchmarks.quickstart import split_by_tools
from toolgen.checkpoint import Artefacts, load_model
from toolgen.code_stage import rank_figures
from toolgen.files import read_json
from toolgen.indexing import build
from toolgen.queries import Query, write_queries
from toolgen.sources.botocore import import_catalog, import_examples
from toolgen.stages import memorization, retrieval
from toolgen.terminal import out, progress_bar
from toolgen.tokenizer import encode_text, end_token_id

SERVICES = ("dynamodb", "s3", "sns", "sqs")

_TRUNK_RATE, _ROW_RATE = 1e-3, 5e-3
_RETRIEVAL_EPOCHS = 4
_PRIOR = {"kind": "hidden", "center": True, "scale": "small"}
# Rows learn of text only what they take from it, a small loss beside the tools': it must count for more.
_REPLAY, _ROWS_REPLAY = ({"share": 0.25, "length": 64, "weight": weight} for weight in (10.0, 30.0))

WAYS: Mapping[str, Mapping[str, Any]] = {
    # ToolGen's: every weight, and nothing but tools.
    "full": {"training": {"plan": {"train": "full"}}},
    "full, replay": {"training": {"plan": {"train": "full"}}, "replay": _REPLAY},
    "rows": {"training": {"plan": {"train": "rows"}}},
    "rows, replay": {"training": {"plan": {"train": "rows"}}, "replay": _ROWS_REPLAY},
    "rows+lora": {"training": {"plan": {"train": "rows+lora"}}},
    "rows+lora, replay": {"training": {"plan": {"train": "rows+lora"}}, "replay": _REPLAY},
    "rows+lora, kl": {"training": {"plan": {"train": "rows+lora"}}, "replay": {**_REPLAY, "weight": 0.0, "kl": 10.0}},
}
"""Name of a way to train -> what it changes in both stages' configurations."""


@dataclass(frozen=True)
class Kept:
    """What one way to train leaves.

    Attributes:
        way: One of ``WAYS``.
        base: Perplexity of the base, whose vocabulary has no tools.
        memorized: Perplexity after memorization.
        final: Perplexity after retrieval training.
        ndcg: NDCG@5 of the test queries then.
        seconds: Of both stages.
    """

    way: str
    base: float
    memorized: float
    final: float
    ndcg: float
    seconds: float


def measure(
    base: Path, output: Path, ways: Sequence[str] = tuple(WAYS), services: Sequence[str] = SERVICES, epochs: float = 30
) -> list[Kept]:
    """Train every way, one after another, and print what each keeps.

    Args:
        base: Folder of a causal language model.
        output: Folder of the runs; an interrupted one goes on.
        ways: Of ``WAYS``.
        services: AWS services whose operations are the tools.
        epochs: Of memorization.
    """
    with progress_bar("Importing AWS services") as progress:
        catalog = import_catalog(list(services), progress)
    queries = split_by_tools(import_examples(catalog), {"validation": 0.5, "test": 0.5})
    test = [query for query in queries if query.split == "test"]
    output.mkdir(parents=True, exist_ok=True)
    catalog.to_jsonl(output / "tools.jsonl")
    write_queries(output / "queries.jsonl", queries)
    tokenizer = load_base(str(base)).tokenizer
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(output / "codebook.json")
    kept = [_train(way, base, output, epochs, test) for way in ways]
    out.print(_table(kept, f"{len(catalog):,} tools, {len(test)} test queries"))
    return kept


def _train(way: str, base: Path, output: Path, epochs: float, test: Sequence[Query]) -> Kept:
    folder = output / way.replace(", ", "-").replace("+", "-")
    shared = {"tracking": {"mode": "disabled"}, "resume": True, **WAYS[way]}
    training = {"batch_size": 32, "learning_rate": _TRUNK_RATE, "row_learning_rate": _ROW_RATE, "max_length": 64}
    training = {**training, **WAYS[way]["training"]}
    origin = {
        "model": str(base),
        "tools": output / "tools.jsonl",
        "codebook": output / "codebook.json",
        "prior": _PRIOR,
    }
    stages: list[tuple[Any, dict[str, Any]]] = [
        (memorization, {**origin, "training": {**training, "epochs": epochs}}),
        (
            retrieval,
            {
                "model": str(folder / "memorization" / "final"),
                "synthetic_per_tool": 8,
                "training": {**training, "epochs": _RETRIEVAL_EPOCHS},
            },
        ),
    ]
    reports = []
    for module, own in stages:
        kind = memorization.MemorizationConfig if module is memorization else retrieval.RetrievalConfig
        name = module.__name__.rpartition(".")[2]
        if (folder / name / "report.json").exists():
            reports.append(read_json(folder / name / "report.json"))
        else:
            config = kind.model_validate({**shared, **own, "output": folder / name})
            reports.append(module.run(config).report)
    final = folder / "retrieval" / "final"
    first, last = (report["perplexity"] for report in reports)
    return Kept(
        way=way,
        base=first["base"],
        memorized=first["after"],
        final=last["after"],
        ndcg=rank_figures(load_model(final), Artefacts.load(final), test)["ndcg@5"],
        seconds=sum(report["seconds"] for report in reports),
    )


def _table(kept: Sequence[Kept], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("trained", "base", "memorized", "final", "change", "NDCG@5", "seconds"):
        table.add_column(heading, justify="left" if heading == "trained" else "right")
    for each in kept:
        change = f"{100 * (each.final / each.base - 1):+.1f}%"
        figures = f"{each.base:.1f}", f"{each.memorized:.1f}", f"{each.final:.1f}", change, f"{each.ndcg:.3f}"
        table.add_row(each.way, *figures, f"{each.seconds:,.0f}")
    return table


def rows_of(kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(each) for each in kept]
