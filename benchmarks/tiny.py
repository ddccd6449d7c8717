"""A tiny world, for runs of seconds: thirty tools, a query for each, and a random model with a tokenizer of its own.
Knows nothing of what it is used for."""

from collections.abc import Iterable
from pathlib import Path

from toolgen.queries import Query
from toolgen.tools import Tool, ToolCatalog

VERBS = ("create", "delete", "list", "describe", "update")
NOUNS = ("bucket", "queue", "table", "user", "role", "key")


def tiny_catalog() -> ToolCatalog:
    """Thirty tools: five verbs on six nouns."""
    return ToolCatalog(
        Tool(
            id=f"{noun}s.{verb.title()}{noun.title()}",
            name=f"{verb.title()}{noun.title()}",
            description=f"{verb.title()}s one {noun} of the account.",
            parameters={"type": "object", "properties": {f"{noun.title()}Name": {"type": "string"}}},
            group=f"{noun}s",
        )
        for noun in NOUNS
        for verb in VERBS
    )


def tiny_queries(catalog: ToolCatalog) -> list[Query]:
    """One query a tool."""
    return [
        Query(id=tool.id, text=f"to {tool.description.lower().rstrip('.')}", tools=(tool.id,))
        for tool in catalog.values()
    ]


def save_tiny_base(folder: Path, texts: Iterable[str], dropout: float = 0.0) -> None:
    """Save a random Llama of two layers, 64 wide, and a byte-level BPE trained on ``texts`` as a base model.

    Args:
        folder: Where to.
        texts: What the tokenizer learns its pieces from.
        dropout: In the attention, while the model is trained.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from toolgen.base import without_bars
    from toolgen.benchmarks.decoder import train_tokenizer

    tokenizer = train_tokenizer(tuple(texts), entries=400)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        attention_dropout=dropout,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with without_bars():
            LlamaForCausalLM(config).save_pretrained(folder)
