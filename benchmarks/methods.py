"""The methods of a comparison: generative retrievers that are trained, and baselines, some of them trained too; what is
known of each before it is measured, and how its retriever is loaded. Measures nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolgen.benchmarks import bi_encoder
from toolgen.benchmarks.baselines import make_baseline
from toolgen.benchmarks.bi_encoder import BiEncoderConfig
from toolgen.benchmarks.cell import CellResult, Comparison, CurvePoint
from toolgen.benchmarks.dense import DenseRetriever, Index
from toolgen.benchmarks.grid import CompareConfig, Material, encoder_folder, encoder_name
from toolgen.benchmarks.material import Splits
from toolgen.benchmarks.recipe import parsed_stage
from toolgen.benchmarks.trained import Trained
from toolgen.files import fingerprint
from toolgen.parts import Reading
from toolgen.retriever import Retriever
from toolgen.stage import StageResult
from toolgen.terminal import err

ENCODERS: Mapping[str, tuple[Index, Reading]] = {
    encoder_name("whole"): ("flat", "whole"),
    f"{encoder_name('whole')} hnsw": ("hnsw", "whole"),
    encoder_name("parts"): ("flat", "parts"),
}
"""Trained baselines: one encoder behind two indexes, and one that learns and searches by parts."""


@dataclass(frozen=True)
class Method:
    """What stands in the leaderboard, before it is measured.

    Attributes:
        blank: Its result without what measuring finds.
        load: Makes the retriever, when it is wanted.
    """

    blank: CellResult
    load: Callable[[], Retriever]


def _blank(comparison: Comparison, method: str, **known: Any) -> CellResult:
    unknown: dict[str, Any] = dict.fromkeys(("scheme", "prior", "plan", "ablation", "seed", "tokens_a_tool", "minutes"))
    return CellResult(
        comparison=comparison.fingerprint,
        method=method,
        latency_p50_ms=None,
        latency_p95_ms=None,
        hallucinated=0,
        figures={},
        scores={},
        answers={},
        **{**unknown, **known},
    )


def _manifest(
    comparison: Comparison, settings: str, trained_by: Sequence[str] = (), steps: int | None = None
) -> dict[str, Any]:
    """What a result hangs on beside the data: settings, and the code that measured and trained it."""
    told = {"settings": settings, "code_version": comparison.code_version}
    return told if steps is None else {**told, "trained_by": list(trained_by), "steps": steps}


def generative(trained: Trained, comparison: Comparison) -> Method:
    """A trained cell as a method."""
    cell = trained.cell
    blank = _blank(
        comparison,
        cell.method,
        family="generative",
        scheme=cell.variant.name,
        prior=cell.prior,
        plan=cell.plan,
        ablation=cell.ablation,
        seed=cell.seed,
        tokens_a_tool=trained.codes.tokens_mean,
        minutes=trained.minutes,
        curves=trained.curves,
        manifest=_manifest(comparison, trained.settings, trained.code_versions, trained.steps),
    )
    return Method(blank, trained.retriever)


def baselines(config: CompareConfig, splits: Splits, material: Material, comparison: Comparison) -> Iterator[Method]:
    """The baselines as methods; what has to be trained is trained, or taken from an earlier run."""
    for name in config.baselines:
        if name in ENCODERS:
            for seed in config.grid.seeds:
                yield _encoder(name, seed, config, splits, material, comparison)
        else:
            yield _untrained(name, config, splits, comparison)


def _untrained(name: str, config: CompareConfig, splits: Splits, comparison: Comparison) -> Method:
    tokens, title = config.recipe.dense_tokens, config.recipe.dense_title

    def load() -> Retriever:
        with err.status(f"Building {name}"):
            return make_baseline(name, splits.catalog, dense_tokens=tokens, dense_title=title)

    told = _manifest(comparison, fingerprint([name, tokens, title]))
    return Method(_blank(comparison, name, family="baseline", manifest=told), load)


def _encoder(
    name: str, seed: int, config: CompareConfig, splits: Splits, material: Material, comparison: Comparison
) -> Method:
    index, reading = ENCODERS[name]
    told = encoder_config(seed, config, material, reading)
    done = trained_encoder(seed, config, material, reading)

    def load() -> Retriever:
        with err.status(f"Building {name}"):
            return DenseRetriever(
                splits.catalog,
                str(done.checkpoint),
                index=index,
                reading=reading,
                scale=told.training.scale,
                name=name,
            )

    looks = (CurvePoint("bi-encoder", look["step"], None, look["ndcg@5"]) for look in done.report["looks"])
    settings = fingerprint([name, told.model_dump(mode="json")])
    versions = done.report.get("code_versions", ())
    blank = _blank(
        comparison,
        name,
        family="baseline",
        seed=seed,
        minutes=done.report["seconds_training"] / 60,
        curves=tuple(looks),
        manifest=_manifest(comparison, settings, versions, done.report["steps"]),
    )
    return Method(blank, load)


def trained_encoder(seed: int, config: CompareConfig, material: Material, reading: Reading = "whole") -> StageResult:
    """Train the bi-encoder of a seed, or take it from an earlier run.

    Raises:
        InputError: The folder holds a run with other settings.
    """
    told = encoder_config(seed, config, material, reading)
    if not (told.output / "report.json").is_file():
        err.print(f"{encoder_name(reading)}, seed {seed}", style="bold", markup=False)
    return bi_encoder.run(told)


def encoder_config(seed: int, config: CompareConfig, material: Material, reading: Reading = "whole") -> BiEncoderConfig:
    """What the bi-encoder is told: the pairs of retrieval training, and its own keys of the recipe.

    Raises:
        InputError: The recipe names an unknown key, or one that is given here.
    """
    data, recipe = config.data, config.recipe
    given = {
        **recipe.pairs,
        **material.pairs,
        "queries": {"path": material.queries, "split": data.train},
        "tools": material.tools,
        "validation": {"queries": material.queries, "split": data.validation, "most": recipe.validated},
        "reading": reading,
        "output": encoder_folder(config, seed, reading),
        "tracking": {"mode": "disabled"},
    }
    return parsed_stage(BiEncoderConfig, "bi_encoder", recipe.bi_encoder, given, {"seed": seed})
