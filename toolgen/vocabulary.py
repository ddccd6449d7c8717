"""A codebook put into a model and its tokenizer: ids, embedding rows, output rows. Knows no priors and no training.

Legend: S new symbols, D model width.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import Parameter
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.codebook import Codebook, TokenCodes
from toolgen.symbols import extend_tokenizer
from toolgen.tokenizer import bind_codebook, end_token_id

SILENCE = -30.0
"""Bias of a token that is never meant, in nats: below what products with states reach, within bfloat16."""


@dataclass(frozen=True)
class ExtendedVocabulary:
    """A model and tokenizer that hold a codebook's new symbols.

    Attributes:
        model: The model that was given, with rows for the new symbols.
        tokenizer: A new tokenizer; the one that was given is unchanged.
        codes: The codes as token ids.
        first_id: Id of the first new symbol; rows below it are the base's.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    codes: TokenCodes
    first_id: int


def extend(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, codebook: Codebook) -> ExtendedVocabulary:
    """Put a codebook's new symbols into a model (in place) and into a copy of its tokenizer.

    The new rows hold noise until ``toolgen.priors.initialise_rows`` or ``write_rows`` fills them.

    Raises:
        InputError: A symbol cannot go into this tokenizer (see ``extend_tokenizer``), or it has no end token.
        CollisionError: Two tools share a code or one code begins another under this tokenizer.
    """
    first_id = first_free_id(model, tokenizer)
    extended = extend_tokenizer(tokenizer, codebook.new_symbols, first_id)
    codes = bind_codebook(codebook, extended, end_token_id(extended))
    extend_model(model, first_id, len(codebook.new_symbols))
    return ExtendedVocabulary(model, extended, codes, first_id)


def first_free_id(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The lowest id that neither the tokenizer uses nor the model has a row for, input or output.

    Models are often padded beyond their tokenizer (Qwen by some hundred rows): those rows stay what they are.
    """
    rows = len(input_weight(model)), len(output_weight(model))
    return max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1, *rows)


def extend_model(model: PreTrainedModel, first_id: int, count: int) -> None:
    """Make room for the rows ``first_id`` to ``first_id + count`` in the input and output matrices, in place.

    The base's rows keep their bits, tied matrices stay tied and untied ones untied. New rows hold the architecture's
    usual noise, the same on every call. Where the head has a bias, new entries get the mean of the base's: a new symbol
    starts as likely as a word does on average, and a bias of zeros stays one.
    """
    if not count:
        return
    old_rows = len(output_weight(model))
    assert first_id >= max(old_rows, len(input_weight(model))), "new rows would cover the base's"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(first_id + count, mean_resizing=False)
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        with torch.no_grad():
            bias[old_rows:] = bias[:old_rows].mean()


def silence_words(model: PreTrainedModel, codes: TokenCodes) -> None:
    """Take tokens that no code holds out of the running, in place, by the head's bias.

    For encoders, which have no words to say: else the first thing that such a model learned would be to say none of
    the 30,000, at the price of what it knows.

    Args:
        model: Extended; its head has a bias.
        codes: Its codes.
    """
    bias = model.get_output_embeddings().bias
    spoken = torch.tensor(sorted({codes.end_id, *(token for code in codes.sequences for token in code)}))
    silent = torch.ones(len(bias), dtype=torch.bool)
    silent[spoken] = False
    with torch.no_grad():
        bias[silent] = SILENCE


def is_tied(model: PreTrainedModel) -> bool:
    """Whether input and output share one matrix."""
    return input_weight(model) is output_weight(model)


def input_weight(model: PreTrainedModel) -> Parameter:
    """The input matrix, one row a token."""
    weight: Any = model.get_input_embeddings().weight
    return cast(Parameter, weight)


def output_weight(model: PreTrainedModel) -> Parameter:
    """The output matrix, one row a token."""
    weight: Any = model.get_output_embeddings().weight
    return cast(Parameter, weight)


def write_rows(
    model: PreTrainedModel, first_id: int, output_rows_SD: torch.Tensor, input_rows_SD: torch.Tensor | None = None
) -> None:
    """Write rows of new symbols into the output matrix and, where it is a matrix of its own, the input matrix.

    The only place that writes rows. Stages call it before DeepSpeed partitions the weights.

    Args:
        model: Already extended.
        first_id: Id of the first row written.
        output_rows_SD: For the output matrix; tied models have no other.
        input_rows_SD: For the input matrix of an untied model; must be None for a tied one.
    """
    assert (input_rows_SD is None) == is_tied(model), "input rows are for untied models, which need them"
    with torch.no_grad():
        for weight, rows_SD in ((output_weight(model), output_rows_SD), (input_weight(model), input_rows_SD)):
            if rows_SD is not None:
                weight[first_id : first_id + len(rows_SD)] = rows_SD.to(weight.device, weight.dtype)
