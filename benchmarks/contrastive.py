"""What a bi-encoder learns from: examples, batches and the ranking loss. Knows records and encoders; no trainer.

An example is a query with the documents of its gold tools. In a batch every query is set against the documents of all
queries: each of its own must beat the others, by itself, as if it were an example of its own; and no document that
answers the query, by this example or by another with the same text, is among the others. So gold tools of one query
are no negatives of each other, nor are tools with equal documents. With one gold tool a query, and none in common, this
is sentence-transformers' ``MultipleNegativesRankingLoss``.

Legend: B queries, U distinct documents of a batch, D width.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor

from toolgen.records import Record
from toolgen.tools import ToolCatalog

RIVAL, WANTED, LEFT_OUT = 0, 1, -1
"""What a document of the batch is to a query: to be ranked low, to be ranked high, not looked at."""

_LIKE_LENGTHS = 16
"""Texts of about one length that a CPU embeds together."""


@dataclass(frozen=True, slots=True)
class Example:
    """A query and the distinct documents of its gold tools, at least one."""

    query: str
    documents: tuple[str, ...]


def examples_of(records: Iterable[Record], catalog: ToolCatalog) -> list[Example]:
    """One example a record, whichever way its answers name their tools."""
    return [
        Example(
            record.text,
            tuple(dict.fromkeys(catalog[tool].document() for answer in record.answers for tool in answer)),
        )
        for record in records
    ]


def right_documents(examples: Iterable[Example]) -> dict[str, frozenset[str]]:
    """Query -> all documents that answer it, by any example with this text."""
    right: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        right[example.query].update(example.documents)
    return {query: frozenset(documents) for query, documents in right.items()}


class PairCollator:
    """Rows of the data set -> a batch: token ids of its queries and of its distinct documents, and what these are to
    each query."""

    def __init__(
        self,
        encoder: SentenceTransformer,
        examples: Sequence[Example],
        negatives: Mapping[str, Sequence[str]],
        per_query: int,
        seed: int,
    ) -> None:
        """
        Args:
            encoder: Its tokenizer, prompts and longest text.
            examples: By the numbers that are the data set's rows.
            negatives: Query -> documents to draw from; not read where none is drawn.
            per_query: Documents drawn for each query; all where there are fewer.
            seed: Of the draw. The same rows get the same negatives, whenever a run reaches them.
        """
        self._encoder = encoder
        self._examples = examples
        self._right = right_documents(examples)
        self._negatives = negatives
        self._per_query = per_query
        self._seed = seed
        # As encode_query and encode_document choose them.
        prompts = encoder.prompts
        self._query_prompt = prompts.get("query")
        self._document_prompt = next(
            (prompts[key] for key in ("document", "passage", "corpus") if key in prompts), None
        )

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """
        Args:
            rows: Of the data set, at least one.

        Returns:
            What the encoder reads, under ``query_`` and ``document_``, and ``label`` ``[B, U]``: ``RIVAL``, ``WANTED``
            or ``LEFT_OUT``.
        """
        numbers = [row["example"] for row in rows]
        batch = [self._examples[number] for number in numbers]
        own = [document for example in batch for document in example.documents]
        documents = list(dict.fromkeys([*own, *self._drawn(numbers, batch)]))
        place = {document: number for number, document in enumerate(documents)}
        labels_BU = torch.full((len(batch), len(documents)), RIVAL)
        for row, example in enumerate(batch):
            for document in self._right[example.query] & place.keys():
                labels_BU[row, place[document]] = LEFT_OUT
            for document in example.documents:
                labels_BU[row, place[document]] = WANTED
        queries = [example.query for example in batch]
        read = self._encoder.preprocess
        return {
            **{f"query_{key}": value for key, value in read(queries, self._query_prompt, task="query").items()},
            **{
                f"document_{key}": value
                for key, value in read(documents, self._document_prompt, task="document").items()
            },
            "label": labels_BU,
        }

    def _drawn(self, numbers: Sequence[int], batch: Sequence[Example]) -> list[str]:
        if not self._per_query:
            return []
        rng = random.Random(f"{self._seed}:{numbers}")
        pools = (self._negatives[example.query] for example in batch)
        return [document for pool in pools for document in rng.sample(pool, min(self._per_query, len(pool)))]


def ranking_loss(queries_BD: Tensor, documents_UD: Tensor, labels_BU: Tensor, scale: float) -> Tensor:
    """Cross-entropy in nats of every wanted document against the query's rivals, over cosines times ``scale``: the mean
    over all wanted documents, in fp32."""
    with torch.autocast(queries_BD.device.type, enabled=False):
        cosines_BU = F.normalize(queries_BD.float(), dim=1) @ F.normalize(documents_UD.float(), dim=1).T
        scores_BU = scale * cosines_BU
        rivals_B1 = scores_BU.masked_fill(labels_BU != RIVAL, -torch.inf).logsumexp(1, keepdim=True)
        losses_BU = torch.logaddexp(scores_BU, rivals_B1) - scores_BU
        return losses_BU[labels_BU == WANTED].mean()


def embed_by_length(model: SentenceTransformer, features: Mapping[str, Any]) -> Tensor:
    """Embeddings ``[B, D]`` of padded texts, in the order given.

    On a CPU texts of like length go through the model together, each group without the padding that only longer ones
    need: of a catalogue's documents, a batch is more than half padding.
    """
    mask = features.get("attention_mask")
    if mask is None or mask.device.type != "cpu":
        # Static embeddings have no mask and no padding.
        whole: Tensor = model(dict(features))["sentence_embedding"]
        return whole
    real_BT = mask.bool()
    order_B = real_BT.sum(1).argsort(stable=True)
    parts = []
    for rows in order_B.split(_LIKE_LENGTHS):
        needed_T = real_BT[rows].any(0)
        part = {
            key: value[rows][:, needed_T] if torch.is_tensor(value) and value.shape == real_BT.shape else value
            for key, value in features.items()
        }
        parts.append(model(part)["sentence_embedding"])
    return torch.cat(parts)[order_B.argsort()]


class RankingLoss(CachedLossMixin, torch.nn.Module):
    """``ranking_loss`` of a batch of ``PairCollator``, as sentence-transformers' trainer calls it."""

    def __init__(self, model: SentenceTransformer, scale: float, micro: int | None = None) -> None:
        """
        Args:
            model: The encoder.
            scale: Of the cosines.
            micro: Texts embedded at once. The gradients of all embeddings are kept and the texts embedded again
                (Gao et al., arXiv 2101.06983): the same loss in less memory, a third slower. None: all at once.
        """
        super().__init__()
        self.model = model
        self.scale = scale
        self.micro = micro
        self.mini_batch_size = micro or 1

    def forward(self, features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """
        Args:
            features: What the encoder reads, of the queries and of the documents.
            labels: ``[B, U]``.
        """
        if self.micro is not None:
            cached: Tensor = self.forward_cached(features, labels)
            return cached
        queries_BD, documents_UD = (embed_by_length(self.model, each) for each in features)
        return ranking_loss(queries_BD, documents_UD, labels, self.scale)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss of embeddings that were made in parts."""
        assert labels is not None
        queries_BD, documents_UD = map(torch.cat, reps)
        loss = ranking_loss(queries_BD, documents_UD, labels, self.scale)
        if not with_backward:
            return loss
        loss.backward()
        return loss.detach()
