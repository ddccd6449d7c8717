"""Residual codes: what a document means in a few new symbols, coarse to fine. Knows vectors of documents, no encoder.

The first symbol is the nearest of some centroids, the second the nearest of other centroids to what the first leaves,
and so on: residual quantisation, as in TIGER (arXiv 2305.05065) and, for tools, ToolWeaver (ICLR 2026). All tools share
the few symbols, so each is trained with many of them.

Vectors are reduced to their principal components first. In all 384 dimensions of MiniLM residuals are so far from one
another that one cluster takes most of them and the others single outliers: on MetaTool the second symbol then held 0.60
of the bits that it could, and 0.95 in 48 dimensions.

Legend: N tools, D width, K symbols of a level.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from toolgen.codebook import Codebook, Encode
from toolgen.embeddings import Embed, Vectors
from toolgen.errors import InputError
from toolgen.indexing.clustering import Labels, fill, means, nearest, one_thread, principal
from toolgen.indexing.options import check_at_least, settle
from toolgen.indexing.symbols import digit, numbered, value_of
from toolgen.tools import ToolCatalog

Code = tuple[int, ...]
"""Number of the centroid at each level."""

_DIMENSIONS = 48
_TOOLS_A_DIMENSION = 8


@dataclass(frozen=True)
class LevelUsage:
    """How evenly a level's symbols are used.

    Attributes:
        symbols: How many are used.
        bits: Entropy of the symbol over the tools.
        share: Of the bits that equal use of all the level's symbols would give.
    """

    symbols: int
    bits: float
    share: float


def level_usage(book: Codebook) -> tuple[LevelUsage, ...]:
    """How evenly a residual codebook uses the symbols of each level, disambiguating symbols left out."""
    most = log2(book.options["size"])
    levels = []
    for level in range(book.options["levels"]):
        counts = Counter(code[level] for code in book.codes.values())
        shares = [count / len(book.codes) for count in counts.values()]
        bits = -sum(share * log2(share) for share in shares)
        levels.append(LevelUsage(len(counts), bits, bits / most if most else 1.0))
    return tuple(levels)


def build(
    catalog: ToolCatalog,
    *,
    encode: Encode,
    disambiguate: bool,
    base: Codebook | None,
    embed: Embed,
    levels: int | None = None,
    size: int | None = None,
    spread: bool | None = None,
    seed: int | None = None,
) -> Codebook:
    """Quantise the documents; see ``toolgen.indexing.build`` for the other arguments (``encode`` has no say here).

    With ``disambiguate`` the second tool of a code gets the new last symbol ``<<#2>>``, the third ``<<#3>>``, and so
    on; all codes share these few symbols. A tool added to a base gets at each level the nearest of the centroids,
    which are made again from the base's tools.

    Args:
        levels: Symbols a code; 3 unless told.
        size: New symbols a level, a power of two. By default the smallest whose square is the number of tools or more:
            two symbols have room for every tool, and the third tells neighbours apart (256 for ToolGen's 47 thousand,
            as in TIGER). Cut to the number of distinct documents, so that every symbol can be used.
        spread: Where documents would have all symbols in common, give each the nearest last symbol that is free. On
            unless told. Off: they fall together, as in TIGER.
        seed: Of the first centroids; 0 unless told.

    Raises:
        CollisionError: Two tools fall together and ``disambiguate`` is off.
        InputError: An option is out of its range, or the base was built otherwise.
    """
    levels = settle("levels", levels, base, 3)
    size = settle("size", size, base, 2 ** ceil(log2(len(catalog)) / 2))
    spread = settle("spread", spread, base, True)
    seed = settle("seed", seed, base, 0)
    check_at_least("levels", levels, 2, "One symbol a tool is what --scheme atomic gives.")
    if size < 1 or size.bit_count() > 1:
        raise InputError(f"size is {size}, but a level has a power of two of symbols. Give 64, 128 or 256, say.")
    vectors_ND = embed([tool.document() for tool in catalog.values()])
    if base is None:
        size = min(size, 2 ** int(log2(len({vector_D.tobytes() for vector_D in vectors_ND}))))
        added = _quantise(catalog, vectors_ND, levels, size, spread, seed)
    else:
        added = _extend(base, catalog, vectors_ND, levels, spread)
    codes = dict(base.codes) if base else {}
    symbols = dict.fromkeys(base.new_symbols if base else ())
    for level in range(levels):
        used = sorted({code[level] for code in added.values()})
        symbols |= dict.fromkeys(_symbol(level, number) for number in used)
    disambiguated = list(base.disambiguated if base else ())
    bearers = Counter(code[:levels] for code in codes.values())
    for tool_id, code in added.items():
        prefix = tuple(_symbol(level, number) for level, number in enumerate(code))
        bearers[prefix] += 1
        codes[tool_id] = prefix
        if disambiguate and bearers[prefix] > 1:
            last = numbered(bearers[prefix])
            symbols[last] = None
            codes[tool_id] = (*prefix, last)
            disambiguated.append(tool_id)
    return Codebook(
        scheme="residual",
        codes={tool_id: codes[tool_id] for tool_id in catalog},
        new_symbols=tuple(symbols),
        catalog_fingerprint=catalog.fingerprint,
        options={"levels": levels, "size": size, "spread": spread, "seed": seed},
        disambiguated=tuple(disambiguated),
    )


@dataclass(frozen=True)
class _Level:
    """The symbols of one level by their numbers, and what they stand for."""

    numbers_K: Labels
    centroids_KD: Vectors


def _quantise(
    catalog: ToolCatalog, vectors_ND: Vectors, levels: int, size: int, spread: bool, seed: int
) -> dict[str, Code]:
    if size > 1:
        vectors_ND = _reduced(vectors_ND, vectors_ND)
    centroids = _train(vectors_ND, levels, size, seed)
    numbers = [_Level(np.arange(size), centroids_KD) for centroids_KD in centroids]
    return dict(zip(catalog, _encode(vectors_ND, numbers, (), spread), strict=True))


def _train(vectors_ND: Vectors, levels: int, size: int, seed: int) -> list[Vectors]:
    """Centroids of each level, [K, D]."""
    if size == 1:
        return [np.zeros((1, vectors_ND.shape[1]), dtype=np.float32)] * levels
    with one_thread() as faiss:
        quantiser = faiss.ResidualQuantizer(vectors_ND.shape[1], levels, size.bit_length() - 1)
        quantiser.train_type = faiss.ResidualQuantizer.Train_default
        # Wider beams take symbols that fit together rather than the nearest, coarse to fine, and use them less evenly.
        quantiser.max_beam_size = 1
        quantiser.cp.seed = seed
        quantiser.cp.niter = 25
        quantiser.cp.min_points_per_centroid = 1
        quantiser.cp.max_points_per_centroid = len(vectors_ND)
        quantiser.train(np.ascontiguousarray(vectors_ND))
        centroids = faiss.vector_to_array(quantiser.codebooks)
    return list(centroids.reshape(levels, size, -1))


def _extend(base: Codebook, catalog: ToolCatalog, vectors_ND: Vectors, levels: int, spread: bool) -> dict[str, Code]:
    """Codes of the tools that join a base, from centroids that are made again from the tools that it has."""
    known = np.array([catalog.position(tool_id) for tool_id in base.codes])
    added = [tool_id for tool_id in catalog if tool_id not in base.codes]
    if not added:
        return {}
    codes_NL = np.array([[value_of(symbol) for symbol in code[:levels]] for code in base.codes.values()])
    if base.options["size"] > 1:
        vectors_ND = _reduced(vectors_ND, vectors_ND[known])
    rest_ND = vectors_ND[known]
    centroids = []
    for codes_N in codes_NL.T:
        numbers_K, labels_N = np.unique(codes_N, return_inverse=True)
        centroids.append(_Level(numbers_K, means(rest_ND, labels_N, len(numbers_K))))
        rest_ND = rest_ND - centroids[-1].centroids_KD[labels_N]
    joining_ND = vectors_ND[[catalog.position(tool_id) for tool_id in added]]
    taken = set(map(tuple, codes_NL.tolist()))
    return dict(zip(added, _encode(joining_ND, centroids, taken, spread), strict=True))


def _encode(vectors_ND: Vectors, levels: Sequence[_Level], taken: Collection[Code], spread: bool) -> list[Code]:
    """The nearest symbol of each level in turn; with ``spread`` the nearest free one of the last."""
    codes: list[Code] = [()] * len(vectors_ND)
    rest_ND = vectors_ND
    for level in levels[: -1 if spread else None]:
        labels_N = nearest(rest_ND, level.centroids_KD).labels_NK[:, 0]
        codes = [(*code, int(level.numbers_K[label])) for code, label in zip(codes, labels_N, strict=True)]
        rest_ND = rest_ND - level.centroids_KD[labels_N]
    if not spread:
        return codes
    alike: dict[Code, list[int]] = defaultdict(list)
    for number, code in enumerate(codes):
        alike[code].append(number)
    last = levels[-1]
    for prefix, members in alike.items():
        room_K = [(*prefix, number) not in taken for number in last.numbers_K.tolist()]
        chosen = fill(nearest(rest_ND[members], last.centroids_KD, among=len(room_K)), room_K)
        for member, label in zip(members, chosen, strict=True):
            codes[member] = (*prefix, int(last.numbers_K[label]))
    return codes


def _reduced(vectors_ND: Vectors, fitted_on_MD: Vectors) -> Vectors:
    most = max(1, len(fitted_on_MD) // _TOOLS_A_DIMENSION)
    return principal(vectors_ND, fitted_on_MD, min(_DIMENSIONS, most, vectors_ND.shape[1]))


def _symbol(level: int, number: int) -> str:
    return digit("r", level + 1, number, "new")
