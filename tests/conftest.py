"""Fakes for all tests: a small catalogue, queries, and a tiny base model with a tokenizer of its own."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from toolgen.queries import Query, write_queries
from toolgen.tools import Tool, ToolCatalog

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A loaded machine must fail no property test: examples are bounded in number, not in time.
settings.register_profile("toolgen", deadline=None)
settings.load_profile("toolgen")

VERBS = ("create", "delete", "list", "describe", "update")
NOUNS = ("bucket", "queue", "table", "user", "role", "key")


@pytest.fixture(scope="session")
def catalog() -> ToolCatalog:
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


@pytest.fixture(scope="session")
def queries(catalog: ToolCatalog) -> list[Query]:
    """One query a tool."""
    return [
        Query(id=tool.id, text=f"to {tool.description.lower().rstrip('.')}", tools=(tool.id,))
        for tool in catalog.values()
    ]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog) -> Path:
    """A random Llama of two layers and a byte-level BPE trained on the catalogue, saved as a base model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "base"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([tool.document() for tool in catalog.values()], trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def files(tmp_path: Path, catalog: ToolCatalog, queries: list[Query], tiny_base: Path) -> dict[str, Path]:
    """Catalogue, queries and atomic codebook on disk, for tests that go through files."""
    from toolgen.base import load_tokenizer
    from toolgen.indexing import build
    from toolgen.tokenizer import encode_text, end_token_id

    paths = {name: tmp_path / f"{name}.json{'l' * (name != 'codebook')}" for name in ("tools", "queries", "codebook")}
    catalog.to_jsonl(paths["tools"])
    write_queries(paths["queries"], queries)
    tokenizer = load_tokenizer(str(tiny_base))
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(paths["codebook"])
    return paths
