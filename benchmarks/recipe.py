"""What a comparison's cells are made of: the recipe, variants of schemes with their codebooks, and stages'
configurations out of the recipe's keys. Trains nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import Field

from toolgen.base import load_tokenizer
from toolgen.codebook import Codebook, CodebookStatistics
from toolgen.config import Section, parse_config
from toolgen.embeddings import Progress, TextEmbedder
from toolgen.errors import InputError
from toolgen.indexing import SCHEMES, build
from toolgen.parts import Reading
from toolgen.stages.retrieval import PairsConfig
from toolgen.tokenizer import bind_standalone, encode_text, end_token_id
from toolgen.tools import ToolCatalog


class Recipe(Section):
    """How every scheme is trained; see configs/benchmarks/."""

    later = ("dense_title",)

    model: str = Field(
        "embedded", description="Base model; in a comparison also encoder:trained, the encoder of its trained baseline."
    )
    reading: Reading = Field(
        "whole", description="How the cells read queries; of the trained baselines, one reads whole, one by parts."
    )
    memorization: dict[str, Any] = Field({}, description="Keys of stages/memorization.py.")
    retrieval: dict[str, Any] = Field({}, description="Keys of stages/retrieval.py.")
    bi_encoder: dict[str, Any] = Field({}, description="Keys of benchmarks/bi_encoder.py, beside the pairs.")
    validated: int = Field(300, ge=1, description="Validation queries ranked at each evaluation.")
    dense_tokens: int | None = Field(None, description="Tokens of a document that the dense baseline reads.")
    dense_title: float = Field(
        0.0, ge=0, le=1, description="Share of a tool's title beside its document in the untrained dense baselines."
    )

    @property
    def pairs(self) -> dict[str, Any]:
        """The keys of ``retrieval`` that say what is trained on, for the trained baseline too."""
        return {key: value for key, value in self.retrieval.items() if key in PairsConfig.model_fields}


@dataclass(frozen=True)
class Variant:
    """A scheme with options, such as ``numeric:digits=new``, which is also its name."""

    name: str
    scheme: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """
        Raises:
            InputError: No such scheme, or an option is not of the form key=value.
        """
        scheme, *pairs = text.strip().split(":")
        if scheme not in SCHEMES:
            raise InputError(f"Unknown indexing scheme {scheme!r}. Choose from {', '.join(SCHEMES)}.")
        options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not key or not equals:
                raise InputError(f"Option {pair!r} of {scheme} is not of the form key=value, as in numeric:digits=new.")
            options[key] = yaml.safe_load(value)
        return cls(text.strip(), scheme, options)


@dataclass(frozen=True)
class Indexed:
    """A codebook, and its figures with the tokenizer that it was built for."""

    book: Codebook
    statistics: CodebookStatistics


def index_variant(variant: Variant, catalog: ToolCatalog, model: str, progress: Progress) -> Indexed:
    """Build a variant's codebook for a base model, with disambiguation.

    Args:
        variant: Scheme and options.
        catalog: The tools.
        model: As in ``Recipe``.
        progress: Told how many documents are embedded.
    """
    tokenizer = load_tokenizer(model)
    end_id = end_token_id(tokenizer)
    book = build(
        variant.scheme,
        catalog,
        encode=lambda text: encode_text(tokenizer, text),
        end_id=end_id,
        disambiguate=True,
        embed=TextEmbedder(progress=progress),
        **variant.options,
    )
    return Indexed(book, book.statistics(bind_standalone(book, tokenizer, end_id)))


Kind = TypeVar("Kind", bound=Section)


def parsed_stage(
    kind: type[Kind],
    stage: str,
    keys: Mapping[str, Any],
    given: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
) -> Kind:
    """A stage's configuration out of a recipe's keys and what the comparison gives.

    Args:
        kind: The stage's class.
        stage: Its name.
        keys: Of the recipe.
        given: Keys of the comparison; the recipe may not name them.
        training: The same for keys under ``training``.

    Raises:
        InputError: The recipe names an unknown key, or a given one.
    """
    taken = [key for key in sorted(given) if key in keys]
    taken += [f"training.{key}" for key in sorted(training or {}) if key in keys.get("training", {})]
    if taken:
        raise InputError(f"The recipe sets {stage}.{taken[0]}, which the comparison gives itself; leave it out.")
    values = {**keys, **given, "training": {**keys.get("training", {}), **(training or {})}}
    return parse_config(kind, values, f"{stage} in the recipe")
