"""New rows as parameters of their own, beside the base's matrices, so that they train while the base's stand still.

The embedding is then a look-up in two tables and the head two products. What the optimiser keeps, it keeps for the new
rows alone, and a base row cannot change, not even by weight decay. Modules stay where they are and keep their names: a
matrix ``X.weight`` loses its new rows to ``X.rows``, and ``merged`` joins the two again for whoever knows plain
transformers only. Knows models; no tools, optimisers or files.

Legend: ``S`` new symbols, ``V`` rows of the base, ``D`` width, ``*`` any shape.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from toolgen import distributed
from toolgen.errors import InputError
from toolgen.vocabulary import is_tied

ROWS = "rows"
"""Name of the parameter that holds a module's new rows."""


class _TwoTables(nn.Embedding):
    """An embedding whose new rows are a table of their own."""

    rows: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        """Embeddings ``[*, D]`` of ids ``[*]``."""
        first = len(self.weight)
        new = input >= first
        base = F.embedding(input.masked_fill(new, 0), self.weight)
        own = F.embedding((input - first).clamp(min=0), self.rows)
        embedded = torch.where(new[..., None], own, base)
        # Some architectures (Gemma) multiply embeddings by a constant.
        return embedded * getattr(self, "embed_scale", 1)


class _TwoProducts(nn.Linear):
    """An output projection whose new rows are a matrix of their own."""

    rows: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        """Logits ``[*, V + S]`` of states ``[*, D]``."""
        first = len(self.weight)
        parts = (None, None) if self.bias is None else (self.bias[:first], self.bias[first:])
        return torch.cat([F.linear(input, self.weight, parts[0]), F.linear(input, self.rows, parts[1])], dim=-1)


def split(model: PreTrainedModel, first_id: int, *, tied: bool = True) -> None:
    """Take the rows from ``first_id`` on out of the input and output matrices, in place.

    Args:
        model: Extended, its rows written. Its weights may be partitioned.
        first_id: Id of the first new symbol.
        tied: Of a model with one matrix: whether input and output go on sharing the new rows. If not, each gets a copy,
            and the model is untied from here on.

    Raises:
        InputError: The model computes its embedding or logits in a way of its own.
    """
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    scaled = hasattr(embedding, "embed_scale")
    if (type(embedding).forward is not nn.Embedding.forward and not scaled) or not isinstance(head, nn.Linear):
        raise InputError(
            f"This {model.config.get_text_config().model_type} model has an embedding or a head of its own kind "
            f"({type(embedding).__name__}, {type(head).__name__}), whose rows cannot be taken apart. Train all of it: "
            "training.plan.train=full."
        )
    shared = is_tied(model)
    weights: list[Any] = [embedding.weight] if shared else [embedding.weight, head.weight]
    with distributed.whole(weights):
        matrices = [_apart(weight, first_id) for weight in weights]
    input_base, input_rows = matrices[0]
    output_base, output_rows = matrices[-1]
    if shared and not tied:
        output_rows = nn.Parameter(input_rows.detach().clone())
        if head.bias is not None:
            # BERT ties it to a copy elsewhere; as a part of a tied model it would not be saved.
            with distributed.whole([head.bias]):
                head.bias = nn.Parameter(head.bias.detach().clone(), requires_grad=head.bias.requires_grad)
        model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
    for module, kind, base, rows in (
        (embedding, _TwoTables, input_base, input_rows),
        (head, _TwoProducts, output_base, output_rows),
    ):
        # The class alone changes: hooks, names and whoever holds the module stay right.
        module.__class__ = type(kind.__name__, (kind, type(module)), {})
        module.weight, module.rows = base, rows


def merged(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a split model under the names and in the shapes of the plain one; a tied matrix stays one tensor.

    Args:
        model: Tells which of its matrices are split.
        weights: By name, whole.
    """
    joined: dict[tuple[int, int], Tensor] = {}  # By the modules' own parameters: given weights may be copies.
    plain = dict(weights)
    for name, module in model.named_modules():
        if not isinstance(module, _TwoTables | _TwoProducts):
            continue
        base, rows = plain[f"{name}.weight"], plain.pop(f"{name}.{ROWS}")
        key = id(module.weight), id(module.rows)
        if key not in joined:
            joined[key] = torch.cat([base, rows.to(base.dtype)])
        plain[f"{name}.weight"] = joined[key]
    return plain


def _apart(weight: Any, first_id: int) -> tuple[nn.Parameter, nn.Parameter]:
    base, rows = weight.detach()[:first_id].clone(), weight.detach()[first_id:].clone()
    return nn.Parameter(base, requires_grad=weight.requires_grad), nn.Parameter(rows)
