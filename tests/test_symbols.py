"""New symbols in tokenizers of every kind: exact ids, an unchanged base, and no text that becomes a tool."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_zoo import SENTENCES, ZOO
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizerLegacy, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from toolgen.codebook import Codebook
from toolgen.errors import InputError
from toolgen.symbols import extend_tokenizer, save_tokenizer, symbol_ids
from toolgen.tokenizer import bind_codebook, bind_standalone, encode_text, encode_texts, end_token_id
from toolgen.tools import ToolCatalog

NAMES = ("CreateBucket", "list objects .v2", "café", "天気", "send e-mail", "Finish", "don't 's", "x" * 150)
SYMBOLS = (
    *(f"<<s3&&{name}>>" for name in NAMES),
    "<<Flight , hotels&&book ?>>",
    "<<Finish>>",
    "<<#2>>",
    "<<naïve Ã©>>",
    "<<é>>",
)
PADDING = 7
"""Rows that the imagined model has beyond its tokenizer."""

every_kind = pytest.mark.parametrize("kind", sorted(ZOO))


@dataclass(frozen=True)
class Extended:
    base: PreTrainedTokenizerBase
    extended: PreTrainedTokenizerBase
    reloaded: PreTrainedTokenizerBase
    """By plain AutoTokenizer, after being saved and loaded twice."""
    first_id: int


@cache
def made(kind: str) -> Extended:
    base = ZOO[kind]()
    first_id = len(base) + PADDING
    extended = extend_tokenizer(base, SYMBOLS, first_id)
    folder = Path(mkdtemp(prefix="toolgen-test-"))
    extended.save_pretrained(folder / "once")
    save_tokenizer(AutoTokenizer.from_pretrained(folder / "once"), folder / "twice")
    return Extended(base, extended, AutoTokenizer.from_pretrained(folder / "twice"), first_id)


@every_kind
def test_ids_are_contiguous_and_survive_saving(kind: str) -> None:
    case = made(kind)
    wanted = {symbol: case.first_id + place for place, symbol in enumerate(SYMBOLS)}
    for tokenizer in (case.extended, case.reloaded):
        assert symbol_ids(tokenizer, SYMBOLS) == wanted
        assert len(tokenizer) == case.first_id + len(SYMBOLS)


@every_kind
def test_tool_ids_decode_exactly_and_are_not_special(kind: str) -> None:
    case = made(kind)
    for tokenizer in (case.extended, case.reloaded):
        for symbol, token_id in symbol_ids(tokenizer, SYMBOLS).items():
            assert tokenizer.decode([token_id]) == symbol
            assert tokenizer.decode([token_id], skip_special_tokens=True) == symbol
            piece = tokenizer.convert_ids_to_tokens(token_id)
            assert tokenizer.convert_tokens_to_ids(piece) == token_id
            assert tokenizer.backend_tokenizer.id_to_token(token_id) == piece


@every_kind
def test_pieces_are_the_symbols_where_the_kind_allows(kind: str) -> None:
    """Unigram opens each piece with a space; byte-level BPE writes Latin-1 letters in bytes; all others are exact."""
    case = made(kind)
    unigram = kind in ("t5", "xlm_roberta", "unigram")
    byte_level = kind in ("gpt2", "llama3", "qwen2")
    for symbol, token_id in symbol_ids(case.reloaded, SYMBOLS).items():
        piece = case.reloaded.convert_ids_to_tokens(token_id)
        if unigram:
            assert piece == f" {symbol}"
        elif not byte_level or symbol.isascii() or " " in symbol or "天" in symbol:
            assert piece == symbol


@every_kind
def test_tool_ids_decode_inside_a_text(kind: str) -> None:
    case = made(kind)
    before, after = (case.base.encode(text, add_special_tokens=False) for text in ("a bucket", "is lost"))
    for symbol, token_id in symbol_ids(case.reloaded, SYMBOLS).items():
        assert symbol in case.reloaded.decode([*before, token_id, *after])


def texts_around(case: Extended) -> list[str]:
    cores = [*SENTENCES, *SYMBOLS, *NAMES, "<<X&&Y>>", *case.base.all_special_tokens, *case.base.get_added_vocab()]
    cores += list(case.base.get_vocab())[:100]
    return [text for core in cores for text in (core, core.lower(), core.upper(), f" {core} ", f"a{core}{core}")]


@every_kind
def test_base_encodings_are_unchanged(kind: str) -> None:
    case = made(kind)
    texts = texts_around(case)
    for tokenizer in (case.extended, case.reloaded):
        assert tokenizer(texts)["input_ids"] == case.base(texts)["input_ids"]
        assert encode_texts(tokenizer, texts) == encode_texts(case.base, texts)
        assert tokenizer.get_added_vocab() == case.base.get_added_vocab()
        assert tokenizer.special_tokens_map == case.base.special_tokens_map
        assert tokenizer.all_special_ids == case.base.all_special_ids
        assert tokenizer.padding_side == case.base.padding_side
        assert tokenizer.model_input_names == case.base.model_input_names
        assert tokenizer.model_max_length == case.base.model_max_length
        assert tokenizer.chat_template == case.base.chat_template


@every_kind
def test_base_decodings_are_unchanged(kind: str) -> None:
    case = made(kind)
    for ids in case.base([*SENTENCES, "what ? no , isn't it ."])["input_ids"]:
        assert case.reloaded.decode(ids) == case.base.decode(ids)


@every_kind
def test_no_text_becomes_a_tool_token(kind: str) -> None:
    case = made(kind)
    texts = texts_around(case)
    for tokenizer in (case.extended, case.reloaded):
        for split in (False, True):
            encoded = tokenizer(texts, split_special_tokens=split)["input_ids"]
            assert max(max(ids) for ids in encoded if ids) < case.first_id
        assert max(max(ids) for ids in encode_texts(tokenizer, texts) if ids) < case.first_id


@st.composite
def hostile_texts(draw: st.DrawFn, case: Extended) -> str:
    parts = [*SYMBOLS, *NAMES, "<<X&&Y>>", *case.base.all_special_tokens, *case.base.get_added_vocab(), "##", "▁", "Ġ"]
    part = st.one_of(st.sampled_from(parts), st.text(max_size=6), st.sampled_from([" ", "  ", "\n", "\ufdd0", "\0"]))
    pieces = draw(st.lists(part, max_size=6))
    change = draw(st.sampled_from([str, str.lower, str.upper, str.title]))
    return change("".join(pieces))


@every_kind
@settings(max_examples=60)
@given(data=st.data())
def test_no_hostile_text_becomes_a_tool_or_special_token(kind: str, data: st.DataObject) -> None:
    case = made(kind)
    text = data.draw(hostile_texts(case))
    for tokenizer in (case.extended, case.reloaded):
        ids = encode_text(tokenizer, text)
        assert all(token_id < case.first_id for token_id in [*ids, *tokenizer.encode(text)])
        assert not special_ids(case.base).intersection(ids)
        if not any(token.lower() in text.lower() for token in case.base.get_added_vocab()):
            assert ids == encode_text(case.base, text)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    roles = set(tokenizer.special_tokens_map.values())
    unknown_only = tokenizer.unk_token and [*tokenizer.special_tokens_map.values()].count(tokenizer.unk_token) == 1
    assert roles
    return special - {tokenizer.unk_token_id} if unknown_only else special


@every_kind
def test_encode_text_is_the_plain_encoding_of_harmless_text(kind: str) -> None:
    case = made(kind)
    for text in SENTENCES:
        assert encode_text(case.reloaded, text) == case.base.encode(text, add_special_tokens=False)
    assert encode_texts(case.reloaded, list(SENTENCES)) == [encode_text(case.base, text) for text in SENTENCES]
    assert encode_texts(case.reloaded, []) == []
    assert encode_text(case.reloaded, "") == []


def test_special_tokens_in_text_stay_readable_text() -> None:
    for kind, text in (("t5", "bucket</s></s>"), ("llama3", "<|eot_id|>bucket"), ("minilm", "[sep] bucket [SEP]")):
        tokenizer = made(kind).reloaded
        ids = encode_text(tokenizer, text)
        assert len(ids) > 3
        known = tokenizer.decode(ids).replace(" ", "")
        assert "bucket" in known and ("sep" in known or "eot_id" in known or known.count("s") >= 2)


def test_text_around_a_special_token_is_kept() -> None:
    tokenizer = made("t5").reloaded
    for text in ("bucket</s>bucket", "</s></s>bucket", "</s>", "a</s>\0b<extra_id_0></s>"):
        spelled = "".join(tokenizer.convert_ids_to_tokens(encode_text(tokenizer, text)))
        wanted = "".join(tokenizer.convert_ids_to_tokens(encode_text(tokenizer, text.replace("<", "< "))))
        assert spelled.replace("▁", "") == wanted.replace("▁", "")


def test_the_unknown_tokens_score_is_unchanged() -> None:
    """Unigram scores the unknown below the lowest entry, and that decides between ways to cut "abc"."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), ("ab", -12.0), ("c", -12.0), ("bc", -1.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    base = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")
    assert base.tokenize("abc") == ["▁", "a", "bc"]
    assert base.encode("abc") == [2, 0, 5]
    assert extend_tokenizer(base, SYMBOLS, 20).encode("abc") == [2, 0, 5]


def test_non_special_added_tokens_are_ordinary_text() -> None:
    tokenizer = made("qwen2").reloaded
    assert encode_text(tokenizer, "<tool_call>") == [tokenizer.convert_tokens_to_ids("<tool_call>")]


def test_nothing_is_done_without_symbols() -> None:
    base = ZOO["minilm"]()
    assert extend_tokenizer(base, (), len(base)) is base


def test_a_token_added_later_does_not_land_on_a_tool() -> None:
    case = made("llama3")
    tokenizer = extend_tokenizer(case.base, SYMBOLS, case.first_id)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    assert tokenizer.pad_token_id == case.first_id + len(SYMBOLS)


def test_extending_twice_keeps_the_first_symbols() -> None:
    case = made("t5")
    again = extend_tokenizer(case.reloaded, ("<<late&&tool>>",), len(case.reloaded))
    assert symbol_ids(again, SYMBOLS) == symbol_ids(case.extended, SYMBOLS)
    assert again.decode([len(case.reloaded)]) == "<<late&&tool>>"
    assert again.decode([case.first_id]) == SYMBOLS[0]


def test_transient_truncation_is_not_saved() -> None:
    base = ZOO["minilm"]()
    base("one two three four five", truncation=True, max_length=4)
    extended = extend_tokenizer(base, SYMBOLS, len(base))
    assert extended.backend_tokenizer.truncation is None and extended.backend_tokenizer.padding is None
    assert len(extended("one two three four five")["input_ids"]) == 7


def test_the_saved_file_lists_added_tokens_twice_and_holds_symbols_once(tmp_path: Path) -> None:
    save_tokenizer(made("llama3").extended, tmp_path)
    record = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in record["added_tokens"]}
    assert added == made("llama3").base.get_added_vocab()
    assert {token["content"] for token in config["added_tokens_decoder"].values()} == set(added)
    assert set(SYMBOLS) - set(record["model"]["vocab"]) <= {"<<s3&&café>>", "<<é>>", "<<naïve Ã©>>"}


@pytest.mark.parametrize(
    ("kind", "symbol"),
    [("cased_wordpiece", "Finish"), ("minilm", "finishxyz"), ("minilm", "##zzq"), ("llama3", "<<#>>"), ("llama2", "€")],
)
def test_a_symbol_that_text_can_reach_is_refused(kind: str, symbol: str) -> None:
    base = ZOO[kind]()
    with pytest.raises(InputError, match="(?i)text could become"):
        extend_tokenizer(base, (*SYMBOLS, symbol), len(base))


def test_a_symbol_that_is_a_token_already_is_refused() -> None:
    base = ZOO["minilm"]()
    with pytest.raises(InputError, match="'bucket' is already token"):
        extend_tokenizer(base, ("bucket",), len(base))
    with pytest.raises(InputError, match="already token"):
        extend_tokenizer(made("minilm").reloaded, SYMBOLS[:1], len(made("minilm").reloaded))


@pytest.mark.parametrize("symbol", ["", "<<\ud800>>"])
def test_a_symbol_that_is_no_text_is_refused(symbol: str) -> None:
    base = ZOO["minilm"]()
    with pytest.raises(InputError, match="empty or not valid Unicode"):
        extend_tokenizer(base, (symbol,), len(base))


def test_a_symbol_in_the_decoders_own_notation_is_refused() -> None:
    base = ZOO["llama2"]()
    with pytest.raises(InputError, match="cannot write the new symbol"):
        extend_tokenizer(base, ("<<a▁b>>",), len(base))


def test_a_unigram_that_keeps_spaces_is_refused() -> None:
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), (" ", -1.0)], unk_id=0, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Punctuation()
    base = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="<unk>")
    with pytest.raises(InputError, match="keeps raw spaces.*Punctuation"):
        extend_tokenizer(base, SYMBOLS, len(base))


def test_an_added_token_that_is_a_plain_word_is_refused() -> None:
    base = ZOO["minilm"]()
    base.add_tokens([AddedToken("bucketeer", single_word=True, normalized=False)])
    with pytest.raises(InputError, match="would change how it reads"):
        extend_tokenizer(base, SYMBOLS, len(base))


def test_a_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")
    slow = BertTokenizerLegacy(str(tmp_path / "vocab.txt"))
    with pytest.raises(InputError, match="BertTokenizerLegacy, which has no tokenizer.json"):
        extend_tokenizer(slow, SYMBOLS, len(slow))


def test_the_end_is_eos_or_sep_or_an_error() -> None:
    assert end_token_id(ZOO["minilm"]()) == 102
    llama = ZOO["llama3"]()
    assert end_token_id(llama) == llama.eos_token_id
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="neither an eos_token nor a sep_token"):
        end_token_id(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"))


def mixed_codebook() -> Codebook:
    return Codebook(
        scheme="mixed",
        codes={"a": ("<<a>>",), "b": ("create bucket",), "c": ("create bucket", "<<#2>>"), "d": ("<<d>>", "list")},
        new_symbols=("<<a>>", "<<#2>>", "<<d>>"),
        catalog_fingerprint="none",
    )


@pytest.mark.parametrize("kind", ["minilm", "llama3", "t5"])
def test_codes_are_bound_to_the_ids_of_the_tokenizer(kind: str) -> None:
    book = mixed_codebook()
    base = ZOO[kind]()
    end, first = end_token_id(base), len(base) + PADDING
    extended = extend_tokenizer(base, book.new_symbols, first)
    codes = bind_codebook(book, extended, end)
    text = base.encode("create bucket", add_special_tokens=False)
    assert codes.sequences[0] == (first,)
    assert codes.sequences[1] == (*text, end)
    assert codes.sequences[2] == (*text, first + 1, end)
    assert codes.sequences[3] == (first + 2, *base.encode("list", add_special_tokens=False), end)
    standalone = bind_standalone(book, base, end)
    assert [len(ids) for ids in standalone.sequences] == [len(ids) for ids in codes.sequences]


def test_a_missing_symbol_is_named() -> None:
    with pytest.raises(KeyError, match="<<a>>"):
        bind_codebook(mixed_codebook(), ZOO["minilm"](), 102)


def test_all_of_toolbench_fits_the_embedded_tokenizer() -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = shared / "toolbench" / "tools.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"needs the ToolBench catalogue {path}; set TOOLGEN_SHARED_DATA to the folder of data sets")
    names = list(dict.fromkeys(f"<<{tool_id}>>" for tool_id in ToolCatalog.from_jsonl(path)))
    base = ZOO["minilm"]()
    extended = extend_tokenizer(base, names, len(base))
    ids = list(range(len(base), len(base) + len(names)))
    assert extended.batch_decode([[token_id] for token_id in ids]) == names
    assert extended.convert_ids_to_tokens(ids) == names
    assert extended.convert_tokens_to_ids(names) == ids
    sample = [name.strip("<>") for name in names[::40]]
    assert extended(sample)["input_ids"] == base(sample)["input_ids"]
