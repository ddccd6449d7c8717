"""Fakes for all tests: a small catalogue, queries, a tiny base model with a tokenizer of its own, and a checkpoint."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import settings

# A console keeps the width it is made with where COLUMNS is set, as pytest-xdist does; here every command sets its own.
os.environ.pop("COLUMNS", None)

from toolgen.benchmarks.tiny import save_tiny_base, tiny_catalog, tiny_queries
from toolgen.queries import Query, write_queries
from toolgen.tools import ToolCatalog

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A loaded machine must fail no property test: examples are bounded in number, not in time.
settings.register_profile("toolgen", deadline=None)
settings.load_profile("toolgen")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep embeddings out of the user's cache."""
    os.environ["TOOLGEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def catalog() -> ToolCatalog:
    """Thirty tools: five verbs on six nouns."""
    return tiny_catalog()


@pytest.fixture(scope="session")
def queries(catalog: ToolCatalog) -> list[Query]:
    """One query a tool."""
    return tiny_queries(catalog)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog) -> Path:
    """A random Llama of two layers and a byte-level BPE trained on the catalogue, saved as a base model."""
    folder = tmp_path_factory.mktemp("tiny") / "base"
    save_tiny_base(folder, [tool.document() for tool in catalog.values()])
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog, tiny_base: Path) -> Path:
    """The tiny base extended by atomic codes, as a checkpoint that no stage has trained. Not to be changed."""
    from toolgen.base import load_base
    from toolgen.checkpoint import Artefacts, publish, write_model
    from toolgen.indexing import build
    from toolgen.tokenizer import encode_text, end_token_id
    from toolgen.vocabulary import extend

    base = load_base(str(tiny_base))
    encode = lambda text: encode_text(base.tokenizer, text)  # noqa: E731
    book = build("atomic", catalog, encode=encode, end_id=end_token_id(base.tokenizer))
    extended = extend(base.model, base.tokenizer, book)
    artefacts = Artefacts(extended.tokenizer, catalog, book, extended.codes, "plain", "tiny")
    folder = tmp_path_factory.mktemp("untrained") / "final"
    publish(folder, lambda target: write_model(target, extended.model, artefacts))
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


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A text of its own, most of it to train on."""
    words = "the quick brown fox jumps over a lazy dog while seven wise owls watch from their tree".split()
    draw = random.Random(0)
    documents = [" ".join(draw.choices(words, k=60)) for _ in range(120)]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(documents))
    return path
