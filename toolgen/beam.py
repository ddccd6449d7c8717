"""Exact constrained decoding: the K best codes of a trie under a causal language model. Knows token ids and models of
transformers, no tools, tokenizers or text.

The score of a code is the sum of log p over its tokens, the end symbol included where the code has one. ``beam_search``
serves any code, ``rank_atomic`` codes of one token.

A query is one row of the model, whatever the number of its beams: the running prefixes are continuations of one prompt
side by side (``toolgen.attention``), so the prompt's keys and values are there once and nothing is reordered. Of the
logits only those of tokens that some beam allows are made, and the normaliser (``toolgen.head``). The model works on
its device, the search keeps its books on the host: a step handles a few thousand numbers, in some fifty operations,
each of which would cost more to hand to a device than to do.

Legend: ``B`` queries, ``T`` prompt tokens, ``K`` beams, ``R`` prefixes (``B * K``), ``S`` tokens that a query has read
behind its prompt, ``Q`` tokens it reads at once, ``C`` candidates of a query, ``D`` width, ``n`` candidates or tokens
over all queries, ``N`` codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from toolgen.attention import check_side_by_side, explicit_mask, prompt_mask, reads_both_ways
from toolgen.base import context_length
from toolgen.errors import InputError
from toolgen.head import Head, check_finite
from toolgen.trie import NOWHERE, Array, Segments, TokenTrie, counted

NO_CODE = -1
"""Of a prefix that is no whole code yet."""

Normalize = Literal["vocab", "allowed"]
"""What p is normalised over.

``vocab``: the whole vocabulary: the probability that the model generates the code. The scores of transformers' beam
search.

``allowed``: the tokens that the trie allows. ANOTHER SCORER, not a faster way to the same one: it finds other codes,
since it does not see how little the model may want to say any of the allowed tokens. It saves the product with the
whole vocabulary.
"""


@dataclass(frozen=True, eq=False)
class BeamResult:
    """The best codes of each query, best first; equal scores in the order of their positions. On the CPU.

    Attributes:
        codes_BK: int64, position of the code in the catalogue.
        scores_BK: float32, natural logarithm of the code's probability, as ``normalize`` defines it.
    """

    codes_BK: Tensor
    scores_BK: Tensor


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Every allowed extension of the running prefixes of a query, by prefix, then by token.

    What they are is listed for all queries, one after another; the first ones are the same for all, and listed once.
    """

    scores_BC: Tensor
    """Padding scores -inf."""
    normalizers_B1: Array
    """Still to be taken off a query's scores, for of the first tokens there are many and few are chosen."""
    offsets_B1: Array
    """Where a query's candidates begin in the lists."""
    segments_n: Array
    places_n: Array
    """The node that is reached: its segment and its place there."""
    codes_n: Array
    """-1 where the extension is no whole code yet."""
    prefixes_n: Array
    """The prefix that is extended, of all ``R``; of the first ones the root."""


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The best candidates of each query, best first. Where there were fewer, -inf, ``NOWHERE`` and -1."""

    scores_BK: Array
    segments_BK: Array
    places_BK: Array
    codes_BK: Array
    prefixes_BK: Array


@dataclass(frozen=True, eq=False)
class _Prefixes:
    """The running prefixes of each query, best first.

    Within a segment what follows is known before anything is scored. So the model reads a segment in one forward, when
    a prefix enters it; the search still takes it one token at a time.
    """

    scores_BK: Array
    """-inf in places that hold no prefix."""
    segments_BK: Array
    """``NOWHERE`` in places that hold no prefix."""
    places_BK: Array
    """Where in its segment the prefix is."""
    numbers_BK: Array
    """The prefix's last token among all that were read (``_Said``)."""
    seen_BKS: Array
    """Which of the tokens behind the prompt the next ones see: ancestors and the segment, to its end."""


class _Said:
    """What the model says after each token it has read behind the prompts, by the number of the token."""

    def __init__(self) -> None:
        self.normalizers_n = np.empty(0, np.float32)
        self.only_n = np.empty(0, np.float32)
        """Log p of what follows where only one token does; anything elsewhere."""
        self._kept_n = np.empty(0, np.int64)
        self._states: list[Tensor] = []
        self._starts = [0]

    @property
    def count(self) -> int:
        """Tokens that were read."""
        return len(self._kept_n)

    def add(self, states_mD: Tensor, choice_n: Array, normalizers_n: Array, only_n: Array) -> None:
        """Number some more tokens, with the states of those after which there is a choice."""
        self.normalizers_n = np.concatenate([self.normalizers_n, normalizers_n])
        self.only_n = np.concatenate([self.only_n, only_n])
        self._kept_n = np.concatenate([self._kept_n, self._starts[-1] - 1 + choice_n.cumsum()])
        self._states.append(states_mD)
        self._starts.append(self._starts[-1] + len(states_mD))

    def states(self, numbers_m: Array) -> Tensor:
        """States ``[m, D]`` after these tokens, from one reading or several."""
        kept_m = self._kept_n.take(numbers_m)
        parts_m = np.searchsorted(self._starts, kept_m, side="right") - 1
        gathered = [
            self._states[part].index_select(0, _on(kept_m[parts_m == part] - self._starts[part], self._states[part]))
            for part in np.unique(parts_m)
        ]
        if len(gathered) == 1:
            return gathered[0]
        order_m = parts_m.argsort(kind="stable")
        return torch.cat(gathered).index_select(0, _on(order_m.argsort(), gathered[0]))


class _Rows:
    """The model's side of the search: a row for each query, which grows by what is read. Knows nothing of scores."""

    def __init__(self, model: PreTrainedModel, head: Head, input_ids_BT: Tensor, mask_BT: Tensor) -> None:
        self._model = model
        self._head = head
        self._input_ids_BT = input_ids_BT
        self.mask_BT = mask_BT
        self._lengths_B = mask_BT.sum(-1)
        # Without the configuration every layer keeps all tokens, which the masks count on.
        self._cache = DynamicCache()

    def prefill(self) -> Tensor:
        """Read the prompts; states ``[B, 1, D]`` after them."""
        return self._head.states(
            input_ids=self._input_ids_BT,
            attention_mask=prompt_mask(self._model, self.mask_BT),
            position_ids=positions(self.mask_BT),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )

    def read(self, tokens_BQ: Array, depths_BQ: Array, seen_BQS: Array) -> Tensor:
        """Read tokens behind the prompts; states ``[B, Q, D]``.

        Args:
            tokens_BQ: The tokens.
            depths_BQ: Tokens of the code before each.
            seen_BQS: What each sees behind the prompt, these tokens included.
        """
        tokens, depths, seen = (_on(array, self.mask_BT) for array in (tokens_BQ, depths_BQ, seen_BQS))
        prompt_BQT = self.mask_BT[:, None].expand(-1, tokens.shape[1], -1)
        return self._head.states(
            input_ids=tokens,
            attention_mask=explicit_mask(self._model, torch.cat([prompt_BQT, seen], dim=2)),
            position_ids=self._lengths_B[:, None] + depths,
            past_key_values=self._cache,
            use_cache=True,
        )


# Not inference_mode: what ZeRO-3 gathers in there stays an inference tensor, and training cannot go on with it.
@torch.no_grad()
def beam_search(
    model: PreTrainedModel,
    trie: TokenTrie,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    beams: int,
    *,
    normalize: Normalize = "vocab",
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
        beams: K, the width and the number of results.
        normalize: What p is normalised over; see ``Normalize``.

    Raises:
        InputError: ``beams`` is not between 1 and the number of codes, ``normalize`` unknown, the prompts are unusable,
            prompt and code do not fit the model's context, a token is outside the model's vocabulary, the model cannot
            decode step by step, or its logits are not finite.
    """
    _check_width("beams", beams, trie)
    check_normalize(normalize)
    check_input(model, input_ids_BT, attention_mask_BT, code_length=trie.depth, largest_token=trie.largest_token)
    head = Head(model)
    head.check_linear()
    rows = _Rows(model, head, input_ids_BT.to(model.device), attention_mask_BT.to(model.device).bool())
    search = _Search(trie.segments, head, rows, normalize)

    candidates = _begin(trie, head, rows.prefill()[:, 0], normalize)
    running = _roots(len(rows.mask_BT))
    shape = len(rows.mask_BT), beams
    found_codes_BK, found_scores_BK = np.full(shape, NO_CODE), np.full(shape, -np.inf, np.float32)
    for depth in range(1, trie.depth + 1):
        best = _choose(candidates, beams)
        if (best.codes_BK != NO_CODE).any():
            found_codes_BK, found_scores_BK = _merged(found_codes_BK, found_scores_BK, best)
            if depth == trie.depth:
                break
            best = _choose(_unfinished(candidates), beams)
        running = _hopeful(_followed(running, best), found_scores_BK[:, -1:])
        if not (running.segments_BK != NOWHERE).any():
            break
        running = search.read_on(running, depth)
        candidates = search.extend(running)
    found = BeamResult(torch.from_numpy(found_codes_BK), torch.from_numpy(found_scores_BK))
    check_finite(found.scores_BK)
    return found


@torch.no_grad()
def rank_atomic(
    model: PreTrainedModel,
    trie: TokenTrie,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    k: int,
    *,
    normalize: Normalize = "allowed",
) -> BeamResult:
    """Rank codes of one token: one forward of the prompts, the last position only, a product with the tools' rows; no
    search and no cache.

    Equal to ``beam_search`` on the same codes under the same ``normalize``. Models that are no decoders (attention in
    both directions) serve too. Here the normaliser is a constant of the query: it changes the scores and never the
    order. So the default is the one that needs no product with the vocabulary.

    Args:
        model: A language model in evaluation mode.
        trie: The codes, all of one token.
        input_ids_BT: Prompts, padded on the left.
        attention_mask_BT: 1 for tokens, 0 for padding.
        k: Number of results.
        normalize: What p is normalised over; see ``Normalize``.

    Raises:
        InputError: ``k`` is not between 1 and the number of codes, ``normalize`` unknown, a code has several tokens,
            the prompts are unusable or do not fit the model's context, a token is outside the model's vocabulary, or
            the model's logits are not finite.
    """
    _check_width("k", k, trie)
    check_normalize(normalize)
    if trie.depth > 1:
        raise InputError(f"These codes have up to {trie.depth} tokens. Use beam_search, which serves any code.")
    check_input(model, input_ids_BT, attention_mask_BT, code_length=1, largest_token=trie.largest_token)
    head = Head(model)
    head.check_linear()
    states_BD = last_states(model, input_ids_BT.to(model.device), attention_mask_BT.to(model.device))
    logits_BN = head.logits(states_BD, trie.first_tokens)
    normalizers_B = head.normalizers(states_BD) if normalize == "vocab" else logits_BN.logsumexp(-1)
    check_finite(normalizers_B)
    logits_BK, best_BK = _best(logits_BN, k)
    scores_BK = logits_BK - normalizers_B[:, None].cpu().numpy()
    check_finite(torch.from_numpy(scores_BK))
    codes_BK, scores_BK = _ranked(trie.segments.codes_G.take(best_BK + 1), scores_BK)
    return BeamResult(torch.from_numpy(codes_BK), torch.from_numpy(scores_BK))


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts as a batch: token ids and mask, both ``[B, T]`` int64, padded on the left to the longest."""
    longest = max(map(len, prompts))
    missing = [longest - len(prompt) for prompt in prompts]
    input_ids_BT = torch.tensor([[pad_id] * pad + list(prompt) for pad, prompt in zip(missing, prompts, strict=True)])
    mask_BT = torch.arange(longest) >= torch.tensor(missing)[:, None]
    return input_ids_BT, mask_BT.long()


def last_states(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """One forward of the prompts without a cache: the states ``[B, D]`` of their last tokens."""
    states_BTD = Head(model).states(
        input_ids=input_ids_BT,
        attention_mask=prompt_mask(model, mask_BT),
        position_ids=positions(mask_BT),
        use_cache=False,
        logits_to_keep=1,
    )
    return states_BTD[:, -1]


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
    context = context_length(config)
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
    if code_length > 1 or reads_both_ways(model):
        check_side_by_side(model, longest + code_length - 1)


def _check_width(name: str, width: int, trie: TokenTrie) -> None:
    if not 1 <= width <= trie.leaf_count:
        raise InputError(
            f"{name} is {width}. Allowed are 1 to {trie.leaf_count:,}, the number of codes to choose from."
        )


def check_normalize(normalize: str) -> None:
    """
    Raises:
        InputError: There is no such normaliser.
    """
    if normalize not in get_args(Normalize):
        raise InputError(f"normalize is {normalize!r}. Allowed are {', '.join(get_args(Normalize))}.")


def _roots(batch: int) -> _Prefixes:
    """One empty prefix for each query, of which the model has read nothing but the prompt."""
    nothing_BK = np.zeros((batch, 1), np.int64)
    return _Prefixes(
        scores_BK=np.zeros((batch, 1), np.float32),
        segments_BK=nothing_BK,
        places_BK=nothing_BK,
        numbers_BK=nothing_BK,
        seen_BKS=np.zeros((batch, 1, 0), bool),
    )


def _begin(trie: TokenTrie, head: Head, states_BD: Tensor, normalize: Normalize) -> _Candidates:
    """Score the first tokens, which are the same for all queries: those of the root's children, 1 to C."""
    logits_BC = head.logits(states_BD, trie.first_tokens)
    normalizers_B = head.normalizers(states_BD) if normalize == "vocab" else logits_BC.logsumexp(-1)
    check_finite(normalizers_B)
    segments_n = np.arange(1, trie.first_count + 1)
    roots_n = places_n = np.zeros_like(segments_n)
    codes_n = _codes(trie.segments, segments_n, places_n)
    normalizers_B1 = normalizers_B[:, None].cpu().numpy()
    return _Candidates(logits_BC, normalizers_B1, np.zeros((1, 1), np.int64), segments_n, places_n, codes_n, roots_n)


class _Search:
    """The steps of one search behind the first tokens: have the model read, and score what may follow."""

    def __init__(self, segments: Segments, head: Head, rows: _Rows, normalize: Normalize) -> None:
        self._segments = segments
        self._head = head
        self._rows = rows
        self._normalize = normalize
        self._said = _Said()

    def extend(self, running: _Prefixes) -> _Candidates:
        """Score every allowed extension of the running prefixes."""
        edges = self._segments.edges(running.segments_BK.ravel(), running.places_BK.ravel())
        numbers_n = running.numbers_BK.take(edges.prefixes_n)
        # Under ``allowed`` a token without an alternative is certain.
        logs_n = self._said.only_n.take(numbers_n) if self._normalize == "vocab" else np.zeros(len(numbers_n), "f4")
        if len(chosen_m := np.flatnonzero(edges.places_n == 0)):
            numbers_m, prefixes_m = numbers_n.take(chosen_m), edges.prefixes_n.take(chosen_m)
            logs_n[chosen_m] = self._choices(numbers_m, prefixes_m, edges.segments_n.take(chosen_m))
        scores_n = running.scores_BK.take(edges.prefixes_n) + logs_n
        counts_B = edges.degrees_R.reshape(running.scores_BK.shape).sum(1)
        scores_BC = np.full((len(counts_B), counts_B.max()), -np.inf, np.float32)
        scores_BC[_first(counts_B)] = scores_n
        return _Candidates(
            scores_BC=torch.from_numpy(scores_BC),
            normalizers_B1=np.zeros((1, 1), np.float32),
            offsets_B1=(counts_B.cumsum() - counts_B)[:, None],
            segments_n=edges.segments_n,
            places_n=edges.places_n,
            codes_n=_codes(self._segments, edges.segments_n, edges.places_n),
            prefixes_n=edges.prefixes_n,
        )

    def _choices(self, numbers_m: Array, prefixes_m: Array, segments_m: Array) -> Array:
        """Log p ``[m]`` of the first tokens of segments, each after a token that was read, of a prefix."""
        begins_m = np.append(True, prefixes_m[1:] != prefixes_m[:-1])
        starts_P, places_m = np.flatnonzero(begins_m), begins_m.cumsum() - 1
        numbers_P = numbers_m.take(starts_P)
        # Beams allow much the same tokens: one product with all costs less than copies of each beam's rows.
        tokens_A, letters_m = _distinct(self._segments.tokens_S.take(self._segments.starts_G.take(segments_m)))
        states_PD = self._said.states(numbers_P)
        logits_PA = self._head.logits(states_PD, _on(tokens_A, states_PD)).cpu().numpy()
        logits_m = logits_PA.take(places_m * len(tokens_A) + letters_m)
        if self._normalize == "vocab":
            normalizers_P = self._said.normalizers_n.take(numbers_P)
        else:
            largest_P = np.maximum.reduceat(logits_m, starts_P)
            parts_m = np.exp(logits_m - largest_P.take(places_m))
            normalizers_P = largest_P + np.log(np.add.reduceat(parts_m, starts_P))
            check_finite(torch.from_numpy(normalizers_P))
        # Two products give the two, and rounding must not make a probability larger than 1.
        return np.minimum(logits_m - normalizers_P.take(places_m), 0)

    def read_on(self, running: _Prefixes, depth: int) -> _Prefixes:
        """Have the model read the segments that prefixes have just entered; of the rest all is known."""
        (batch, beams), segments = running.scores_BK.shape, self._segments
        inside_R = segments.lengths_G.take(running.segments_BK).ravel()
        whole_R = segments.codes_G.take(running.segments_BK).ravel() >= 0
        # After a code nothing is asked, and under ``allowed`` nothing once it is certain.
        unread_R = whole_R * (inside_R if self._normalize == "allowed" else 1)
        lengths_R = np.where(running.places_BK.ravel() == 0, inside_R - unread_R, 0)
        prefixes_n, places_n = np.arange(batch * beams).repeat(lengths_R), counted(lengths_R)
        if not len(prefixes_n):
            return running
        nodes_n = segments.starts_G.take(running.segments_BK).take(prefixes_n) + places_n

        # Queries read different numbers of tokens: each row holds its own, one after another, and padding behind them.
        real_BQ = _first(lengths_R.reshape(batch, beams).sum(1))
        tokens_BQ, places_BQ, prefixes_BQ = np.zeros((3, *real_BQ.shape), np.int64)
        tokens_BQ[real_BQ], places_BQ[real_BQ] = segments.tokens_S.take(nodes_n), places_n
        # Padding sees what the first prefix sees, and padding: with nothing to see, its attention would be no number.
        prefixes_BQ[real_BQ] = prefixes_n
        owners_BQ = np.where(real_BQ, prefixes_BQ, NOWHERE)
        same_BQQ = owners_BQ[:, :, None] == owners_BQ[:, None]
        same_BQQ &= places_BQ[:, :, None] >= places_BQ[:, None]
        before_BQS = _of_prefixes(running.seen_BKS, prefixes_BQ)
        seen_BQS = np.concatenate([before_BQS, same_BQQ], axis=2)
        states_BQD = self._rows.read(tokens_BQ, depth - 1 + places_BQ, seen_BQS)

        states_nD = states_BQD.flatten(0, 1)
        if len(states_nD) > len(prefixes_n):
            states_nD = states_nD.index_select(0, _on(np.flatnonzero(real_BQ), states_nD))
        numbers_R = self._said.count + lengths_R.cumsum() - lengths_R
        self._add(states_nD, nodes_n, places_n + 1 < inside_R.take(prefixes_n))
        numbers_BK = np.where(lengths_R > 0, numbers_R, running.numbers_BK.ravel()).reshape(batch, beams)
        own_BKQ = owners_BQ[:, None] == np.arange(batch * beams).reshape(batch, beams, 1)
        return replace(running, numbers_BK=numbers_BK, seen_BKS=np.concatenate([running.seen_BKS, own_BKQ], axis=2))

    def _add(self, states_nD: Tensor, nodes_n: Array, goes_on_n: Array) -> None:
        """Keep what the model says after some nodes; some of them go on in their segment."""
        normalizers_n, only_n = np.zeros((2, len(nodes_n)), np.float32)
        if self._normalize == "vocab":
            normalizers_n = self._head.normalizers(states_nD).cpu().numpy()
        choice_n = ~goes_on_n
        if not choice_n.all():
            if self._normalize == "vocab":
                alone_m = np.flatnonzero(goes_on_n)
                tokens_m = self._segments.tokens_S.take(nodes_n.take(alone_m) + 1)
                states_mD = states_nD.index_select(0, _on(alone_m, states_nD))
                logits_m = self._head.own_logits(states_mD, _on(tokens_m, states_mD)).cpu().numpy()
                only_n[alone_m] = np.minimum(logits_m - normalizers_n.take(alone_m), 0)
            states_nD = states_nD.index_select(0, _on(np.flatnonzero(choice_n), states_nD))
        self._said.add(states_nD, choice_n, normalizers_n, only_n)


def _choose(candidates: _Candidates, width: int) -> _Chosen:
    """The K best candidates, or all when there are fewer."""
    scores_BK, at_BK = _best(candidates.scores_BC, width)
    there_BK = scores_BK > -np.inf
    at_BK = np.where(there_BK, candidates.offsets_B1 + at_BK, 0)
    return _Chosen(
        scores_BK=np.minimum(scores_BK - candidates.normalizers_B1, 0),
        segments_BK=np.where(there_BK, candidates.segments_n.take(at_BK), NOWHERE),
        places_BK=candidates.places_n.take(at_BK),
        codes_BK=np.where(there_BK, candidates.codes_n.take(at_BK), NO_CODE),
        prefixes_BK=candidates.prefixes_n.take(at_BK),
    )


def _unfinished(candidates: _Candidates) -> _Candidates:
    """The candidates that are no whole codes; the others become padding."""
    at_BC = candidates.offsets_B1 + np.arange(candidates.scores_BC.shape[1])
    whole_BC = _on(candidates.codes_n.take(at_BC, mode="clip") != NO_CODE, candidates.scores_BC)
    return replace(candidates, scores_BC=candidates.scores_BC.masked_fill(whole_BC, -torch.inf))


def _merged(codes_BK: Array, scores_BK: Array, best: _Chosen) -> tuple[Array, Array]:
    """The K best of the results so far and of the whole codes among the best candidates."""
    new_BK = np.where(best.codes_BK == NO_CODE, np.float32(-np.inf), best.scores_BK)
    ranked = _ranked(np.concatenate([codes_BK, best.codes_BK], axis=1), np.concatenate([scores_BK, new_BK], axis=1))
    codes_BK, scores_BK = (each[:, : codes_BK.shape[1]] for each in ranked)
    return codes_BK, scores_BK


def _followed(running: _Prefixes, best: _Chosen) -> _Prefixes:
    """The prefixes that run on, each a token further than the one it extends."""
    return _Prefixes(
        scores_BK=best.scores_BK,
        segments_BK=best.segments_BK,
        places_BK=best.places_BK,
        numbers_BK=running.numbers_BK.take(best.prefixes_BK) + 1,
        seen_BKS=_of_prefixes(running.seen_BKS, best.prefixes_BK),
    )


def _hopeful(running: _Prefixes, worst_B1: Array) -> _Prefixes:
    """The prefixes that can still enter the K best results; of the others nothing needs to be read."""
    # Log p is never positive, so a prefix only loses. At equal scores it may still enter by its code's position.
    gone_BK = running.scores_BK < worst_B1
    return replace(
        running,
        scores_BK=np.where(gone_BK, np.float32(-np.inf), running.scores_BK),
        segments_BK=np.where(gone_BK, NOWHERE, running.segments_BK),
    )


def _codes(segments: Segments, segments_n: Array, places_n: Array) -> Array:
    """The codes that end at nodes."""
    return np.where(places_n + 1 == segments.lengths_G.take(segments_n), segments.codes_G.take(segments_n), NO_CODE)


def _distinct(tokens_m: Array) -> tuple[Array, Array]:
    """The distinct tokens ``[A]``, ascending, and the place of each given one among them; ``unique`` would sort."""
    there_V = np.zeros(int(tokens_m.max()) + 1, bool)
    there_V[tokens_m] = True
    distinct_A = np.flatnonzero(there_V)
    places_V = np.empty(len(there_V), np.int64)
    places_V[distinct_A] = np.arange(len(distinct_A))
    return distinct_A, places_V.take(tokens_m)


def _first(counts_B: Array) -> Array:
    """``[B, Q]`` bool: true in the first places of each row, so many; Q is the largest count."""
    return np.arange(counts_B.max()) < counts_B[:, None]


def _of_prefixes(values_BKS: Array, prefixes: Array) -> Array:
    """What belongs to these prefixes of all ``R``: ``[*, S]``."""
    batch, beams, size = values_BKS.shape
    return values_BKS.reshape(batch * beams, size).take(prefixes, axis=0)


def _best(scores_BC: Tensor, k: int) -> tuple[Array, Array]:
    """The k best scores, or all when there are fewer, best first, and their places; equal scores in the order of their
    places."""
    # ``topk`` promises no order among equals, and a stable sort of all candidates costs many times more.
    width = scores_BC.shape[1]
    values, places = (part.cpu().numpy() for part in scores_BC.topk(min(k + 1, width)))
    tied_B = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -np.inf)).any(1)
    if tied_B.any():
        rows = np.flatnonzero(tied_B)
        sorted_rows = scores_BC[_on(rows, scores_BC)].sort(dim=1, descending=True, stable=True)
        places[rows] = sorted_rows.indices[:, : places.shape[1]].cpu().numpy()
    return values[:, :k], places[:, :k]


def _ranked(codes: Array, scores: Array) -> tuple[Array, Array]:
    """By score, equal scores by code."""
    order = np.lexsort((codes, -scores), axis=-1)
    return np.take_along_axis(codes, order, 1), np.take_along_axis(scores, order, 1)


def _on(array: Array, beside: Tensor) -> Tensor:
    """The array as a tensor on the device of another; on the CPU without a copy."""
    return torch.from_numpy(array).to(beside.device)
