"""Exact constrained decoding: the K best codes of a trie under a causal language model. Knows token ids and models of
transformers, no tools, tokenizers or text.

The score of a code is the sum of log p over its tokens, the end symbol included where the code has one. ``beam_search``
serves any code, ``rank_atomic`` codes of one token.

A query is one row of the model, whatever the number of its beams: the running prefixes are continuations of one prompt
side by side (``toolgen.attention``), so the prompt's keys and values are there once and nothing is reordered. Of the
logits only those of tokens that some beam allows are made, and the normaliser (``toolgen.head``).

Legend: ``B`` queries, ``T`` prompt tokens, ``K`` beams, ``S`` tokens seen so far, ``Q`` tokens fed at once, ``J`` nodes
of the longest chain, ``C`` candidates of a query, ``D`` width, ``n`` tokens fed, over all queries, ``N`` codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from toolgen.attention import check_side_by_side, explicit_mask
from toolgen.errors import InputError
from toolgen.head import Head, check_finite
from toolgen.trie import NOWHERE, ROOT, Edges, TokenTrie

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
    """The best codes of each query, best first; equal scores in the order of their positions.

    Attributes:
        codes_BK: int64, position of the code in the catalogue.
        scores_BK: float32, natural logarithm of the code's probability, as ``normalize`` defines it.
    """

    codes_BK: Tensor
    scores_BK: Tensor


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Every allowed extension of the running prefixes of a query, by prefix, then by token; padding scores -inf."""

    scores_BC: Tensor
    nodes_BC: Tensor
    codes_BC: Tensor
    """-1 where the extension is no whole code yet."""
    prefixes_BC: Tensor
    """Place of the prefix that is extended, ``0 .. K - 1``."""


@dataclass(frozen=True, eq=False)
class _Prefixes:
    """The running prefixes of each query, best first, and what the model says of them.

    Where a node has one child, what follows is known before anything is scored. So the model reads such a chain in one
    forward, down to the node where there is a choice again; the search still takes it one token at a time.
    """

    scores_BK: Tensor
    """-inf in places that hold no prefix."""
    nodes_BK: Tensor
    """``NOWHERE`` in places that hold no prefix."""
    chains_BKJ: Tensor
    """Log p of the only child of each node of the chain that the prefix is on."""
    places_BK: Tensor
    """Where on its chain the prefix is."""
    read_BK: Tensor
    """Nodes of the chain that the model has read."""
    states_BKD: Tensor
    """The model's state after the chain's last node."""
    normalizers_BK: Tensor
    """Of the logits of this state; zeros under ``allowed``."""
    seen_BKS: Tensor
    """Which of the row's tokens stand before the chain's end: prompt, ancestors, the chain itself."""


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
            attention_mask=self.mask_BT.long(),
            position_ids=positions(self.mask_BT),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )

    def read(self, tokens_BQ: Tensor, depths_BQ: Tensor, seen_BQS: Tensor) -> Tensor:
        """Read tokens behind the prompts; states ``[B, Q, D]``.

        Args:
            tokens_BQ: The tokens.
            depths_BQ: Tokens of the code before each.
            seen_BQS: What each sees of the row, these tokens included.
        """
        return self._head.states(
            input_ids=tokens_BQ,
            attention_mask=explicit_mask(self._model, seen_BQS),
            position_ids=self._lengths_B[:, None] + depths_BQ,
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
    trie = trie.to(model.device)
    rows = _Rows(model, head, input_ids_BT.to(model.device), attention_mask_BT.to(model.device).bool())

    depth = 0
    running = _roots(head, rows, normalize)
    shape = len(rows.mask_BT), beams
    found = BeamResult(
        torch.full(shape, NO_CODE, device=model.device), torch.full(shape, -torch.inf, device=model.device)
    )
    while True:
        candidates = (_extend if depth else _begin)(trie, head, running, normalize)
        depth += 1
        if depth >= trie.shortest:
            found = _collect(found, candidates)
            candidates = _unfinished(candidates)
        if depth == trie.depth:
            break
        running = _prune(running, candidates, beams)
        running = _hopeful(running, found)
        if not (running.nodes_BK != NOWHERE).any():
            break
        running = _read_on(trie, head, rows, running, depth, normalize)
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
    trie = trie.to(model.device)
    states_BD = last_states(head, input_ids_BT.to(model.device), attention_mask_BT.to(model.device))
    logits_BN = head.logits(states_BD, trie.first_tokens)
    if normalize == "vocab":
        normalizers_B = head.normalizers(states_BD)
    else:
        check_finite(normalizers_B := logits_BN.logsumexp(-1))
    best_BK = _best(logits_BN, k)
    check_finite(scores_BK := logits_BN.gather(1, best_BK) - normalizers_B[:, None])
    return _ranked(trie.codes_S.take(best_BK + 1).long(), scores_BK)


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts as a batch: token ids and mask, both ``[B, T]`` int64, padded on the left to the longest."""
    longest = max(map(len, prompts))
    missing = [longest - len(prompt) for prompt in prompts]
    input_ids_BT = torch.tensor([[pad_id] * pad + list(prompt) for pad, prompt in zip(missing, prompts, strict=True)])
    mask_BT = torch.arange(longest) >= torch.tensor(missing)[:, None]
    return input_ids_BT, mask_BT.long()


def last_states(head: Head, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """One forward of the prompts without a cache: the states ``[B, D]`` of their last tokens."""
    states_BTD = head.states(
        input_ids=input_ids_BT,
        attention_mask=mask_BT.long(),
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
    if code_length > 1:
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


def _roots(head: Head, rows: _Rows, normalize: Normalize) -> _Prefixes:
    """One empty prefix for each query: a chain of one node, the root, whose token the prompt stands for."""
    states_BKD = rows.prefill()
    nodes_BK = torch.full(states_BKD.shape[:2], ROOT, device=states_BKD.device)
    zeros_BK = torch.zeros(nodes_BK.shape, device=nodes_BK.device)
    return _Prefixes(
        scores_BK=zeros_BK,
        nodes_BK=nodes_BK,
        chains_BKJ=zeros_BK[..., None],
        places_BK=torch.zeros_like(nodes_BK),
        read_BK=torch.ones_like(nodes_BK),
        states_BKD=states_BKD,
        normalizers_BK=head.normalizers(states_BKD[:, 0])[:, None] if normalize == "vocab" else zeros_BK,
        seen_BKS=rows.mask_BT[:, None],
    )


def _begin(trie: TokenTrie, head: Head, running: _Prefixes, normalize: Normalize) -> _Candidates:
    """Score the first tokens, which are the same for all queries: the root's children, nodes 1 to C."""
    count = trie.first_count
    logits_BC = head.logits(running.states_BKD[:, 0], trie.first_tokens)
    normalizers_B1 = running.normalizers_BK if normalize == "vocab" else logits_BC.logsumexp(-1, keepdim=True)
    nodes_C = torch.arange(1, count + 1, device=logits_BC.device)
    return _Candidates(
        # Two products give the two, and rounding must not make a probability larger than 1.
        scores_BC=(logits_BC - normalizers_B1).clamp(max=0),
        nodes_BC=nodes_C.expand_as(logits_BC),
        codes_BC=trie.codes_S[1 : count + 1].long().expand_as(logits_BC),
        prefixes_BC=torch.zeros_like(nodes_C).expand_as(logits_BC),
    )


def _judged(
    trie: TokenTrie, head: Head, states_nD: Tensor, nodes_n: Tensor, normalize: Normalize
) -> tuple[Tensor, Tensor]:
    """Normalisers ``[n]`` of the states after some nodes, and log p ``[n]`` of the nodes' only children."""
    if normalize == "allowed":
        # A token without an alternative is certain.
        certain_n = torch.zeros(len(nodes_n), device=nodes_n.device)
        return certain_n, certain_n
    normalizers_n = head.normalizers(states_nD)
    logits_n = head.own_logits(states_nD, trie.tokens_S.take(trie.first_child(nodes_n)).long())
    return normalizers_n, (logits_n - normalizers_n).clamp(max=0)


def _extend(trie: TokenTrie, head: Head, running: _Prefixes, normalize: Normalize) -> _Candidates:
    """Score every allowed extension of the running prefixes."""
    edges = trie.edges(running.nodes_BK)
    at_BC = edges.parents
    sure_BK = running.chains_BKJ.gather(2, running.places_BK[..., None])[..., 0]
    scores_BC = sure_BK.gather(1, at_BC)
    if (choice_BC := edges.real & ~edges.alone).any():
        scores_BC = torch.where(edges.alone, scores_BC, _choices(head, running, edges, choice_BC, normalize))
    return _Candidates(
        scores_BC=(running.scores_BK.gather(1, at_BC) + scores_BC).masked_fill(~edges.real, -torch.inf),
        nodes_BC=edges.nodes,
        codes_BC=trie.codes_S.take(edges.nodes).long(),
        prefixes_BC=at_BC,
    )


def _choices(head: Head, running: _Prefixes, edges: Edges, choice_BC: Tensor, normalize: Normalize) -> Tensor:
    """Log p ``[B, C]`` of the edges out of nodes with a choice; anything elsewhere."""
    # Beams allow much the same tokens: one product with all of them costs less than to copy the rows of each beam's.
    tokens_A, letters_BC = _distinct(edges.tokens.masked_fill(~choice_BC, 0))
    logits_BL = head.logits(running.states_BKD.flatten(0, 1), tokens_A).view(len(running.nodes_BK), -1)
    logits_BC = logits_BL.gather(1, edges.parents * len(tokens_A) + letters_BC)
    if normalize == "vocab":
        return (logits_BC - running.normalizers_BK.gather(1, edges.parents)).clamp(max=0)
    logits_BC = logits_BC.masked_fill(~edges.real, -torch.inf)
    none_BK = torch.full_like(running.scores_BK, -torch.inf)
    largest_BK = none_BK.scatter_reduce(1, edges.parents, logits_BC, "amax").clamp(min=torch.finfo().min)
    parts_BC = (logits_BC - largest_BK.gather(1, edges.parents)).exp()
    sums_BK = torch.zeros_like(none_BK).scatter_add(1, edges.parents, parts_BC)
    normalizers_BK = largest_BK + sums_BK.clamp(min=1).log()
    check_finite(normalizers_BK)
    return logits_BC - normalizers_BK.gather(1, edges.parents)


def _distinct(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct tokens ``[A]``, ascending, and the place of each given one among them; ``unique`` would sort."""
    there_V = torch.zeros(int(tokens.max()) + 1, dtype=torch.bool, device=tokens.device)
    there_V.index_fill_(0, tokens.flatten(), True)
    distinct_A = there_V.nonzero()[:, 0]
    places_V = torch.empty(len(there_V), dtype=torch.int64, device=tokens.device)
    places_V.index_copy_(0, distinct_A, torch.arange(len(distinct_A), device=tokens.device))
    return distinct_A, places_V.take(tokens)


def _collect(found: BeamResult, candidates: _Candidates) -> BeamResult:
    """Merge the whole codes among the K best candidates into the K best results."""
    width = found.codes_BK.shape[1]
    best_BK = _best(candidates.scores_BC, min(width, candidates.scores_BC.shape[1]))
    new_codes_BK = candidates.codes_BC.gather(1, best_BK)
    new_scores_BK = candidates.scores_BC.gather(1, best_BK).masked_fill(new_codes_BK == NO_CODE, -torch.inf)
    codes = torch.cat([found.codes_BK, new_codes_BK], dim=1)
    scores = torch.cat([found.scores_BK, new_scores_BK], dim=1)
    best = _ranked(codes, scores)
    return BeamResult(best.codes_BK[:, :width], best.scores_BK[:, :width])


def _ranked(codes: Tensor, scores: Tensor) -> BeamResult:
    """By score, equal scores by code: two stable sorts."""
    by_code = codes.argsort(dim=1, stable=True)
    codes, scores = codes.gather(1, by_code), scores.gather(1, by_code)
    by_score = scores.argsort(dim=1, descending=True, stable=True)
    return BeamResult(codes.gather(1, by_score), scores.gather(1, by_score))


def _unfinished(candidates: _Candidates) -> _Candidates:
    """The candidates that are no whole codes; the others become padding."""
    return replace(candidates, scores_BC=candidates.scores_BC.masked_fill(candidates.codes_BC != NO_CODE, -torch.inf))


def _prune(running: _Prefixes, candidates: _Candidates, width: int) -> _Prefixes:
    """The K best candidates, each with what the model said of the prefix it extends."""
    best_BK = _best(candidates.scores_BC, min(width, candidates.scores_BC.shape[1]))
    scores_BK = candidates.scores_BC.gather(1, best_BK)
    first_B1 = running.nodes_BK.shape[1] * torch.arange(len(best_BK), device=best_BK.device)[:, None]
    parents_R = (first_B1 + candidates.prefixes_BC.gather(1, best_BK)).flatten()

    def inherited(values: Tensor) -> Tensor:
        return values.flatten(0, 1).index_select(0, parents_R).view(*best_BK.shape, *values.shape[2:])

    return _Prefixes(
        scores_BK=scores_BK,
        nodes_BK=candidates.nodes_BC.gather(1, best_BK).masked_fill(scores_BK == -torch.inf, NOWHERE),
        chains_BKJ=inherited(running.chains_BKJ),
        places_BK=inherited(running.places_BK) + 1,
        read_BK=inherited(running.read_BK),
        states_BKD=inherited(running.states_BKD),
        normalizers_BK=inherited(running.normalizers_BK),
        seen_BKS=inherited(running.seen_BKS),
    )


def _hopeful(running: _Prefixes, found: BeamResult) -> _Prefixes:
    """The prefixes that can still enter the K best results; of the others nothing needs to be read."""
    # Log p is never positive, so a prefix only loses. At equal scores it may still enter by its code's position.
    gone_BK = running.scores_BK < found.scores_BK[:, -1:]
    return replace(
        running,
        scores_BK=running.scores_BK.masked_fill(gone_BK, -torch.inf),
        nodes_BK=running.nodes_BK.masked_fill(gone_BK, NOWHERE),
    )


def _read_on(
    trie: TokenTrie, head: Head, rows: _Rows, running: _Prefixes, depth: int, normalize: Normalize
) -> _Prefixes:
    """Have the model read the chains that begin where prefixes have just made a choice; of the rest all is known."""
    batch, beams, seen = running.seen_BKS.shape
    passed_BK = running.places_BK == running.read_BK
    nodes_BKJ = trie.chains(running.nodes_BK.masked_fill(~passed_BK, NOWHERE))
    lengths_BK = (nodes_BKJ != NOWHERE).sum(-1)
    needed_BK = begins_BK = lengths_BK > 0
    if normalize == "allowed":
        # Nothing is left to be said below a chain that ends in a whole code.
        ends_BK = nodes_BKJ.gather(2, (lengths_BK - 1).clamp(min=0)[..., None])[..., 0]
        needed_BK = begins_BK & (trie.degrees(ends_BK) > 1)
    longest = nodes_BKJ.shape[2]
    kept_BKJ = F.pad(running.chains_BKJ, (0, max(0, longest - running.chains_BKJ.shape[2])))
    running = replace(
        running,
        chains_BKJ=kept_BKJ.masked_fill(begins_BK[..., None], 0),
        places_BK=running.places_BK.masked_fill(passed_BK, 0),
        read_BK=torch.where(begins_BK, lengths_BK, running.read_BK),
    )

    # Queries read different numbers of nodes: each row holds its own, one after another, and padding behind them.
    wanted_BL = ((nodes_BKJ != NOWHERE) & needed_BK[..., None]).flatten(1)
    count = int(wanted_BL.sum(-1).max())
    if not count:
        return running
    packed_BQ = wanted_BL.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
    real_BQ = wanted_BL.gather(1, packed_BQ)
    nodes_BQ = nodes_BKJ.flatten(1).gather(1, packed_BQ).masked_fill(~real_BQ, ROOT)
    beams_BQ, places_BQ = packed_BQ // longest, packed_BQ % longest
    same_BQQ = (beams_BQ[:, :, None] == beams_BQ[:, None]) & (places_BQ[:, :, None] >= places_BQ[:, None])
    firsts_B1 = beams * torch.arange(batch, device=beams_BQ.device)[:, None]
    before_BQS = (
        running.seen_BKS.flatten(0, 1).index_select(0, (firsts_B1 + beams_BQ).flatten()).view(batch, count, seen)
    )
    states_BQD = rows.read(
        trie.tokens_S.take(nodes_BQ).long().clamp(min=0),
        depth - 1 + places_BQ,
        # Padding is on the chain of some beam too, so nothing is without a token to see.
        torch.cat([before_BQS, same_BQQ], dim=2),
    )

    read_n = real_BQ.flatten().nonzero()[:, 0]
    beams_n = (read_n // count) * beams + beams_BQ.take(read_n)
    places_n, states_nD = places_BQ.take(read_n), states_BQD.flatten(0, 1).index_select(0, read_n)
    normalizers_n, chain_n = _judged(trie, head, states_nD, nodes_BQ.take(read_n), normalize)
    ends_n = (places_n + 1 == lengths_BK.take(beams_n)).nonzero()[:, 0]
    at_ends = beams_n[ends_n]
    own_BKQ = (beams_BQ[:, None] == torch.arange(beams, device=beams_BQ.device)[:, None]) & real_BQ[:, None]
    running.chains_BKJ.view(-1).index_copy_(0, beams_n * running.chains_BKJ.shape[2] + places_n, chain_n)
    running.states_BKD.flatten(0, 1).index_copy_(0, at_ends, states_nD[ends_n])
    running.normalizers_BK.view(-1).index_copy_(0, at_ends, normalizers_n[ends_n])
    return replace(running, seen_BKS=torch.cat([running.seen_BKS, own_BKQ], dim=2))


def _best(scores_BC: Tensor, k: int) -> Tensor:
    """Places ``[B, k]`` of the k best, best first, equal scores in the order of their places.

    ``topk`` promises no order among equals, and a stable sort of all candidates costs many times more.
    """
    values_Bk1, places_Bk1 = scores_BC.topk(min(k + 1, scores_BC.shape[1]))
    tied_B = (values_Bk1[:, k - 1] == values_Bk1[:, -1]) & (values_Bk1[:, -1] > -torch.inf)
    places_Bk = places_Bk1[:, :k].sort(dim=1).values
    if k < scores_BC.shape[1] and tied_B.any():
        # Equals on both sides of the border: which ones are in is up to their places too.
        threshold_B1 = values_Bk1[:, k - 1, None]
        above_BC, equal_BC = scores_BC > threshold_B1, scores_BC == threshold_B1
        room_B1 = k - above_BC.sum(-1, keepdim=True)
        chosen_BC = above_BC | (equal_BC & (equal_BC.cumsum(-1) <= room_B1))
        places_Bk = chosen_BC.nonzero()[:, 1].view(-1, k)
    order_Bk = scores_BC.gather(1, places_Bk).argsort(dim=1, descending=True, stable=True)
    return places_Bk.gather(1, order_Bk)
