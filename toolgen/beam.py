"""Exact constrained decoding: the K best codes of a trie under a causal language model. Knows token ids and models of
transformers, no tools, tokenizers or text.

The score of a code is the sum of log p over its tokens, the end symbol included where the code has one; p is
normalised over the whole vocabulary. ``beam_search`` serves any code, ``rank_atomic`` codes of one token.

Legend: ``B`` queries, ``T`` prompt tokens, ``K`` beams, ``R = B * K`` rows, ``W`` children of the widest node, ``C``
candidates of a query, ``N`` codes, ``V`` vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from toolgen.errors import InputError
from toolgen.trie import NOWHERE, ROOT, TokenTrie, code_mask

NO_CODE = -1


@dataclass(frozen=True, eq=False)
class BeamResult:
    """The best codes of each query, best first; equal scores in the order of their positions.

    Attributes:
        codes_BK: int64, position of the code in the catalogue; -1 where there are fewer than K codes.
        scores_BK: float32, natural logarithm of the code's probability; -inf where there is no code.
    """

    codes_BK: Tensor
    scores_BK: Tensor


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Every allowed extension of the running prefixes of a query, by prefix, then by token; padding scores -inf."""

    scores_BC: Tensor
    nodes_BC: Tensor
    tokens_BC: Tensor
    codes_BC: Tensor
    """-1 where the extension is no whole code yet."""
    prefixes_BC: Tensor
    """Place of the prefix that is extended, ``0 .. K - 1``."""


@dataclass(frozen=True, eq=False)
class _Prefixes:
    """The running prefixes of each query, best first. Places that hold none score -inf and stand nowhere."""

    scores_BK: Tensor
    nodes_BK: Tensor
    tokens_BK: Tensor
    """Last token of the prefix."""
    parents_BK: Tensor
    """Place that the prefix it extends had one step before."""


class _Rows:
    """The model's side of the search: cache, mask and positions of every row. Knows nothing of scores or the trie."""

    def __init__(self, model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor) -> None:
        self._model = model
        self._input_ids_BT = input_ids_BT
        self._mask_RT = mask_BT
        self._lengths_R = mask_BT.sum(-1)
        self._cache = DynamicCache(config=model.config)

    def prefill(self) -> Tensor:
        """Run the prompts once; logits ``[B, V]`` of the first token."""
        return self._forward(self._input_ids_BT, positions(self._mask_RT))

    def advance(self, parents_BK: Tensor, tokens_BK: Tensor) -> Tensor:
        """Extend the rows of the step before, each once for every time it is named; logits ``[R, V]``."""
        places = len(self._mask_RT) // len(parents_BK)
        queries_B1 = torch.arange(len(parents_BK), device=parents_BK.device)[:, None]
        parents_R = (queries_B1 * places + parents_BK).flatten()
        self._cache.reorder_cache(cast(torch.LongTensor, parents_R))
        self._mask_RT = torch.nn.functional.pad(self._mask_RT[parents_R], (0, 1), value=1)
        positions_R, self._lengths_R = self._lengths_R[parents_R], self._lengths_R[parents_R] + 1
        return self._forward(tokens_BK.reshape(-1, 1), positions_R[:, None])

    def _forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        output = self._model(
            input_ids=input_ids,
            attention_mask=self._mask_RT,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]


@torch.inference_mode()
def beam_search(
    model: PreTrainedModel, trie: TokenTrie, input_ids_BT: Tensor, attention_mask_BT: Tensor, beams: int
) -> BeamResult:
    """Find the best codes by beam search of width ``beams``; prompts are run once, whatever the width.

    At every step all allowed extensions of a query's running prefixes are ranked by their total score. Whole codes
    among the K best are results; the K best extensions that are not whole run on. There is no length penalty, and the
    search ends when no running prefix can enter the K best results. This is what ``generate`` of transformers does
    under ``length_penalty=0.0, early_stopping="never"`` with the codes' last tokens as end-of-sequence: a whole code
    outside the K best extensions of its step is dropped for good there, and so here. (Transformers looks at the best
    2K extensions only, or (n + 1)K for n end symbols; as a prefix has at most n whole extensions, that comes to the
    same.) With K at least the number of codes nothing is ever dropped: the result is exhaustive.

    Equal scores are decided by the codes' positions among results; among extensions by the rank of the prefix, then
    by token id.

    Args:
        model: A causal language model with a cache, in evaluation mode.
        trie: The codes; ``TokenTrie.restrict`` gives the trie of a subset.
        input_ids_BT: Prompts, padded on the left.
        attention_mask_BT: 1 for tokens, 0 for padding.
        beams: K, the width and the number of results; more than there are codes gives them all, padded.

    Raises:
        InputError: ``beams`` is not positive, the prompts are unusable, prompt and code do not fit the model's context,
            a token is outside the model's vocabulary, the model cannot decode step by step, or its logits are not
            finite.
    """
    if beams < 1:
        raise InputError(f"beams={beams}: a beam search needs a width of at least 1.")
    check_input(model, input_ids_BT, attention_mask_BT, code_length=trie.depth, largest_token=trie.largest_token)
    trie = trie.to(model.device)
    width = min(beams, trie.leaf_count)
    rows = _Rows(model, input_ids_BT.to(model.device), attention_mask_BT.to(model.device).long())
    batch = len(input_ids_BT)

    running = _roots(batch, model.device)
    found = _pad(BeamResult(running.nodes_BK[:, :0], running.scores_BK[:, :0]), width)
    logits_RV = rows.prefill()
    while True:
        candidates = _extend(trie, running, logits_RV)
        found = _collect(found, candidates)
        running = _prune(candidates, width)
        best_B, worst_found_B = running.scores_BK[:, 0], found.scores_BK[:, -1]
        # Log p is never positive, so a prefix only loses. At equal scores it may still enter by its code's position.
        if not ((best_B >= worst_found_B) & (best_B > -torch.inf)).any():
            return _pad(found, beams)
        logits_RV = rows.advance(running.parents_BK, running.tokens_BK)


@torch.inference_mode()
def rank_atomic(
    model: PreTrainedModel,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    token_ids_N: Sequence[int] | Tensor,
    k: int,
    *,
    code_indices: Sequence[int] | Tensor | None = None,
) -> BeamResult:
    """Rank codes of one token: one forward of the prompts, the last position only, no search and no cache.

    Equal to ``beam_search`` on the same codes. Models that are no decoders (attention in both directions) serve too.

    Args:
        model: A language model in evaluation mode.
        input_ids_BT: Prompts, padded on the left.
        attention_mask_BT: 1 for tokens, 0 for padding.
        token_ids_N: The token of each code, all different.
        k: Number of results; more than there are codes gives them all, padded.
        code_indices: Positions of the codes allowed; None allows all.

    Raises:
        InputError: ``k`` is not positive, the subset is empty or unknown, the prompts are unusable or do not fit the
            model's context, a token is outside the model's vocabulary, or the model's logits are not finite.
    """
    if k < 1:
        raise InputError(f"k={k}: at least one result must be asked for.")
    tokens_N = torch.as_tensor(token_ids_N, dtype=torch.int64)
    if not len(tokens_N) or tokens_N.min() < 0 or len(tokens_N.unique()) < len(tokens_N):
        raise InputError(f"Atomic codes need one token id each, all different; found {len(tokens_N)} code(s).")
    largest = int(tokens_N.max())
    check_input(model, input_ids_BT, attention_mask_BT, code_length=1, largest_token=largest)
    indices_N = torch.arange(len(tokens_N))
    if code_indices is not None:
        indices_N = code_mask(code_indices, len(tokens_N)).nonzero().flatten()
    tokens_N, indices_N = tokens_N.cpu()[indices_N].to(model.device), indices_N.to(model.device)

    mask_BT = attention_mask_BT.to(model.device).long()
    output = model(
        input_ids=input_ids_BT.to(model.device),
        attention_mask=mask_BT,
        position_ids=positions(mask_BT),
        use_cache=False,
        logits_to_keep=1,
    )
    scores_BN = log_p(output.logits[:, -1], tokens_N.expand(len(mask_BT), -1))
    best_BK = _best(scores_BN, min(k, len(tokens_N)))
    return _pad(BeamResult(indices_N[best_BK], scores_BN.gather(1, best_BK)), k)


def log_p(logits_RV: Tensor, tokens_RW: Tensor) -> Tensor:
    """Log-probabilities ``[R, W]`` float32 of some tokens of each row, normalised over the whole vocabulary.

    Raises:
        InputError: A logit is not a number or infinite.
    """
    logits_RV = logits_RV.float()
    normalizer_R1 = logits_RV.logsumexp(-1, keepdim=True)
    if not normalizer_R1.isfinite().all():
        raise InputError(
            "The model's logits are not finite, so codes cannot be ranked. Check that its weights were trained and "
            "loaded whole, and load it in float32 or bfloat16."
        )
    return logits_RV.gather(1, tokens_RW) - normalizer_R1


def positions(mask_BT: Tensor) -> Tensor:
    """Position ids ``[B, T]`` that count tokens only; padding gets 0."""
    return (mask_BT.cumsum(-1) - 1).clamp(min=0)


def check_input(
    model: PreTrainedModel, input_ids_BT: Tensor, attention_mask_BT: Tensor, *, code_length: int, largest_token: int
) -> None:
    """Check prompts and codes against the model before anything is computed.

    The last token of a code is scored but never read, so a prompt may fill the context up to ``code_length - 1``.

    Raises:
        InputError: As ``beam_search`` says.
    """
    assert not model.training, "decode in evaluation mode: call model.eval() first"
    config = model.config.get_text_config()
    if input_ids_BT.shape != attention_mask_BT.shape or input_ids_BT.ndim != 2 or not input_ids_BT.numel():
        raise InputError(
            f"Prompts and mask must be non-empty matrices of one shape, found {tuple(input_ids_BT.shape)} and "
            f"{tuple(attention_mask_BT.shape)}."
        )
    if not attention_mask_BT[:, -1].all():
        raise InputError(
            "A prompt ends with padding, or is empty. Give every prompt a token and pad on the left "
            "(tokenizer.padding_side = 'left')."
        )
    largest = max(largest_token, int(input_ids_BT.max()))
    if largest >= config.vocab_size or input_ids_BT.min() < 0:
        bad = largest if largest >= config.vocab_size else int(input_ids_BT.min())
        what = "a code" if largest_token == bad else "a prompt"
        raise InputError(
            f"Token {bad} of {what} is outside the model's vocabulary, 0 to {config.vocab_size - 1}. "
            "Use the model and tokenizer that the codebook was put into."
        )
    # Some architectures know no bound (ALiBi); their configuration has no such field.
    context = getattr(config, "max_position_embeddings", None)
    longest = int(attention_mask_BT.sum(-1).max())
    if context is not None and longest + code_length - 1 > context:
        raise InputError(
            f"The longest prompt has {longest} tokens and the longest code {code_length}; the model's context holds "
            f"{context}, which leaves {max(0, context - code_length + 1)} for the prompt. Shorten the query."
        )
    # Only architectures that can be either have the flag.
    if code_length > 1 and not getattr(config, "is_decoder", True):
        raise InputError(
            f"This {config.model_type} model attends in both directions and cannot decode codes of {code_length} "
            "tokens. Load it with is_decoder=True, or use the scheme atomic."
        )


def _roots(batch: int, device: torch.device) -> _Prefixes:
    """One empty prefix for each query."""
    at_root_B1 = torch.full((batch, 1), ROOT, device=device)
    none_B1 = torch.full((batch, 1), NOWHERE, device=device)
    return _Prefixes(torch.zeros((batch, 1), device=device), at_root_B1, tokens_BK=none_B1, parents_BK=none_B1)


def _extend(trie: TokenTrie, running: _Prefixes, logits_RV: Tensor) -> _Candidates:
    """Score every allowed extension of the running prefixes."""
    edges = trie.allowed(running.nodes_BK)
    shape_BKW = edges.tokens.shape
    log_p_RW = log_p(logits_RV, edges.tokens.clamp(min=0).flatten(0, 1))
    scores_BKW = running.scores_BK[..., None] + log_p_RW.view(shape_BKW)
    places_BKW = torch.arange(shape_BKW[1], device=logits_RV.device)[:, None].expand(shape_BKW)
    codes_BKW = torch.where(edges.nodes >= ROOT, trie.codes_S[edges.nodes.clamp(min=ROOT)].long(), NO_CODE)
    return _Candidates(
        scores_BC=scores_BKW.masked_fill(edges.nodes < ROOT, -torch.inf).flatten(1),
        nodes_BC=edges.nodes.flatten(1),
        tokens_BC=edges.tokens.flatten(1),
        codes_BC=codes_BKW.flatten(1),
        prefixes_BC=places_BKW.flatten(1),
    )


def _collect(found: BeamResult, candidates: _Candidates) -> BeamResult:
    """Merge the whole codes among the K best candidates into the K best results."""
    width = found.codes_BK.shape[1]
    best_BK = _best(candidates.scores_BC, min(width, candidates.scores_BC.shape[1]))
    new_codes_BK = candidates.codes_BC.gather(1, best_BK)
    new_scores_BK = candidates.scores_BC.gather(1, best_BK).masked_fill(new_codes_BK == NO_CODE, -torch.inf)
    codes = torch.cat([found.codes_BK, new_codes_BK], dim=1)
    scores = torch.cat([found.scores_BK, new_scores_BK], dim=1)
    # Two stable sorts: by code, then by score, so that equal scores stay in the order of their codes.
    by_code = codes.argsort(dim=1, stable=True)
    codes, scores = codes.gather(1, by_code), scores.gather(1, by_code)
    by_score = scores.argsort(dim=1, descending=True, stable=True)[:, :width]
    return BeamResult(codes.gather(1, by_score), scores.gather(1, by_score))


def _prune(candidates: _Candidates, width: int) -> _Prefixes:
    """The K best candidates that are not whole codes."""
    unfinished_BC = candidates.scores_BC.masked_fill(candidates.codes_BC != NO_CODE, -torch.inf)
    best_BK = _best(unfinished_BC, min(width, unfinished_BC.shape[1]))
    scores_BK = unfinished_BC.gather(1, best_BK)
    gone_BK = scores_BK == -torch.inf
    return _Prefixes(
        scores_BK=scores_BK,
        nodes_BK=candidates.nodes_BC.gather(1, best_BK).masked_fill(gone_BK, NOWHERE),
        # The model needs some token for a place that holds no prefix; what it makes of it is never read.
        tokens_BK=candidates.tokens_BC.gather(1, best_BK).masked_fill(gone_BK, 0),
        parents_BK=candidates.prefixes_BC.gather(1, best_BK),
    )


def _best(scores_BC: Tensor, k: int) -> Tensor:
    """Places ``[B, k]`` of the k best, best first, equal scores in the order of their places.

    ``topk`` promises no order among equals, and a stable sort of all candidates costs many times more.
    """
    threshold_B1 = scores_BC.topk(k).values[:, -1:]
    above_BC, equal_BC = scores_BC > threshold_B1, scores_BC == threshold_B1
    room_B1 = k - above_BC.sum(-1, keepdim=True)
    chosen_BC = above_BC | (equal_BC & (equal_BC.cumsum(-1) <= room_B1))
    places_Bk = chosen_BC.nonzero()[:, 1].view(-1, k)
    order_Bk = scores_BC.gather(1, places_Bk).argsort(dim=1, descending=True, stable=True)
    return places_Bk.gather(1, order_Bk)


def _pad(result: BeamResult, beams: int) -> BeamResult:
    """Widen to ``beams`` places, the new ones empty."""
    missing = beams - result.codes_BK.shape[1]
    pad = torch.nn.functional.pad
    return BeamResult(
        pad(result.codes_BK, (0, missing), value=NO_CODE), pad(result.scores_BK, (0, missing), value=-torch.inf)
    )
