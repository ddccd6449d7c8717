"""The dashboard of a comparison in the tracker: which panels stand where, laid out by wandb-workspaces. Knows the names
under which ``compare`` tracks figures; no results.

    python -m toolgen.benchmarks.dashboard --entity ENTITY --group quick

Needs an account: what was tracked offline is uploaded by `wandb sync` first.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from toolgen.errors import InputError, require
from toolgen.terminal import out, run_app
from toolgen.tracking import TrackingConfig, has_key

app = typer.Typer(add_completion=False)

QUALITY = ("ndcg@5", "ndcg@1", "recall@5", "hallucinated")
COST = ("latency_p50_ms", "tokens_a_tool", "minutes")
CURVES = {
    "memorization": ("loss", "ndcg@5"),
    "retrieval": ("loss", "ndcg@5"),
    "bi-encoder": ("ndcg@5",),
}
"""Stage -> what is tracked along its steps."""


def layout(entity: str, project: str, group: str) -> Any:
    """The workspace, not saved: quality and cost a method, curves a stage, runs of one comparison only.

    Args:
        entity: User or team.
        project: As in ``TrackingConfig``.
        group: Name of the comparison.

    Raises:
        MissingPackageError: wandb-workspaces is not installed.
    """
    ws = require("wandb_workspaces.workspaces", purpose="The dashboard", pip_name="wandb-workspaces")
    wr = require("wandb_workspaces.reports.v2", purpose="The dashboard", pip_name="wandb-workspaces")
    expr = require("wandb_workspaces.expr", purpose="The dashboard", pip_name="wandb-workspaces")

    def bars(measures: Sequence[str]) -> list[Any]:
        return [wr.BarPlot(title=name, metrics=[name], groupby="method", max_runs_to_show=50) for name in measures]

    quality = [*bars(QUALITY), wr.ScatterPlot(title="quality against latency", x="latency_p50_ms", y="ndcg@5")]
    quality.append(wr.ScatterPlot(title="quality against length", x="tokens_a_tool", y="ndcg@5"))
    curves = [
        wr.LinePlot(title=f"{stage}: {figure}", x=f"{stage}/step", y=[f"{stage}/{figure}"])
        for stage, figures in CURVES.items()
        for figure in figures
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{group}: schemes and baselines",
        sections=[
            ws.Section(name="Quality", panels=quality, is_open=True),
            ws.Section(name="Cost", panels=bars(COST), is_open=True),
            ws.Section(name="Training", panels=curves, is_open=True),
        ],
        runset_settings=ws.RunsetSettings(filters=[expr.Metric("group") == group], groupby=[expr.Config("method")]),
    )


@app.command()
def dashboard(
    entity: Annotated[str, typer.Option(help="User or team that the project belongs to.")],
    group: Annotated[str, typer.Option(help="Name of the comparison.")],
    project: Annotated[str, typer.Option(help="Project that it was tracked in.")] = TrackingConfig().project,
) -> None:
    """Lay out a dashboard of a comparison's runs and print its address."""
    if not has_key():
        raise InputError(
            "No key of wandb is configured, and a dashboard is saved in an account. Set WANDB_API_KEY or run `wandb "
            "login`; then `wandb sync` what was tracked offline, and give this command again."
        )
    out.print(layout(entity, project, group).save().url, markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_app(app)
