"""The base of a small agent: a tokenizer made for the tools' own words and a decoder that knows how to copy, and
nothing else. Knows texts and shapes; no tasks, and nothing of how the agent is trained.

The agent copies names out of queries and observations, so a name must be cut alike wherever it stands: behind a blank,
a bracket or a quotation mark. A blank is therefore a piece of its own always, and no piece crosses words. Names that
the tokenizer does not know fall apart into small pieces, in the end into bytes.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from toolgen.base import without_bars
from toolgen.benchmarks.decoder import Shape, check_shape
from toolgen.benchmarks.upbringing import bring_up, copying_decoder
from toolgen.checkpoint import publish
from toolgen.errors import InputError
from toolgen.tools import ToolCatalog

_BLANK = "\u2581"
_BEGIN, _END, _UNKNOWN = "<s>", "</s>", "<unk>"
_LONGEST_PIECE = 8
_MOST_OF_A_WORD = 200
"""How often a word is read at most: what the few most frequent ones are worth is known by then."""


def make_agent_base(folder: Path, texts: Iterable[str], shape: Shape, upbringing: int, seed: int) -> Path:
    """Make a tokenizer and a Llama, and save them as a folder for ``toolgen.base.load_base``.

    Args:
        folder: Appears whole or not at all.
        texts: What the tokenizer learns its pieces from.
        shape: Size of the decoder; ``entries`` is of the tokenizer.
        upbringing: Steps of practice in recalling; see ``toolgen.benchmarks.upbringing``.
        seed: Of weights and practice.

    Returns:
        The folder.

    Raises:
        InputError: The texts do not give as many entries as are wanted, or need more, or the heads cannot share the
            width.
    """
    check_shape(shape)
    tokenizer = train_unigram(texts, shape.entries)
    model = bring_up(copying_decoder(shape, tokenizer, seed), tokenizer, upbringing, seed)

    def write(target: Path) -> None:
        with without_bars():
            model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    publish(folder, write)
    return folder


def tool_texts(catalog: ToolCatalog) -> list[str]:
    """What the tools say of themselves: documents, and parameters as JSON. Tasks are not among it, so that no split's
    names are pieces."""
    tools = catalog.values()
    return [tool.document() for tool in tools] + [json.dumps(tool.parameters, ensure_ascii=False) for tool in tools]


def train_unigram(texts: Iterable[str], entries: int) -> PreTrainedTokenizerBase:
    """A unigram model with all bytes: every text can be written in it, case kept, digit by digit.

    Args:
        texts: What it learns from, word by word.
        entries: Bytes, special tokens and pieces together.

    Raises:
        InputError: The texts do not give as many entries, or need more.
    """
    pieces = _pieces(Counter(word for text in texts for word in text.split()), entries)
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    # With it, tool symbols stay out of any text's reach (toolgen/symbols.py).
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme="never")
    # From a decoder of this kind llguidance learns which tokens are blanks.
    backend.decoder = decoders.Sequence([decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=_BEGIN, eos_token=_END, pad_token=_END, unk_token=_UNKNOWN
    )


def _pieces(counts: Counter[str], entries: int) -> Sequence[tuple[str, float]]:
    """Pieces with their log-probabilities; the unknown one is the first, begin and end follow."""
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_repeated(counts),
            model_writer=written,
            model_type="unigram",
            vocab_size=entries,
            byte_fallback=True,
            add_dummy_prefix=False,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            character_coverage=0.9999,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            required_chars=_BLANK,
            max_sentencepiece_length=_LONGEST_PIECE,
            minloglevel=1,
        )
    except RuntimeError as error:
        raise InputError(f"shape.entries is {entries}, which these texts do not give: {error}") from error
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return [(model.id_to_piece(place), model.get_score(place)) for place in range(len(model))]


def _repeated(counts: Counter[str]) -> Iterator[str]:
    for word, count in counts.items():
        yield from [word] * min(count, _MOST_OF_A_WORD)
