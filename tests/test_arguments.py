"""Arguments under a schema: valid whatever the model would rather write, bounded, and without a tool row."""

from functools import cache
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_zoo import ZOO
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from toolgen.agent.arguments import LONGEST_STRING, MOST_ITEMS, ArgumentWriter, bounded
from toolgen.agent.batch import Reader, finish
from toolgen.agent.machine import Written
from toolgen.agent.text import Text
from toolgen.errors import InputError
from toolgen.sources.botocore import import_catalog

SCHEMA = {
    "type": "object",
    "properties": {
        "Bucket": {"type": "string", "maxLength": 12},
        "Count": {"type": "integer", "minimum": 0, "maximum": 999},
        "Mode": {"enum": ["fast", "slow"]},
        "Tags": {"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 4}},
    },
    "required": ["Bucket", "Count"],
}
ROWS = 3
"""Rows behind the words."""


@cache
def model(kind: str, seed: int = 0, context: int = 4096) -> PreTrainedModel:
    """A random model for a tokenizer of the zoo, with a few tool rows behind its words."""
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    words = len(ZOO[kind]()) + ROWS
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=words, initializer_range=0.3, max_position_embeddings=context, **shape)
    ).eval()


def writer(kind: str = "gpt2", **keys: Any) -> ArgumentWriter:
    tokenizer = ZOO[kind]()
    return ArgumentWriter(tokenizer, len(tokenizer), **keys)


def written_by(writer: ArgumentWriter, model: PreTrainedModel, text: Text | list[int], schema: Any) -> Written:
    """What a model writes behind a text."""
    text = Text(text, model.config.max_position_embeddings) if isinstance(text, list) else text
    return finish(Reader(model), writer.write(text, schema))


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2", "llama2", "gemma"])
def test_what_a_random_model_writes_meets_the_schema(kind: str) -> None:
    one = writer(kind)
    for seed in range(5):
        text = Text([5, 6, 7], 4096)
        written = written_by(one, model(kind, seed), text, SCHEMA)
        assert written.fault == "" and text.ids == [5, 6, 7]
        jsonschema.validate(written.arguments, SCHEMA)
        assert set(written.arguments or ()) <= set(SCHEMA["properties"])  # type: ignore[arg-type]
        assert ZOO[kind]().decode(list(written.ids)).strip() == written.text.strip()


def test_a_tool_row_is_never_an_argument() -> None:
    kind = "llama3"
    loud = model(kind, 1)
    with torch.no_grad():
        loud.get_output_embeddings().weight[-ROWS:] *= 1e4
    words = len(ZOO[kind]())
    for start in range(4, 9):
        written = written_by(writer(kind), loud, [start], SCHEMA)
        assert written.arguments is not None and max(written.ids) < words


_leaves = st.sampled_from(
    [
        {"type": "string", "maxLength": 6},
        {"type": "integer", "minimum": -9, "maximum": 9},
        {"type": "number", "minimum": 0, "maximum": 5},
        {"type": "boolean"},
        {"enum": ["a", "b", 3, None]},
    ]
)
_schemas = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        inner.map(lambda one: {"type": "array", "items": one, "maxItems": 2}),
        st.dictionaries(st.text("abcÄ_", min_size=1, max_size=3), inner, max_size=3).flatmap(
            lambda named: (
                st.lists(st.sampled_from(sorted(named)), unique=True).map(
                    lambda required: {"type": "object", "properties": named, "required": required}
                )
                if named
                else st.just({"type": "object", "properties": {}})
            )
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(inner=_schemas, seed=st.integers(0, 3))
def test_any_schema_is_met(inner: dict[str, Any], seed: int) -> None:
    schema = {"type": "object", "properties": {"it": inner}, "required": ["it"]}
    written = written_by(writer(), model("gpt2", seed), [1, 2], schema)
    assert written.arguments is not None, written.fault
    jsonschema.validate(written.arguments, schema)


def test_operations_of_aws_are_called_as_they_are_declared() -> None:
    catalog = import_catalog(["dynamodb", "s3", "sqs"])
    one, ended = writer(most_tokens=300), 0
    chosen = list(catalog.values())[::12]
    for number, tool in enumerate(chosen):
        written = written_by(one, model("gpt2", number % 3), [3], tool.parameters)
        if written.arguments is None:
            assert "did not end within 600 tokens" in written.fault, (tool.id, written.fault)
            continue
        ended += 1
        jsonschema.validate(written.arguments, tool.parameters or {})
        assert set(written.arguments) <= set((tool.parameters or {}).get("properties", {}))
    assert len(chosen) > 10 and ended > len(chosen) / 3


def test_a_tool_without_parameters_is_called_with_an_empty_object() -> None:
    for schema in (None, {}, {"type": "object", "properties": {}}):
        assert written_by(writer(), model("gpt2"), [1], schema).arguments == {}


def test_every_schema_comes_to_an_end() -> None:
    found = bounded(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "type": {"type": ["string", "null"]},
                "kept": {"type": "string", "maxLength": 3},
                "code": {"type": "string", "pattern": "^[a-z]$"},
                "all": {
                    "type": "array",
                    "items": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {}}]},
                },
                "free": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    )
    inner = found["properties"]
    assert found["additionalProperties"] is False
    assert inner["name"]["maxLength"] == inner["type"]["maxLength"] == LONGEST_STRING
    assert inner["kept"]["maxLength"] == 3 and "maxLength" not in inner["code"]
    assert inner["all"]["maxItems"] == MOST_ITEMS
    assert inner["all"]["items"]["anyOf"][0]["maxLength"] == LONGEST_STRING
    assert inner["free"]["additionalProperties"]["maxLength"] == LONGEST_STRING


def test_what_cannot_end_is_told_and_not_called() -> None:
    short = written_by(writer(most_tokens=3), model("gpt2"), [1], SCHEMA)
    assert short.arguments is None and "within 6 tokens" in short.fault and len(short.ids) == 6
    full = written_by(writer(), model("gpt2", context=6), [1, 2, 3], SCHEMA)
    assert full.arguments is None and "context holds 6" in full.fault
    broken = written_by(writer(), model("gpt2"), [1], {"type": "object", "properties": {"a": {"type": "strin"}}})
    assert broken.arguments is None and "schema cannot be followed" in broken.fault


def test_what_takes_long_is_closed_and_is_valid() -> None:
    """A random model goes on and on; behind the number of tokens that a call may take, texts and lists end."""
    text = {"type": "string", "minLength": 2}
    wanted = {"a": text, "b": {"type": "array", "minItems": 1, "items": {"type": "string"}}, "c": {"type": "integer"}}
    schema = {"type": "object", "properties": {**wanted, "free": {"type": "object"}}, "required": list(wanted)}
    for seed in range(5):
        written = written_by(writer(most_tokens=30), model("gpt2", seed), [seed + 1], schema)
        assert written.arguments is not None, written.fault
        jsonschema.validate(written.arguments, schema)
        assert len(written.ids) < 60


@pytest.mark.parametrize("seed", range(3))
def test_names_of_properties_are_those_that_a_schema_lets_in(seed: int) -> None:
    value = {"type": "integer"}
    known = {"type": "object", "propertyNames": {"enum": ["Delay", "Wait"]}, "additionalProperties": value}
    shaped = {"type": "object", "propertyNames": {"pattern": "^[a-c]{2}$"}, "additionalProperties": value}
    schema = {
        "type": "object",
        "properties": {"known": {**known, "minProperties": 1}, "shaped": {**shaped, "minProperties": 1}},
        "required": ["known", "shaped"],
    }
    written = written_by(writer(), model("gpt2", seed), [seed + 1], schema)
    if written.arguments is None:
        assert "did not end" in written.fault
        return
    jsonschema.validate(written.arguments, schema)


@pytest.mark.parametrize("seed", range(3))
def test_a_pattern_that_no_grammar_can_follow_is_left_to_the_environment(seed: int) -> None:
    name = {"type": "string", "pattern": "^(?!aws).+$", "maxLength": 5}
    schema = {"type": "object", "properties": {"name": name, "n": {"type": "integer"}}, "required": ["name", "n"]}
    written = written_by(writer(), model("gpt2", seed), [seed + 1], schema)
    assert written.arguments is None or (
        isinstance(written.arguments["n"], int) and len(written.arguments["name"]) <= 5
    ), "the rest of the schema holds"
    assert "schema cannot be followed" not in written.fault


def test_a_tokenizer_whose_blanks_would_not_be_noticed_is_refused() -> None:
    backend = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("\u2581", -1.0), *((chr(code), -2.0) for code in range(33, 127))], 0)
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Sequence([decoders.Metaspace(prepend_scheme="never"), decoders.ByteFallback()])
    with pytest.raises(InputError, match="llguidance reads its"):
        ArgumentWriter(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"), 90)


def test_a_tokenizer_that_cannot_write_everything_is_refused() -> None:
    with pytest.raises(InputError, match=r"BertTokenizer cannot write arguments.*byte-level BPE"):
        writer("minilm")
