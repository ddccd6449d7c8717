"""The generative retriever and its checkpoint, through files and through the command line."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from toolgen.base import load_base
from toolgen.checkpoint import Artefacts, load_model, publish
from toolgen.cli import app
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.indexing import build
from toolgen.manifest import seal
from toolgen.retriever import Retriever
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog
from toolgen.vocabulary import extend

SCHEMES = ("atomic", "numeric", "semantic")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog, tiny_base: Path) -> dict[str, Path]:
    """An untrained checkpoint of each scheme."""
    made = {}
    for scheme in SCHEMES:
        base = load_base(str(tiny_base))
        encode = lambda text, tokenizer=base.tokenizer: encode_text(tokenizer, text)  # noqa: E731
        book = build(scheme, catalog, encode=encode, end_id=end_token_id(base.tokenizer))
        extended = extend(base.model, base.tokenizer, book)
        artefacts = Artefacts(extended.tokenizer, catalog, book, extended.codes, "plain", "tiny")

        def write(folder: Path, extended: object = extended, artefacts: Artefacts = artefacts) -> None:
            extended.model.save_pretrained(folder)  # type: ignore[attr-defined]
            artefacts.save(folder)

        made[scheme] = tmp_path_factory.mktemp(scheme) / "final"
        publish(made[scheme], write)
    return made


@pytest.fixture(scope="module")
def retrievers(folders: dict[str, Path]) -> dict[str, GenerativeRetriever]:
    return {scheme: GenerativeRetriever.load(folder, device="cpu") for scheme, folder in folders.items()}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_tools_come_out_once_when_all_are_asked_for(
    retrievers: dict[str, GenerativeRetriever], scheme: str, catalog: ToolCatalog
) -> None:
    retriever = retrievers[scheme]
    assert isinstance(retriever, Retriever)
    (hits,) = retriever.search(["make a bucket"], len(catalog))
    assert sorted(hit.tool for hit in hits) == sorted(catalog)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True) and all(score < 0 for score in scores)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_score_is_the_log_probability_of_the_code(folders: dict[str, Path], scheme: str) -> None:
    retriever = GenerativeRetriever.load(folders[scheme], device="cpu", beams=30, normalize="vocab")
    codes = dict(zip(retriever.artefacts.codes.tool_ids, retriever.artefacts.codes.sequences, strict=True))
    model = load_model(folders[scheme])
    (prompt,) = retriever.artefacts.renderer.render(["list users"])
    for hit in retriever.search(["list users"], 3)[0]:
        ids = torch.tensor([[*prompt, *codes[hit.tool]]])
        with torch.inference_mode():
            log_p = model(ids).logits[0].log_softmax(-1)
        expected = sum(log_p[at - 1, ids[0, at]].item() for at in range(len(prompt), ids.shape[1]))
        assert hit.score == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=5), st.sampled_from(SCHEMES))
def test_whatever_is_asked_only_tools_of_the_catalogue_come_out(
    retrievers: dict[str, GenerativeRetriever], texts: list[str], scheme: str
) -> None:
    retriever = retrievers[scheme]
    for hits in retriever.search(texts, 5):
        tools = [hit.tool for hit in hits]
        assert len(set(tools)) == 5 and set(tools) <= set(retriever.artefacts.catalog)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_groups_restrict_the_answers(retrievers: dict[str, GenerativeRetriever], scheme: str) -> None:
    (hits,) = retrievers[scheme].search(["make a bucket"], 10, groups=["users", "keys"])
    assert {hit.tool.split(".")[0] for hit in hits} == {"users", "keys"} and len(hits) == 10
    with pytest.raises(InputError, match="at most"):
        retrievers[scheme].search(["make"], 11, groups=["users", "keys"])


def test_batches_change_no_answer(folders: dict[str, Path]) -> None:
    texts = ["make", "list all the users of the account", "delete the queue", "x"]
    one, all_ = (GenerativeRetriever.load(folders["semantic"], device="cpu", batch_size=size) for size in (1, 4))
    for left, right in zip(one.search(texts, 5), all_.search(texts, 5), strict=True):
        assert [hit.tool for hit in left] == [hit.tool for hit in right]
        assert all(math.isclose(a.score, b.score, abs_tol=1e-4) for a, b in zip(left, right, strict=True))


def test_bad_questions_are_refused(retrievers: dict[str, GenerativeRetriever], folders: dict[str, Path]) -> None:
    retriever = retrievers["atomic"]
    with pytest.raises(InputError, match="k is 31"):
        retriever.search(["make"], 31)
    with pytest.raises(InputError, match="number 2 is blank"):
        retriever.search(["make", " "], 1)
    with pytest.raises(InputError, match="No tool belongs"):
        retriever.search(["make"], 1, groups=["nothing"])
    with pytest.raises(InputError, match="context"):
        retriever.search(["bucket " * 200], 1)
    for beams in (0, 31):
        with pytest.raises(InputError, match=f"beams is {beams}. Allowed are 1 to 30"):
            GenerativeRetriever.load(folders["atomic"], beams=beams)
    with pytest.raises(InputError, match="batch_size is 0"):
        GenerativeRetriever.load(folders["atomic"], batch_size=0)
    wide = GenerativeRetriever.load(folders["semantic"], device="cpu", beams=30)
    assert len(wide.search(["list users"], 5, groups=["users"])[0]) == 5, "as wide as what is left"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_plain_transformers_loads_the_folder(folders: dict[str, Path], scheme: str, catalog: ToolCatalog) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders[scheme])
    tokenizer = AutoTokenizer.from_pretrained(folders[scheme])
    assert len(model.get_output_embeddings().weight) >= len(tokenizer)
    for tool in catalog.values():
        ids = tokenizer(f"<<{tool.group}&&{tool.name}>>")["input_ids"]
        new = Artefacts.load(folders[scheme]).codes.new_ids.values() if scheme == "atomic" else ()
        assert not set(ids) & set(new)
        if scheme != "atomic":
            break


def test_parts_that_do_not_belong_together_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for part, other in (("tools.jsonl", "catalog"), ("codebook.json", "codebook")):
        broken = tmp_path / part
        shutil.copytree(folders["atomic"], broken)
        if part == "tools.jsonl":
            lines = (broken / part).read_text().splitlines()
            (broken / part).write_text("\n".join(lines[1:]) + "\n")
        else:
            shutil.copy(folders["numeric"] / part, broken / part)
        with pytest.raises(InputError, match=f"another {other}"):
            Artefacts.load(broken)
    with pytest.raises(InputError, match="not a toolgen checkpoint"):
        Artefacts.load(tmp_path)


def test_unreadable_models_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folders["atomic"] / "model.safetensors")
    faults = {
        "gone": lambda path: path.unlink(),
        "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
        "partial": lambda path: save_file({key: weights[key] for key in weights if "layers.1" not in key}, path),
    }
    for name, spoil in faults.items():
        shutil.copytree(folders["atomic"], tmp_path / name)
        spoil(tmp_path / name / "model.safetensors")
        with pytest.raises(InputError, match="'model.safetensors'.* (is missing|was cut)"):
            GenerativeRetriever.load(tmp_path / name)
        seal(tmp_path / name)
        with pytest.raises(InputError, match="cannot be read|lacks"):
            GenerativeRetriever.load(tmp_path / name)
    with pytest.raises(InputError, match="device 'foo'"):
        GenerativeRetriever.load(folders["atomic"], device="foo")


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "final"
    publish(target, lambda folder: (folder / "a").write_text("first") and None)

    def fail(folder: Path) -> None:
        (folder / "a").write_text("second")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(target, fail)
    assert (target / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def _retrieve(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "toolgen.retrieve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=text, check=False)


def test_the_command_prints_json_for_every_query(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("list users\n\ndelete a key\n")
    arguments = ("--checkpoint", folders["atomic"], "make", "--file", tmp_path / "queries.txt", "-k", 2, "--json")
    done = _retrieve(*arguments)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["query"] for record in records] == ["make", "list users", "delete a key"]
    assert [hit["rank"] for hit in records[0]["tools"]] == [1, 2]
    assert "model" in done.stderr and "total" in done.stderr


def test_a_file_is_answered_window_by_window_in_its_own_order(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{'very ' * (number % 4)}special bucket {number}" for number in range(7)]
    (tmp_path / "queries.txt").write_text("\n".join(lines))
    arguments = ["retrieve", "--checkpoint", str(folders["numeric"]), "--file", str(tmp_path / "queries.txt"), "--json"]
    printed = []
    for window in (1024, 2):
        monkeypatch.setattr("toolgen.retrieve._WINDOW", window)
        done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
        assert done.exit_code == 0, done.output
        printed.append([json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")])
        assert "7 queries" in done.stderr
    assert [record["query"] for record in printed[0]] == lines
    for whole, part in zip(*printed, strict=True):
        assert [hit["tool"] for hit in whole["tools"]] == [hit["tool"] for hit in part["tools"]]


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n  \n", "no query"), (b"make\n\xff\n", "line 2 is not UTF-8 text")]
)
def test_a_file_without_queries_is_refused(
    folders: dict[str, Path], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "queries.txt").write_bytes(content)
    arguments = ["retrieve", "--checkpoint", str(folders["atomic"]), "--file", str(tmp_path / "queries.txt")]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert done.exception is not None and message in str(done.exception)


def test_the_other_normaliser_is_asked_for_by_name(folders: dict[str, Path]) -> None:
    scores = {}
    for normalize in ("vocab", "allowed", None):
        retriever = GenerativeRetriever.load(folders["atomic"], device="cpu", normalize=normalize)
        scores[normalize] = [hit.score for hit in retriever.search(["make a bucket"], 30)[0]]
    assert scores[None] == scores["allowed"], "of one token"
    assert sum(map(math.exp, scores["allowed"])) == pytest.approx(1, abs=1e-4)
    assert all(exact < other for exact, other in zip(scores["vocab"], scores["allowed"], strict=True))
    with pytest.raises(InputError, match="'local'"):
        GenerativeRetriever.load(folders["atomic"], device="cpu", normalize="local")


def test_without_a_query_the_command_asks(folders: dict[str, Path]) -> None:
    done = _retrieve("--checkpoint", folders["atomic"], "--group", "users", "-k", 2, text="list users\n\n")
    assert done.returncode == 0, done.stderr
    assert "users." in done.stdout and "rank" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("make", "-k", 31), "k is 31"),
        (("make", "--group", "nothing"), "No tool belongs"),
        (("--file", "none.txt"), "no such file"),
        (("make", "--group", ","), "names no group"),
        (("make", "--device", "foo"), "device 'foo'"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    folders: dict[str, Path], arguments: tuple[object, ...], message: str
) -> None:
    done = _retrieve("--checkpoint", folders["atomic"], *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
