"""The speed benchmark runs from its command line and measures what it says."""

from pathlib import Path

from typer.testing import CliRunner

from toolgen.benchmarks.tokenizer_speed import app
from toolgen.tools import ToolCatalog


def test_it_prints_base_and_extended_side_by_side(tmp_path: Path, catalog: ToolCatalog) -> None:
    catalog.to_jsonl(tmp_path / "tools.jsonl")
    result = CliRunner().invoke(app, ["--tools", str(tmp_path / "tools.jsonl"), "--repeats", "1"])
    assert result.exit_code == 0, result.output
    assert "30,522 tokens and 30 tool tokens" in result.output
    for label in ("load", "documents at once", "one by one", "ratio"):
        assert label in result.output
