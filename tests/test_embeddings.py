"""Embeddings of documents: what they are, that nothing but the texts decides on them, and that they are kept safely."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen import embeddings
from toolgen.embeddings import TextEmbedder, cache_folder, load_encoder
from toolgen.errors import InputError

TEXTS = [
    f"{service} {verb} {noun}. {verb.title()}s one {noun} of the account{' and says so at length' * (number % 4)}."
    for number, (service, verb, noun) in enumerate(
        (service, verb, noun)
        for service in ("s3", "iam", "sqs")
        for verb in ("create", "delete", "list")
        for noun in ("bucket", "queue", "user", "role", "key", "policy")
    )
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were embedded, call by call."""
    seen: list[int] = []
    original = embeddings._embed

    def counting(encoder: object, texts: Sequence[str], *rest: object) -> np.ndarray:
        seen.append(len(texts))
        return original(encoder, texts, *rest)

    monkeypatch.setattr(embeddings, "_embed", counting)
    return seen


def digest(vectors_ND: np.ndarray) -> str:
    return hashlib.sha256(vectors_ND.tobytes()).hexdigest()


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_vectors_are_the_encoders_own(tmp_path: Path) -> None:
    vectors_ND = TextEmbedder(document_tokens=None, precision="fp32", cache=tmp_path)(TEXTS)
    encoder = load_encoder("embedded", purpose="This test")
    expected_ND = encoder.encode(TEXTS, normalize_embeddings=True)
    assert vectors_ND.dtype == np.float32 and vectors_ND.shape == (54, 384)
    np.testing.assert_allclose(vectors_ND, expected_ND, atol=1e-5)
    np.testing.assert_allclose((vectors_ND**2).sum(1), 1, atol=1e-5)


def test_bf16_is_near_enough(tmp_path: Path) -> None:
    exact_ND, rough_ND = (TextEmbedder(precision=p, cache=tmp_path)(TEXTS) for p in ("fp32", "bf16"))
    assert (exact_ND * rough_ND).sum(1).min() > 0.9995
    assert digest(exact_ND) != digest(rough_ND)


def test_documents_are_cut(tmp_path: Path) -> None:
    long = "creates a bucket " * 20
    cut = TextEmbedder(document_tokens=16, cache=tmp_path)([long, long + "and deletes every user at midnight"])
    assert digest(cut[0]) == digest(cut[1])
    whole = TextEmbedder(cache=tmp_path)([long, long + "and deletes every user at midnight"])
    assert digest(cut[0]) != digest(whole[0])


def test_bits_hang_on_no_thread_order_or_repetition(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen = set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            shuffled = [*reversed(TEXTS), *TEXTS[::3]]
            vectors_ND = TextEmbedder(cache=tmp_path / str(threads))(shuffled if threads == 2 else TEXTS)
            seen.add(digest(vectors_ND[: len(TEXTS)][::-1] if threads == 2 else vectors_ND))
            assert torch.get_num_threads() == threads, "the setting was not restored"
            if threads == 2:
                assert digest(vectors_ND[len(TEXTS) :]) == digest(vectors_ND[: len(TEXTS)][::-1][::3])
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 1


def test_batches_are_formed_of_texts_by_length_whatever_order_they_come_in() -> None:
    class Encoder:
        max_seq_length = 3

        def tokenizer(self, texts: list[str], *, truncation: bool, max_length: int, verbose: bool) -> dict[str, list]:
            return {"input_ids": [text.split()[:max_length] for text in texts]}

    texts = ["b c", "a", "b", "c d e f g", "a a", "c d e"]
    for order in (texts, texts[::-1], set(texts)):
        assert embeddings._longest_first(Encoder(), order) == ["c d e", "c d e f g", "a a", "b c", "a", "b"]


def test_each_distinct_text_is_embedded_once_and_kept(tmp_path: Path, calls: list[int]) -> None:
    told: list[tuple[int, int]] = []
    embed = TextEmbedder(cache=tmp_path, progress=lambda done, total: told.append((done, total)))
    first = embed(TEXTS * 2)
    assert calls == [54] and told[-1] == (54, 54)
    assert digest(first[:54]) == digest(first[54:])
    (kept,) = files(tmp_path)
    assert kept.suffix == ".npy" and kept.parent.name == "embeddings"
    assert digest(TextEmbedder(cache=tmp_path)(TEXTS)) == digest(first[:54])
    assert calls == [54], "found on disk"
    TextEmbedder(cache=tmp_path, document_tokens=16)(TEXTS)
    TextEmbedder(cache=tmp_path)(TEXTS[1:])
    assert calls == [54, 54, 53] and len(files(tmp_path)) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped header", "not finite", "another width", "pickle"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, calls: list[int], damage: str) -> None:
    expected = digest(TextEmbedder(cache=tmp_path)(TEXTS))
    (kept,) = files(tmp_path)
    whole = kept.read_bytes()
    if damage == "empty":
        kept.write_bytes(b"")
    elif damage == "cut":
        kept.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped header":
        kept.write_bytes(b"\x00" + whole[1:])
    elif damage == "not finite":
        np.save(kept, np.full((54, 384), np.nan, dtype=np.float32))
    elif damage == "another width":
        np.save(kept, np.zeros((53, 384), dtype=np.float32))
    else:
        np.save(kept, np.array([{"a": "dictionary"}] * 54, dtype=object), allow_pickle=True)
    assert digest(TextEmbedder(cache=tmp_path)(TEXTS)) == expected
    assert calls == [54, 54] and kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_no_work(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="could not be kept.*Set TOOLGEN_CACHE"):
        assert TextEmbedder(cache=blocked)(TEXTS).shape == (54, 384)
    assert blocked.read_text() == "in the way"


def test_the_cache_lies_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TOOLGEN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "toolgen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "toolgen"
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    TextEmbedder()(TEXTS[:2])
    assert len(files(tmp_path / "own")) == 1


def test_another_encoder_has_files_of_its_own(tmp_path: Path, calls: list[int]) -> None:
    encoder = load_encoder("embedded", purpose="This test")
    with torch.no_grad():
        next(encoder.parameters())[0, 0] += 1
    encoder.save(str(tmp_path / "other"))
    TextEmbedder(cache=tmp_path / "cache")(TEXTS)
    TextEmbedder(str(tmp_path / "other"), cache=tmp_path / "cache")(TEXTS)
    assert calls == [54, 54] and len(files(tmp_path / "cache")) == 2


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="document_tokens is 2; two tokens are markers, so give 3 or more"):
        TextEmbedder(document_tokens=2)
    for name in ("", str(tmp_path)):
        with pytest.raises(InputError, match="'embedded'"):
            TextEmbedder(name)(["text"])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
@settings(max_examples=10)
def test_any_text_has_an_embedding(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    vectors_ND = TextEmbedder(cache=tmp_path_factory.mktemp("cache"))(texts)
    assert vectors_ND.shape == (len(texts), 384) and np.isfinite(vectors_ND).all()
    for first, text in enumerate(texts):
        assert digest(vectors_ND[texts.index(text)]) == digest(vectors_ND[first])


def test_nothing_need_be_kept_and_a_loaded_encoder_keeps_its_limit(tmp_path: Path) -> None:
    encoder = embeddings.load_encoder("embedded", purpose="The test")
    vectors_ND = TextEmbedder(encoder, document_tokens=16, precision="fp32", keep=False, cache=tmp_path)(TEXTS)
    assert files(tmp_path) == [] and encoder.max_seq_length == 256
    assert digest(vectors_ND) == digest(TextEmbedder(document_tokens=16, precision="fp32", cache=tmp_path)(TEXTS))
