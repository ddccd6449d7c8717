"""From a configuration to trained tool rows: one pass over the texts, then seconds of work. Knows the room; no command
line.

A run's folder holds ``final/`` (``Toolkens``) and ``report.json``.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from torch import Tensor

from toolgen.base import Base
from toolgen.embeddings import Progress
from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.terminal import err, progress_bar
from toolgen.toolken.config import Material, ToolkenConfig, load_material
from toolgen.toolken.fitting import Fit, FitConfig, fit_rows
from toolgen.toolken.form import demonstrations
from toolgen.toolken.linearize import BoundaryError, Example, opening_id, replace
from toolgen.toolken.measures import Figures, best_bias, decide, decide_by_neighbour, figures
from toolgen.toolken.states import TextStates, text_states, weights_checksum
from toolgen.toolken.toolkens import Toolkens, load_on, row_ids, start_rows
from toolgen.tools import ToolCatalog
from toolgen.tracking import tracked
from toolgen.training import IGNORED
from toolgen.version import code_version

MOST_REFUSED = 0.1
"""Share of texts that a tokenizer may refuse before a run does."""

MEASURED = ("precision", "recall", "f1", "exact_f1", "tool_accuracy")


@dataclass(frozen=True)
class PreparedTexts:
    """Texts as states, and which of them are in which part.

    Attributes:
        states: Of all texts.
        train: Numbers of the training texts among them.
        validation: The same.
        test: The same.
        refused: Why texts were left out.
    """

    states: TextStates
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class TrainedRows:
    """One seed's rows.

    Attributes:
        fit: The training.
        bias: The best one on validation.
        test: Figures on the test texts; None without any.
        seconds: Of training, without the pass.
    """

    fit: Fit
    bias: float
    test: Figures | None
    seconds: float


def train_toolkens(config: ToolkenConfig) -> Path:
    """Train rows and save them.

    Returns:
        The folder of the rows.

    Raises:
        InputError: Something in the configuration or in the data is unusable.
    """
    started = time.perf_counter()
    material = load_material(config.data)
    base = load_on(config.model, config.dtype, config.device)
    checksum = weights_checksum(base.model)
    settings = config.model_dump(mode="json")
    with tracked(config.tracking, settings, config.output, "toolken") as run:
        with progress_bar("Running the model once") as progress:
            longest = config.data.max_tokens
            prepared = prepare(base, material, checksum, words=config.words, max_tokens=longest, progress=progress)
        pass_seconds = time.perf_counter() - started
        trained = []
        for seed in config.seeds:
            with progress_bar(f"Training rows, seed {seed}") as progress:
                trained.append(train_seed(base, material.catalog, prepared, config, seed, progress))
        assert weights_checksum(base.model) == checksum, "the base stands still"
        report = _report(config, material, prepared, trained, checksum)
        report |= {"seconds_before_training": pass_seconds, "seconds": time.perf_counter() - started}
        run.summary({key: value for key, value in report["test"].items() if not isinstance(value, Mapping)})
    final = config.output / "final"
    first = trained[0]
    kept = {"data": settings["data"], "fit": settings["fit"], "words": config.words, "seed": config.seeds[0]}
    Toolkens(
        material.catalog,
        first.fit.rows_SD,
        config.model,
        checksum,
        first.bias,
        config.prior,
        config.data.hub,
        demonstrations(material.train, material.catalog.ids),
        kept,
        config.dtype,
    ).save(final)
    write_json(config.output / "report.json", report)
    return final


def prepare(
    base: Base,
    material: Material,
    checksum: str,
    *,
    words: bool = True,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> PreparedTexts:
    """Linearize all texts and run the model over them, or take what an earlier run left.

    Args:
        base: The model and its tokenizer.
        material: Texts and tools.
        checksum: ``weights_checksum`` of the model.
        words: Whether words are labels too.
        max_tokens: Longer texts lose their beginning.
        progress: Told texts done and all.

    Raises:
        InputError: The tokenizer refuses more than ``MOST_REFUSED`` of the texts, or a text is too long.
    """
    ids = row_ids(base, material.catalog)
    examples: list[Example] = []
    refused: list[str] = []
    parts: dict[str, list[int]] = {}
    for name, texts in (("train", material.train), ("validation", material.validation), ("test", material.test)):
        parts[name] = []
        for text in texts:
            try:
                example = replace(text, base.tokenizer, ids, words=words)
            except BoundaryError as error:
                refused.append(str(error))
                continue
            parts[name].append(len(examples))
            examples.append(_shortened(example, max_tokens, opening_id(base.tokenizer)))
    count = len(refused) + len(examples)
    if len(refused) > MOST_REFUSED * count:
        raise InputError(f"{len(refused)} of {count} texts cannot be used with this tokenizer. The first: {refused[0]}")
    if refused:
        err.print(f"{len(refused)} of {count} texts are left out. The first: {refused[0]}", markup=False)
    first_id = min(ids.values())
    for name, part in parts.items():
        labels = [label for number in part for label in examples[number].labels if label != IGNORED]
        if part and not (labels if name != "train" else [label for label in labels if label >= first_id]):
            raise InputError(
                f"The {len(part)} texts of the part '{name}' hold no {'call' if name == 'train' else 'label'} for the "
                "rows. Give texts that call tools, or a larger max_tokens, which may cut calls off."
            )
    pad_id = base.tokenizer.pad_token_id
    states = text_states(base.model, examples, 0 if pad_id is None else pad_id, checksum=checksum, progress=progress)
    train, validation, test = (tuple(part) for part in parts.values())
    return PreparedTexts(states, train, validation, test, tuple(refused))


def train_seed(
    base: Base,
    catalog: ToolCatalog,
    prepared: PreparedTexts,
    config: ToolkenConfig,
    seed: int,
    progress: Progress | None = None,
    start_SD: Tensor | None = None,
) -> TrainedRows:
    """Train the rows of one seed, fit the bias, and measure them.

    Args:
        base: Its word rows give the prior its scale.
        catalog: The tools.
        prepared: The texts.
        config: The run.
        seed: Takes the place of the configuration's.
        progress: Told epochs done and all.
        start_SD: Where rows start; None: as the prior makes them.
    """
    if start_SD is None:
        start_SD = start_rows(config.prior.model_copy(update={"seed": seed}), base, catalog)
    started = time.perf_counter()
    fit = fit_rows(
        prepared.states,
        prepared.train,
        start_SD,
        FitConfig(**{**config.fit.model_dump(), "seed": seed}),
        validation=prepared.validation,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    by = prepared.validation or prepared.train
    bias = best_bias(decide(prepared.states, by, fit.rows_SD)) if config.words else 0.0
    test = figures(decide(prepared.states, prepared.test, fit.rows_SD), bias) if prepared.test else None
    return TrainedRows(fit, bias, test, seconds)


def neighbours(prepared: PreparedTexts) -> Figures | None:
    """What the nearest training call in the same states gives; its threshold is fitted on validation as a bias is.
    None without test or validation texts: a training call's nearest one is itself."""
    if not prepared.test or not prepared.validation:
        return None
    bias = best_bias(decide_by_neighbour(prepared.states, prepared.train, prepared.validation))
    return figures(decide_by_neighbour(prepared.states, prepared.train, prepared.test), bias)


def base_perplexity(states: TextStates, texts: Sequence[int]) -> float | None:
    """Of the words of some texts, under the base alone; None where no word is labelled."""
    places = states.places(texts)
    places = places[states.labels_n[places] < states.first_id]
    if not len(places):
        return None
    return float(np.exp(np.mean(states.sums_n[places].astype(np.float64) - states.words_n[places])))


def _report(
    config: ToolkenConfig,
    material: Material,
    prepared: PreparedTexts,
    trained: Sequence[TrainedRows],
    checksum: str,
) -> dict[str, Any]:
    measured = [one.test for one in trained if one.test is not None]
    near = neighbours(prepared)
    test: dict[str, Any] = {}
    for name in MEASURED if measured else ():
        values = [getattr(one, name) for one in measured]
        if None not in values:
            test |= {name: mean(values), f"{name}_spread": stdev(values) if len(values) > 1 else None}
    return {
        "tools": len(material.catalog),
        "texts": {"train": len(prepared.train), "validation": len(prepared.validation), "test": len(prepared.test)},
        "labels": len(prepared.states.labels_n),
        "refused": len(prepared.refused),
        "test": test,
        "seeds": [
            {
                "seed": seed,
                "bias": one.bias,
                "kept_epoch": one.fit.kept,
                "losses": one.fit.losses,
                "validation_losses": one.fit.validation,
                "seconds_training": one.seconds,
                "test": asdict(one.test) if one.test is not None else None,
            }
            for seed, one in zip(config.seeds, trained, strict=True)
        ],
        "nearest_neighbour": asdict(near) if near is not None else None,
        "base_perplexity": base_perplexity(prepared.states, prepared.test or prepared.train),
        "base_checksum": checksum,
        "code_version": code_version(),
        "config": config.model_dump(mode="json"),
    }


def _shortened(example: Example, most: int | None, opening: int | None) -> Example:
    """The end of a text that is longer than ``most``, behind its first special token."""
    if most is None or len(example.input_ids) <= most:
        return example
    if opening is None:
        return Example(example.id, example.input_ids[-most:], (IGNORED, *example.labels[-most + 1 :]))
    rest = most - 1
    return Example(example.id, (opening, *example.input_ids[-rest:]), (IGNORED, *example.labels[-rest:]))
