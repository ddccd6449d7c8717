"""The dashboard's layout, without an account: panels show what comparisons track, runs are those of one comparison."""

import json

import pytest

from toolgen.benchmarks import dashboard
from toolgen.benchmarks.evaluation import REPORTED
from toolgen.errors import InputError


def test_panels_show_what_a_comparison_tracks() -> None:
    pytest.importorskip("wandb_workspaces")
    made = dashboard.layout("someone", "toolgen", "quick")
    assert [section.name for section in made.sections] == ["Quality", "Cost", "Training"]
    tracked = {*REPORTED, "hallucinated", "latency_p50_ms", "tokens_a_tool", "minutes"}
    assert {*dashboard.QUALITY, *dashboard.COST} <= tracked
    model = json.loads(made._to_model().model_dump_json())
    (runs,) = model["spec"]["section"]["run_sets"]
    assert [(each["key"]["name"], each["value"]) for each in runs["filters"]["filters"]] == [("group", "quick")]
    assert runs["grouping"] == [{"section": "config", "name": "method.value"}]


def test_without_a_key_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "has_key", lambda: False)
    with pytest.raises(InputError, match="wandb sync"):
        dashboard.dashboard("someone", "quick")
