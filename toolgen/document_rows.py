"""Rows that follow their documents while a model learns from queries: what is learned of one document serves all.

Free rows know what their tool's queries taught them, and the row of a tool without labelled queries learns nothing.
Here a tool's row is the state with which the model answers the tool's own document, plus an offset of its own. In every
step those rows are made anew, with gradient, that the loss pulls at most: right answers that are ranked too low and
their strongest rivals. The softmax is over the whole catalogue all the same; the other rows are what they were when
they were made last (hard negatives of the model itself, as in ANCE, arXiv 2007.00808, without an index beside the
model). A model that is searched or saved has all rows made anew. A finished model holds its rows and nothing else of
this.

Knows models, prompts and codes; no queries, no trainer.

Legend: ``N`` tools, ``n`` labels, ``R`` rows made anew in a step, ``V`` vocabulary, ``D`` width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.beam import last_states, left_padded
from toolgen.checkpoint import Artefacts
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.order import batches_of_like_length
from toolgen.rivals import Rivals
from toolgen.terminal import progress_bar
from toolgen.vocabulary import output_weight

STATE = "document_rows.safetensors"
"""File of a checkpoint to go on from: the documents' part of every row as it was made last, and the rows' norm."""

_TOKENS_A_BATCH = 4096
_LIKE_LENGTHS = 16
"""Documents of about one length that are read together in a step."""


class DocumentRowsConfig(Section):
    """How rows follow their documents."""

    renewed: int = Field(
        32, ge=1, description="Rows made anew in each step (each micro-batch of it), those that the loss pulls at most."
    )
    max_tokens: int = Field(64, ge=4, description="Tokens of a document's prompt; a longer document loses its end.")
    offsets: bool = Field(
        True,
        description="Rows also learn what their documents do not say. False: what they began with beside their "
        "documents stays as it is.",
    )


class DocumentRows:
    """The rows of a model in training as its documents' states plus offsets.

    The output matrix holds their sum, so that search and loss know nothing of the parts. Its gradient is the offset's.
    """

    def __init__(self, model: PreTrainedModel, artefacts: Artefacts, config: DocumentRowsConfig) -> None:
        """
        Args:
            model: In training; all its weights train.
            artefacts: Its tools, codes and prompts.
            config: See there.

        Raises:
            InputError: A tool's code is not one new token of its own.
        """
        codes, first_id = artefacts.codes, artefacts.codes.first_new_id
        if first_id is None or any(len(code) != 1 or code[0] < first_id for code in codes.sequences):
            raise InputError(
                "document_rows needs codes of one new token a tool, whose row is the document's. Index with "
                "`toolgen index --scheme atomic`, or leave document_rows out."
            )
        self._model = model
        self._renewed = min(config.renewed, len(codes.sequences))
        documents = [artefacts.catalog[tool].document() for tool in codes.tool_ids]
        self._prompts = artefacts.renderer.render(documents, config.max_tokens)
        self._pad_id = artefacts.pad_id
        weight = output_weight(model)
        self._tokens_N = torch.tensor([code[0] for code in codes.sequences], device=weight.device)
        self._norm = float(torch.linalg.vector_norm(weight.detach()[self._tokens_N], dim=1, dtype=torch.float32).mean())
        self._made_ND: Tensor | None = None
        self._fresh: tuple[int, Tensor] | None = None
        if not config.offsets:
            # A bias of its own would be an offset too.
            for own in (weight, getattr(model.get_output_embeddings(), "bias", None)):
                if own is not None:
                    own.register_hook(lambda gradient: gradient.index_fill(0, self._tokens_N, 0.0))

    def logits(self, states_nD: Tensor, labels_n: Tensor, rivals: Rivals | None = None) -> Tensor:
        """Logits ``[n, V]`` of a step, after the rows that its loss pulls at most were made anew.

        Args:
            states_nD: What predicts the labels.
            labels_n: Token ids.
            rivals: Which tokens compete with a label; None: all.
        """
        made_ND = self._made()
        chosen_R = self._pulled(states_nD.detach(), labels_n, rivals)
        rows_RD = self._read(chosen_R.tolist())
        tokens_R = self._tokens_N[chosen_R]
        with torch.no_grad():
            output_weight(self._model)[tokens_R] += rows_RD - made_ND[chosen_R]
            made_ND[chosen_R] = rows_RD
        logits_nV: Tensor = self._model.get_output_embeddings()(states_nD)
        # Zeros, whose gradient is the documents'.
        beside_nR = states_nD @ (rows_RD - rows_RD.detach()).T.to(states_nD.dtype)
        logits_nV = logits_nV.index_add(1, tokens_R, beside_nR.to(logits_nV.dtype))
        return logits_nV if rivals is None else rivals.logits(logits_nV, labels_n)

    @contextmanager
    def up_to_date(self, step: int) -> Iterator[None]:
        """Inside, every row of the model is as its documents make it now; training goes on with what was there before.

        Args:
            step: Steps made so far: within one, documents are read only once.
        """
        if self._made_ND is None:
            # Before the first step the rows are what they would be made now.
            self._fresh = step, self._made().clone()
        stale_ND = self._made()
        if self._fresh is None or self._fresh[0] != step:
            self._fresh = step, self._read_all()
        weight = output_weight(self._model)
        with torch.no_grad():
            before_ND = weight[self._tokens_N].clone()
            weight[self._tokens_N] += self._fresh[1] - stale_ND
        try:
            yield
        finally:
            with torch.no_grad():
                weight[self._tokens_N] = before_ND

    def save(self, checkpoint: Path) -> None:
        """Write what a run needs to go on exactly."""
        save_file({"made": self._made().contiguous(), "norm": torch.tensor(self._norm)}, checkpoint / STATE)

    def restore(self, checkpoint: Path) -> None:
        """Take up what ``save`` wrote."""
        state = load_file(checkpoint / STATE)
        self._made_ND, self._norm = state["made"].to(self._tokens_N.device), float(state["norm"])

    def _made(self) -> Tensor:
        """The documents' part of every row as it was made last, ``[N, D]``; at first, as the model starts."""
        if self._made_ND is None:
            self._made_ND = self._read_all()
        return self._made_ND

    @torch.no_grad()
    def _pulled(self, states_nD: Tensor, labels_n: Tensor, rivals: Rivals | None) -> Tensor:
        """Numbers of the ``R`` tools on whose rows the loss pulls at most, by the sum of |p - y| over the labels."""
        logits_nV = self._model.get_output_embeddings()(states_nD).float()
        pull_nV = (logits_nV if rivals is None else rivals.logits(logits_nV, labels_n)).softmax(-1)
        pull_nV[torch.arange(len(labels_n), device=labels_n.device), labels_n] -= 1
        return pull_nV.abs().sum(0)[self._tokens_N].topk(self._renewed).indices

    def _read(self, tools: Sequence[int]) -> Tensor:
        """Rows ``[R, D]`` out of documents, with gradient, in the order given."""
        order = sorted(range(len(tools)), key=lambda place: len(self._prompts[tools[place]]))
        parts = [order[start : start + _LIKE_LENGTHS] for start in range(0, len(order), _LIKE_LENGTHS)]
        rows_RD = torch.cat([self._states([self._prompts[tools[place]] for place in part]) for part in parts])
        return rows_RD[torch.tensor(order, device=rows_RD.device).argsort()]

    @torch.no_grad()
    def _read_all(self) -> Tensor:
        """Rows ``[N, D]`` out of all documents, as the model reads them when it is searched."""
        rows_ND = torch.empty(len(self._prompts), output_weight(self._model).shape[1], device=self._tokens_N.device)
        was_training = self._model.training
        self._model.eval()
        done = 0
        with progress_bar("Rows from documents") as progress:
            for batch in batches_of_like_length([len(prompt) for prompt in self._prompts], _TOKENS_A_BATCH):
                rows_ND[batch] = self._states([self._prompts[tool] for tool in batch])
                done += len(batch)
                progress(done, len(rows_ND))
        self._model.train(was_training)
        return rows_ND

    def _states(self, prompts: Sequence[list[int]]) -> Tensor:
        """The states with which the model answers prompts, with the rows' norm: float32 ``[B, D]``."""
        input_ids_BT, mask_BT = (each.to(self._tokens_N.device) for each in left_padded(prompts, self._pad_id))
        states_BD = last_states(self._model, input_ids_BT, mask_BT)
        return F.normalize(states_BD.float(), dim=1) * self._norm
