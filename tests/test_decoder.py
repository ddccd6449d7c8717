"""The decoder trained here: it learns, is the same every time, and loads like any base."""

import json
import re
from pathlib import Path

import pytest
import torch

from toolgen.abilities import perplexity
from toolgen.base import load_base
from toolgen.benchmarks.decoder import Shape, pack, train_decoder, train_tokenizer
from toolgen.corpus import load_corpus
from toolgen.errors import InputError
from toolgen.tokenizer import encode_text

WORDS = "the a model tensor returns given of for with array shape value input output index by one".split()
TINY = Shape(entries=300, width=32, layers=2, heads=2, inner=64, context=32)


def text(number: int) -> str:
    """Words in an order that a model can learn: each is followed by one of two."""
    place, words = number, []
    for step in range(60):
        words.append(WORDS[place % len(WORDS)])
        place = 3 * place + (number >> step % 7 & 1)
    return f"{number} " + " ".join(words)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text(number)}) + "\n" for number in range(300)))
    return str(path)


def train(output: Path, source: str, steps: int, seed: int = 0) -> Path:
    return train_decoder(
        output, source=source, shape=TINY, steps=steps, batch_size=8, learning_rate=1e-2, precision="fp32", seed=seed
    )


def test_it_learns_and_loads_like_any_base(source: str, tmp_path: Path) -> None:
    held_out = load_corpus(source, "held-out")
    values = []
    for steps in (1, 60):
        base = load_base(str(train(tmp_path / str(steps), source, steps)))
        found = perplexity(base.model, base.tokenizer, held_out)
        assert (found.vocabulary, found.length) == (TINY.entries, TINY.context)
        values.append(found.value)
    # It starts with everything equally likely, and a step teaches little more than which tokens are frequent.
    assert TINY.entries / 2 < values[0] < TINY.entries
    assert values[1] < values[0] / 5
    assert (base.tokenizer.bos_token, base.tokenizer.eos_token) == ("<s>", "</s>")
    assert base.tokenizer("the")["input_ids"][0] == base.tokenizer.bos_token_id == base.model.config.bos_token_id
    assert base.model.config.eos_token_id == base.tokenizer.eos_token_id


def test_the_seed_alone_decides(source: str, tmp_path: Path) -> None:
    weights = []
    state = torch.random.get_rng_state()
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        folder = train(tmp_path / name, source, 3, seed)
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's randomness is left alone"


def test_every_text_can_be_written() -> None:
    tokenizer = train_tokenizer([text(number) for number in range(20)], 300)
    for sample in ("naïve 漢字 \U0001f600\n\ttabs", "<s> </s>", "  two  blanks "):
        assert tokenizer.decode(encode_text(tokenizer, sample)) == sample
    with pytest.raises(InputError, match="entries is 200. Give at least 258"):
        train_tokenizer(["a"], 200)


def test_windows_hold_the_documents_one_after_the_other() -> None:
    documents = [text(number) for number in range(300)]
    tokenizer = train_tokenizer(documents, 300)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    windows_NT = pack(tokenizer, documents, 32, most=10**6)
    assert (windows_NT[:, 0] == begin).all()
    stream = [token for document in documents for token in [*encode_text(tokenizer, document), end]]
    joined = windows_NT[:, 1:].flatten().tolist()
    assert joined == stream[: len(joined)] and len(stream) - len(joined) < 31
    assert torch.equal(pack(tokenizer, documents, 32, most=7), windows_NT[:7])


def test_what_cannot_be_trained_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="holds something already"):
        train(tmp_path / "full", source, 1)
    with pytest.raises(InputError, match="steps is 0"):
        train(tmp_path / "new", source, 0)
    with pytest.raises(InputError, match="batch_size is 0"):
        train_decoder(tmp_path / "new", source=source, shape=TINY, batch_size=0)
    with pytest.raises(InputError, match="width of 30 cannot be divided.*multiple of 4"):
        train_decoder(tmp_path / "new", source=source, shape=Shape(width=30, heads=2))
    with pytest.raises(InputError, match=re.escape("texts.jsonl/train fills") + r" \d+ windows"):
        train_decoder(tmp_path / "new", source=source, shape=TINY, steps=10, batch_size=10_000)
    assert not (tmp_path / "new").exists()
