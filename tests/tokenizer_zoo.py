"""One small fast tokenizer of every kind that a causal LM may bring, trained on a few sentences."""

from collections.abc import Callable

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

from toolgen.base import load_tokenizer

SENTENCES = (
    "Creates a new bucket in the account, and returns its name.",
    "Lists the objects of a bucket; at most 1,000 are returned at a time.",
    "Deletes one queue. What is in it is lost!",
    "Starts an instance of the given type, or says why it could not.",
    "get current weather for a city, find cheap flights, send the e-mail (again?)",
    "Le café est fermé; die Straße ist naß. 東京の天気",
)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _special(*tokens: str) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in tokens]


def _byte_level_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    return _trained(backend, trainer)


def _sentencepiece_bpe(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials + BYTES, show_progress=False)
    return _trained(backend, trainer)


def _trained(backend: Tokenizer, trainer: trainers.BpeTrainer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    backend.train_from_iterator(SENTENCES, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _unigram(specials: list[str]) -> list[tuple[str, float]]:
    import json

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    return [(piece, score) for piece, score in json.loads(backend.to_str())["model"]["vocab"]]


def minilm() -> PreTrainedTokenizerBase:
    """Real WordPiece, uncased, its special tokens inside the vocabulary."""
    return load_tokenizer("embedded")


def cased_wordpiece() -> PreTrainedTokenizerBase:
    """WordPiece that keeps case, with an added token behind the vocabulary."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    backend.train_from_iterator(
        SENTENCES, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    tokenizer.add_tokens(_special("[TURN]"))
    return tokenizer


def gpt2() -> PreTrainedTokenizerBase:
    """Byte-level BPE whose only special token is end, beginning and unknown in one."""
    vocab, merges = _byte_level_bpe()
    return GPT2Tokenizer(vocab={**vocab, "<|endoftext|>": len(vocab)}, merges=merges)


def llama3() -> PreTrainedTokenizerBase:
    """Byte-level BPE with ``ignore_merges``; special tokens stand outside the model's vocabulary."""
    vocab, merges = _byte_level_bpe()
    backend = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(_special("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_0|>", "<|eot_id|>"))
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", len(vocab))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>", padding_side="left"
    )


def qwen2() -> PreTrainedTokenizerBase:
    """Byte-level BPE with an added token that is not special."""
    vocab, merges = _byte_level_bpe()
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(_special("<|im_start|>", "<|im_end|>"))
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    tokenizer.chat_template = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"
    return tokenizer


def llama2() -> PreTrainedTokenizerBase:
    """BPE over Metaspace with byte fallback."""
    vocab, merges = _sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    return LlamaTokenizer(vocab=vocab, merges=merges)


def gemma() -> PreTrainedTokenizerBase:
    """BPE with byte fallback, spaces replaced by the normalizer."""
    vocab, merges = _sentencepiece_bpe(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>"])
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(_special("<start_of_turn>"))
    return tokenizer


def t5() -> PreTrainedTokenizerBase:
    """Unigram with special tokens as ordinary pieces and sentinels behind them."""
    vocab = _unigram(["<pad>", "</s>", "<unk>"])
    return T5Tokenizer(vocab=vocab, extra_ids=5)


def xlm_roberta() -> PreTrainedTokenizerBase:
    """Unigram whose mask token stands outside the list of pieces."""
    return XLMRobertaTokenizer(vocab=_unigram(["<s>", "<pad>", "</s>", "<unk>"]))


def unigram() -> PreTrainedTokenizerBase:
    """Unigram with a normalizer, as ``tokenizers`` makes it."""
    pieces = _unigram(["<unk>", "<s>", "</s>"])
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


ZOO: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    make.__name__: make
    for make in (minilm, cased_wordpiece, gpt2, llama3, qwen2, llama2, gemma, t5, xlm_roberta, unigram)
}
