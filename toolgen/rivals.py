"""Which tokens an answer competes with in training. Knows codes and logits; no queries, no models.

Where only some tools have labelled queries, the softmax of such a query pushes every other tool away from whatever the
labelled ones look like, though nobody ever said that the others were wrong (the bias towards seen classes of
generalised zero-shot learning, arXiv 1605.04253; how much it matters is in docs/comparison.md). Sparing them leaves
labelled tools to compete with each other, and all others to learn from their own documents and synthetic queries.

Legend: ``n`` labels, ``V`` vocabulary.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from toolgen.codebook import TokenCodes


class Rivals:
    """Spares the tools that no labelled query wants where the answer is one that some labelled query wants."""

    def __init__(self, codes: TokenCodes, wanted: Collection[str]) -> None:
        """
        Args:
            codes: Of all tools.
            wanted: Ids of the tools that labelled queries want.
        """
        tokens: dict[bool, set[int]] = {True: set(), False: set()}
        for tool, code in zip(codes.tool_ids, codes.sequences, strict=True):
            tokens[tool in wanted].update(code)
        self._wanted = torch.tensor(sorted(tokens[True] | {codes.end_id}))
        # Codes share symbols; what a wanted tool needs competes as ever.
        self._spared = torch.tensor(sorted(tokens[False] - tokens[True] - {codes.end_id}), dtype=torch.long)
        self._spared_V = torch.empty(0, dtype=torch.bool)

    def logits(self, logits_nV: Tensor, labels_n: Tensor, first: int = 0) -> Tensor:
        """The logits ``[n, V]`` with the spared tokens out of the running for labels of wanted tools.

        Args:
            logits_nV: Of the labels' places.
            labels_n: Token ids.
            first: Token of the first column, the same in every call; tokens before it are in nobody's column.
        """
        wanted_n = torch.isin(labels_n, self._wanted.to(labels_n.device))
        if len(self._spared_V) != logits_nV.shape[1] or self._spared_V.device != logits_nV.device:
            self._spared_V = torch.zeros(logits_nV.shape[1], dtype=torch.bool, device=logits_nV.device)
            self._spared_V[(self._spared[self._spared >= first] - first).to(logits_nV.device)] = True
        return logits_nV.masked_fill(wanted_n[:, None] & self._spared_V, -torch.inf)
