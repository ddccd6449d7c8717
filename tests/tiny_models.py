"""Random models of a few architectures, small enough to be run in every test."""

from collections.abc import Callable
from functools import cache, wraps

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY, CONTEXT, PAD = 90, 48, 0
MODELS = [("llama", False), ("llama", True), ("qwen2", False), ("gpt2", True), ("gpt2", False), ("bert", True)]
"""Architecture, and whether its head is tied to its embedding."""


@cache
def tiny_model(kind: str = "llama", tied: bool = False, seed: int = 0) -> PreTrainedModel:
    """A random model whose distributions are far from uniform."""
    torch.manual_seed(seed)
    common = {"vocab_size": VOCABULARY, "tie_word_embeddings": tied, "initializer_range": 0.3, "pad_token_id": PAD}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    layers |= {"max_position_embeddings": CONTEXT}
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**common, **layers, num_key_value_heads=2)).eval()
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common, **layers, num_key_value_heads=2)).eval()
    if kind == "bert":
        return BertLMHeadModel(BertConfig(**common, **layers, is_decoder=True)).eval()
    return GPT2LMHeadModel(GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT)).eval()


def watch(monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel, seen: Callable[[], object]) -> None:
    """Have ``seen`` called before every forward of the model's class."""
    forward = type(model).forward

    @wraps(forward)
    def watched(*arguments: object, **keys: object) -> object:
        seen()
        return forward(*arguments, **keys)

    monkeypatch.setattr(type(model), "forward", watched)
