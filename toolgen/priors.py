"""Priors: where new symbols' rows start, and what they may be pulled back to. Knows models and tools; no training.

One prior serves three ends: it starts the rows, it is the point of a regulariser ``|W - W0|`` (TokenLearning, arXiv
2506.14248), and it makes rows for tools that join a finished model.

Legend: N tools, S new symbols, D model width, B batch, T tokens, P pairs of a tool and a symbol of its code.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.attention import prompt_mask
from toolgen.codebook import Codebook
from toolgen.config import Section
from toolgen.order import batches_of_like_length
from toolgen.tokenizer import encode_texts
from toolgen.tools import ToolCatalog
from toolgen.vocabulary import ExtendedVocabulary, input_weight, is_tied, output_weight, write_rows

Progress = Callable[[int, int], None]
"""Told (done, total)."""

Target = Literal["input", "output"]
_CHUNK = 1024


class Prior(Section):
    """What a new symbol's row is made of.

    Kinds:
        ``name``: word rows of "group name" in words, from the matrix that the row goes to (ToolGen, arXiv 2410.03439).
        ``description``: the same over the whole document.
        ``hidden``: the model's own last hidden states of the document, as its output projection sees them.
        ``random``: normal, with the word rows' root mean square.

    Scales:
        ``word``: every row gets the word rows' mean norm.
        ``small``: every row gets the norm 1/sqrt(D) (TokenLearning's code).
        ``linear``: every row gets the norm 1/sqrt(3), that of torch's new linear layers (ToolkenGPT's code).
        ``none``: rows stay as pooled.
    """

    later = ("title",)

    kind: Literal["name", "description", "hidden", "random"] = Field(
        "hidden", description="name, description, hidden (states of the document) or random."
    )
    pooling: Literal["mean", "max", "last"] = Field(
        "mean", description="Over word rows or positions: mean, max, or last (hidden only)."
    )
    scale: Literal["word", "small", "linear", "none"] = Field(
        "word",
        description="Norm of the rows: word (as word rows on average), small (1/sqrt(D)), linear (1/sqrt(3)) or none "
        "(as pooled).",
    )
    center: bool = Field(
        False,
        description="Take the tools' mean off, before the scale: a row says what sets its tool apart. States of "
        "decoders share a direction, in which every tool would take the words' probability.",
    )
    seed: int = Field(0, description="Of random rows.")
    max_tokens: int = Field(128, ge=1, description="Tokens of the document that hidden reads.")
    title: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the state of the tool's title (group and name) beside its document's, hidden only: for "
        "catalogues whose users name what they want, and whose documents say much else.",
    )

    @model_validator(mode="after")
    def _keys_of_hidden(self) -> Self:
        if self.pooling == "last" and self.kind in ("name", "description"):
            raise ValueError(f"pooling 'last' is for kind 'hidden'; use 'mean' or 'max' with kind '{self.kind}'")
        if self.title and self.kind != "hidden":
            raise ValueError(f"title is for kind 'hidden'; leave it out with kind '{self.kind}'")
        return self


def initialise_rows(
    extended: ExtendedVocabulary,
    catalog: ToolCatalog,
    codebook: Codebook,
    prior: Prior,
    *,
    input_prior: Prior | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the prior's rows for every new symbol of an extended model.

    Args:
        extended: From ``toolgen.vocabulary.extend``; its model is changed in place.
        catalog: The tools.
        codebook: Their codes.
        prior: Of the output rows, and of the input rows as well.
        input_prior: Of the input rows instead, where they are a matrix of their own; ignored in tied models.
        progress: Told how many documents were read; only ``hidden`` takes long.
    """
    if not codebook.new_symbols:
        return

    def rows(which: Prior, target: Target) -> Tensor:
        return prior_rows(
            which, extended.model, extended.tokenizer, catalog, codebook,
            target=target, words_below=extended.first_id, progress=progress,
        )  # fmt: skip

    output_rows_SD = rows(prior, "output")
    input_rows_SD = None if is_tied(extended.model) else rows(input_prior or prior, "input")
    write_rows(extended.model, extended.first_id, output_rows_SD, input_rows_SD)


def prior_rows(
    prior: Prior,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    catalog: ToolCatalog,
    codebook: Codebook,
    *,
    target: Target,
    words_below: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Rows for the codebook's new symbols, in the order of ``codebook.new_symbols``.

    A symbol that several codes use (such as a disambiguating last symbol) gets the mean over their tools. A symbol
    whose tools have no usable text gets the mean word row.

    Args:
        prior: What the rows are made of.
        model: Base model or extended model.
        tokenizer: Of either.
        catalog: The tools.
        codebook: Their codes.
        target: The matrix that the rows are for; gives ``name`` and ``description`` their word rows, and the scale.
        words_below: Rows of the matrix below this id are word rows. None: all of them, as in a base model.
        progress: Told how many documents were read.

    Returns:
        float32 rows on the CPU, [S, D].
    """
    weight = input_weight(model) if target == "input" else output_weight(model)
    words_VD = weight.detach()[:words_below]
    norm_V = torch.linalg.vector_norm(words_VD, dim=1, dtype=torch.float32)
    width = words_VD.shape[1]
    if prior.kind == "random":
        spread = float(norm_V.square().mean().div(width).sqrt())
        generator = torch.Generator().manual_seed(prior.seed)
        rows_SD = torch.randn(len(codebook.new_symbols), width, generator=generator) * spread
    else:
        tools = list(catalog.values())
        if prior.kind == "hidden":
            vectors_ND = hidden_vectors(prior, model, tokenizer, [tool.document() for tool in tools], progress)
            if prior.title:
                titles_ND = hidden_vectors(prior, model, tokenizer, [tool.title() for tool in tools])
                vectors_ND = _mixed(vectors_ND, titles_ND, prior.title)
        else:
            texts = [tool.title() if prior.kind == "name" else tool.document() for tool in tools]
            vectors_ND = _pooled_word_rows(words_VD, encode_texts(tokenizer, texts), prior.pooling)
        if prior.center and (usable_N := vectors_ND.any(1)).sum() > 1:
            vectors_ND[usable_N] -= vectors_ND[usable_N].mean(0)
        mean_row_D = words_VD.mean(0, dtype=torch.float32).cpu()
        rows_SD = _mean_over_tools(vectors_ND, catalog, codebook, mean_row_D)
    if prior.scale == "none":
        return rows_SD
    lengths = {"word": float(norm_V.mean()), "small": 1 / math.sqrt(width), "linear": 1 / math.sqrt(3)}
    return F.normalize(rows_SD, dim=1) * lengths[prior.scale]


def hidden_vectors(
    prior: Prior,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    progress: Progress | None = None,
    *,
    tokens_a_batch: int = 4096,
) -> Tensor:
    """The model's last hidden states of texts, as its output projection sees them, pooled over the texts' positions.

    They are taken at the input of ``get_output_embeddings()``: behind the final norm and behind BERT's head transform.
    The text stands behind the tokenizer's first special token, where it has one; that position is not pooled. It is
    read as a prompt is, both ways where the model does so.

    Returns:
        float32 vectors on the CPU, [N, D]; zeros for a text without tokens.
    """
    first_id = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    prefix = [] if first_id is None else [first_id]
    room = min(prior.max_tokens, getattr(model.config, "max_position_embeddings", prior.max_tokens) - len(prefix))
    ids_N = [prefix + ids[:room] for ids in encode_texts(tokenizer, texts)]
    held = [n for n, ids in enumerate(ids_N) if len(ids) > len(prefix)]
    vectors_ND = torch.zeros(len(texts), output_weight(model).shape[1])
    was_training = model.training
    model.eval()
    done = 0
    try:
        for batch in batches_of_like_length([len(ids_N[n]) for n in held], tokens_a_batch):
            rows = [held[place] for place in batch]
            vectors_ND[rows] = _pooled_states(prior.pooling, model, [ids_N[n] for n in rows], len(prefix))
            done += len(rows)
            if progress is not None:
                progress(done, len(held))
    finally:
        model.train(was_training)
    return vectors_ND


def _pooled_states(pooling: str, model: PreTrainedModel, ids: Sequence[list[int]], skip: int) -> Tensor:
    """One forward over right-padded texts; pools the positions from ``skip`` to each text's end. [B, D]"""
    length_B = torch.tensor([len(row) for row in ids])
    ids_BT = torch.zeros(len(ids), int(length_B.max()), dtype=torch.long)
    for row, text in enumerate(ids):
        ids_BT[row, : len(text)] = torch.tensor(text)
    position_T = torch.arange(ids_BT.shape[1])
    real_BT = position_T < length_B[:, None]
    states = _head_input(model, ids_BT, real_BT)
    text_BT1 = (real_BT & (position_T >= skip)).unsqueeze(-1)
    if pooling == "last":
        return states[torch.arange(len(ids)), length_B - 1]
    if pooling == "max":
        return states.masked_fill(~text_BT1, -torch.inf).amax(1)
    return (states * text_BT1).sum(1) / (length_B - skip)[:, None]


def _head_input(model: PreTrainedModel, ids_BT: Tensor, real_BT: Tensor) -> Tensor:
    """What the output projection is given in a forward pass: float32 on the CPU, [B, T, D]."""
    seen: list[Tensor] = []

    def look(_module: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor]:
        seen.append(arguments[0])
        # One position is enough to let the forward finish: the logits of the rest would be most of the work.
        return (arguments[0][:1, :1],)

    hook = model.get_output_embeddings().register_forward_pre_hook(look)
    try:
        with torch.inference_mode():
            mask = prompt_mask(model, real_BT.to(model.device))
            model(input_ids=ids_BT.to(model.device), attention_mask=mask, use_cache=False)
    finally:
        hook.remove()
    return seen[0].float().cpu()


def _mixed(documents_ND: Tensor, titles_ND: Tensor, share: float) -> Tensor:
    """Directions of both in these shares, at the documents' norm: what is longer does not weigh more. [N, D]"""
    mixed_ND = (1 - share) * F.normalize(documents_ND, dim=1) + share * F.normalize(titles_ND, dim=1)
    return F.normalize(mixed_ND, dim=1) * torch.linalg.vector_norm(documents_ND, dim=1, keepdim=True)


def _pooled_word_rows(words_VD: Tensor, ids_N: Sequence[Sequence[int]], pooling: str) -> Tensor:
    """Mean or maximum over the word rows of each text, [N, D]; zeros for a text without tokens."""
    vectors = []
    for start in range(0, len(ids_N), _CHUNK):
        texts = ids_N[start : start + _CHUNK]
        flat = torch.tensor([token for ids in texts for token in ids], dtype=torch.long, device=words_VD.device)
        offsets = torch.tensor([0, *accumulate(map(len, texts))][:-1], device=words_VD.device)
        # Only the rows in use: a float32 copy of the whole matrix would double an 8B model's embeddings.
        used, index = flat.unique(return_inverse=True)
        vectors.append(F.embedding_bag(index, words_VD[used].float(), offsets, mode=pooling).cpu())
    return torch.cat(vectors)


def _mean_over_tools(vectors_ND: Tensor, catalog: ToolCatalog, codebook: Codebook, fallback_D: Tensor) -> Tensor:
    """Mean of the vectors of the tools whose code holds each symbol, [S, D]; vectors of zeros do not count."""
    number = {symbol: position for position, symbol in enumerate(codebook.new_symbols)}
    usable_N = vectors_ND.any(1)
    pairs = [
        (number[symbol], catalog.position(tool_id))
        for tool_id, code in codebook.codes.items()
        for symbol in dict.fromkeys(code)
        if symbol in number and usable_N[catalog.position(tool_id)]
    ]
    symbol_P, tool_P = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    sum_SD = torch.zeros(len(number), vectors_ND.shape[1]).index_add_(0, symbol_P, vectors_ND[tool_P])
    count_S = torch.bincount(symbol_P, minlength=len(number))
    rows_SD = sum_SD / count_S.clamp(min=1)[:, None]
    rows_SD[count_S == 0] = fallback_D
    return rows_SD
