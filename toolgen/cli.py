"""``toolgen ...``: the command line. Knows every room and does no work itself. With ``index``, ``bench`` and
``agent_commands`` the only file of the library that looks at indexing, stages and benchmarks, inside functions only."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from toolgen import __version__
from toolgen.agent_commands import agent_command, agent_eval_command
from toolgen.bench import benches
from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.import_commands import importers
from toolgen.index import indexes
from toolgen.query_commands import makers
from toolgen.retrieve import retrieve
from toolgen.split_commands import check_splits_command, split_command, split_trajectories_command
from toolgen.task_commands import taskers
from toolgen.terminal import err, out, progress_bar, run_app, visible
from toolgen.toolken_commands import toolkens
from toolgen.tools import ToolCatalog

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Language models that hold their tools in their own vocabulary.",
)
catalogs = typer.Typer(no_args_is_help=True, help="Look at a catalogue.")
app.add_typer(importers, name="import")
app.add_typer(catalogs, name="catalog")
app.add_typer(indexes, name="index")
app.add_typer(makers, name="queries")
app.add_typer(benches, name="bench")
app.add_typer(toolkens, name="toolken")
app.add_typer(taskers, name="tasks")
app.command("retrieve")(retrieve)
app.command("split")(split_command)
app.command("split-trajectories")(split_trajectories_command)
app.command("check-splits")(check_splits_command)
app.command("agent")(agent_command)
app.command("agent-eval")(agent_eval_command)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if show:
        out.print(f"toolgen {__version__}")
        raise typer.Exit


@catalogs.command("show")
def show_catalog(
    path: Annotated[Path, typer.Argument(help="Catalogue: .jsonl or .jsonl.gz.")],
    groups: Annotated[int, typer.Option(help="Groups to list.")] = 20,
) -> None:
    """Print a catalogue's statistics: tools, groups, lengths, identical documents, fingerprint."""
    catalog = ToolCatalog.from_jsonl(path)
    figures = catalog.statistics()
    table = Table(title=escape(str(path)), title_justify="left", show_header=False)
    for label, value in (
        ("tools", f"{figures.tools:,}"),
        ("fingerprint", catalog.fingerprint),
        ("sources", ", ".join(f"{name} {count:,}" for name, count in figures.sources.items())),
        ("groups", f"{len(figures.groups):,}"),
        ("without description", f"{figures.without_description:,}"),
        ("document equal to an earlier one's", f"{figures.identical_documents:,}"),
        ("characters a description", f"mean {figures.description_mean:,.0f}, median {figures.description_median:,.0f}"),
        ("parameters a tool", f"mean {figures.parameters_mean:.1f}"),
    ):
        table.add_row(label, escape(value))
    out.print(table)
    listed = list(figures.groups.items())[:groups]
    out.print("largest groups: " + ", ".join(f"{name} {count:,}" for name, count in listed), markup=False)


@catalogs.command("add-finish")
def add_finish(
    path: Annotated[Path, typer.Argument(help="Catalogue: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Catalogue to write.")],
) -> None:
    """Add Finish, the tool with which an agent's episodes end, to a catalogue.

    An agent needs it from the first stage on: it has a code like any other tool.

    Example: toolgen catalog add-finish tools.jsonl --out agent-tools.jsonl
    """
    from toolgen.agent.turns import FINISH

    catalog = ToolCatalog.from_jsonl(path)
    if FINISH.id in catalog:
        raise InputError(f"{path} has the tool {FINISH.id!r} already. Use it as it is.")
    ToolCatalog([*catalog.values(), FINISH]).to_jsonl(output)
    err.print(f"{len(catalog) + 1:,} tools written to {output}", markup=False)


@app.command("eval")
def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="Folder that a stage wrote.")],
    queries: Annotated[Path, typer.Option(help="Labelled queries: .jsonl or .jsonl.gz.")],
    split: Annotated[str | None, typer.Option(help="Only the queries of this split.")] = None,
    baselines: Annotated[str, typer.Option(help="Separated by commas: bm25, dense; '' for none.")] = "",
    dense_model: Annotated[str, typer.Option(help="Encoder of the dense baseline.")] = "embedded",
    dense_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of a document that dense reads; fewer often serve it better."),
    ] = None,
    dense_title: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a tool's title beside its document in dense's vectors.")
    ] = 0.0,
    beams: Annotated[int | None, typer.Option(help="Beam width for codes of several tokens.")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="Also write the figures as JSON.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ... (default: CUDA when there is one).")] = None,
) -> None:
    """Measure a checkpoint on labelled queries, beside baselines over the same documents.

    Example: toolgen eval --checkpoint DIR --queries test.jsonl --baselines bm25,dense --out figures.json
    """
    from toolgen.benchmarks.baselines import make_baseline
    from toolgen.benchmarks.evaluation import evaluate_retrievers
    from toolgen.generative import GenerativeRetriever
    from toolgen.queries import read_queries
    from toolgen.retriever import Retriever

    generative = GenerativeRetriever.load(checkpoint, device=device, beams=beams)
    catalog = generative.artefacts.catalog
    labelled = read_queries(queries, catalog, split)
    methods: list[Retriever] = [generative]
    for name in (name.strip() for name in baselines.split(",") if name.strip()):
        methods.append(make_baseline(name, catalog, dense_model, dense_tokens, dense_title))
    with progress_bar("Evaluating") as progress:
        evaluation = evaluate_retrievers(methods, labelled, catalog, progress=progress)
    out.print(evaluation.table())
    if output is not None:
        write_json(output, evaluation.to_json())
        err.print(f"figures written to {output}", markup=False)


@app.command("export")
def export_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="A stage's checkpoint, or a run's folder.")],
    output: Annotated[Path, typer.Option("--out", help="Folder to write: new, empty, or an earlier export.")],
    dtype: Annotated[Literal["keep", "fp32", "bf16", "fp16"], typer.Option(help="Of the weights.")] = "keep",
) -> None:
    """Write any checkpoint as a plain folder: model, tokenizer, tools and codes, nothing of the trainer.

    Plain transformers load it. Of a run's folder the final checkpoint is taken, else the newest intermediate one that
    is as it was written: every file is compared with its digest first.

    Example: toolgen export runs/quickstart/retrieval --out my-model --dtype bf16
    """
    from toolgen.export import export

    with err.status("Exporting"):
        done = export(checkpoint, output, dtype)
    for reason in done.source.passed_over:
        err.print(f"Passed over: {visible(reason)}", markup=False)
    out.print(
        f"exported {done.source.folder} to {done.folder}: {done.tools:,} tools, {done.parameters:,} weights in "
        f"{done.dtype}, {done.size / 1e6:,.1f} MB",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def plan(
    model: Annotated[str, typer.Option(help="embedded, a folder, a name on the hub, or a config.json.")],
    tools: Annotated[int, typer.Option(min=1, help="New rows: one a tool under atomic codes.")],
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of a node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    zero: Annotated[int, typer.Option(min=0, max=3, help="DeepSpeed's ZeRO stage; 0: without DeepSpeed.")] = 0,
    offload: Annotated[bool, typer.Option("--offload", help="Optimiser, and under ZeRO-3 weights, on the host.")] = (
        False
    ),
    batch: Annotated[int, typer.Option(min=1, help="Examples that a GPU takes at once.")] = 8,
    accumulation: Annotated[int, typer.Option(min=1, help="How often it does so before a step is made.")] = 1,
    length: Annotated[int, typer.Option(min=2, help="Tokens of an example.")] = 64,
    labels: Annotated[int, typer.Option(min=1, help="Tokens of it that are learnt: the code and its end.")] = 2,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute layers twice instead of keeping what they made.")
    ] = False,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Numbers that are computed with.")] = "bf16",
    memory: Annotated[
        float | None, typer.Option(min=1, help="GB of a GPU (default: of the one here, else 80).")
    ] = None,
) -> None:
    """Foresee what training takes of each GPU's memory, before there is any GPU.

    Nothing is loaded or allocated: a step is made with tensors that have shapes and no content, for each of the three
    plans: full (every weight trains), rows+lora (the new rows and adapters), rows (the new rows alone). Where a plan
    does not fit, a line says what to change.

    Example: toolgen plan --model meta-llama/Llama-3.1-8B --tools 47000 --gpus 8 --zero 3 --batch 16 --memory 80

    The options are those of a stage: --batch is training.micro_batch_size, --length training.max_length,
    --checkpointing training.gradient_checkpointing, --zero and --offload the file named by training.deepspeed.
    """
    import torch

    from toolgen.base import load_architecture
    from toolgen.planner import PLANS, Planner, Settings
    from toolgen.plans import TrainPlan

    settings = Settings(
        gpus=gpus * nodes,
        zero=zero,
        offload=offload,
        batch=batch,
        accumulation=accumulation,
        length=length,
        labels=labels,
        checkpointing=checkpointing,
        precision=precision,
    )
    if memory is None:
        memory = torch.cuda.mem_get_info()[1] / 1e9 if torch.cuda.is_available() else 80
    planner = Planner(load_architecture(model), tools)
    # Eighty columns are just enough.
    table = Table(
        title=f"GB at the peak, on each GPU; it has {memory:,.3g}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0),
    )
    headings = ("weights", "gradients", "optimizer", "activations", "logits", "other", "total")
    for heading in ("plan", *headings, "fits"):
        table.add_column(heading, justify="left" if heading == "plan" else "right", no_wrap=True)
    trained: list[str] = []
    advice: list[str] = []
    with err.status("Making a step of each plan without numbers"):
        for name in PLANS:
            train_plan = TrainPlan.model_validate({"train": name})
            done = planner.predict(train_plan, settings)
            fits = done.fits(memory * 1e9)
            parts = (f"{getattr(done, heading) / 1e9:,.2f}" for heading in headings)
            table.add_row(name, *parts, "yes" if fits else "no")
            trained.append(f"{name} {done.trained / 1e6:,.1f}")
            if done.host:
                advice.append(f"{name} takes {done.host / 1e9:,.1f} GB of the host's memory for each GPU.")
            if not fits:
                advice.append(planner.advise(train_plan, settings, memory * 1e9))
    out.print(table)
    for line in (f"Weights that train, in millions: {', '.join(trained)}.", *advice):
        out.print(line, markup=False)


@app.command()
def compare(
    config: Annotated[Path, typer.Option(help="YAML file; see configs/benchmarks/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="e.g. data.most_test=500 grid.schemes=[atomic]")
    ] = None,
) -> None:
    """Compare indexing schemes, priors and plans with each other and with all baselines, on one set of splits.

    Every cell of the grid is trained by one recipe and measured on the test split, beside baselines that search the
    same documents. Ablations and further seeds are those of the cell that is best on the validation split. What is
    finished is kept: the same command goes on where it stopped. Splits that share near-duplicate queries, tools or
    groups are refused, with the evidence.

    Writes leaderboard.json, a result a cell and one tracked run a cell into runs/compare/NAME.

    Example: toolgen compare --config configs/benchmarks/quick.yaml
    """
    from toolgen.benchmarks.compare import compare as run_comparison
    from toolgen.benchmarks.grid import CompareConfig
    from toolgen.config import load_config

    run_comparison(load_config(CompareConfig, config, overrides or ()))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a comparison: runs/compare/NAME.")],
    output: Annotated[Path | None, typer.Option("--out", help="Page to write [DIR/report.html].")] = None,
    browsed: Annotated[int, typer.Option(min=1, help="The most queries in the error browser.")] = 3000,
) -> None:
    """Write what `toolgen compare` found as one HTML file, which needs no network.

    Leaderboard with intervals and differences to the best baseline, quality
    against tokens and time, learning curves, kinds of queries, and what each
    method answered. Of an interrupted comparison: what is finished.

    Example: toolgen report runs/compare/quick --out report.html
    """
    from toolgen.benchmarks.report import write_report

    path = output or folder / "report.html"
    with progress_bar("Comparing methods") as progress:
        done = write_report(folder, path, browsed, progress)
    out.print(visible(done.headline()), markup=False)
    if done.unfinished:
        err.print(f"{len(done.unfinished)} of {len(done.results.comparison.planned)} cells are not finished")
    err.print(f"report of {len(done.results.cells)} cells written to {path}", markup=False)


@app.command()
def quickstart(
    output: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run [runs/quickstart; of --agent runs/quickstart-agent]."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Repeat with this many seeds; prints mean and spread.")] = 1,
    agent: Annotated[
        bool, typer.Option("--agent", help="An agent instead: a small decoder learns to act on AWS.")
    ] = False,
) -> None:
    """Train and measure the embedded default: 30 AWS services, atomic codes, no account, no download.

    Imports the catalogue, indexes it, runs memorization and retrieval training, and evaluates beside BM25 and dense
    retrieval on the human-written example titles. Minutes on two cores.

    With --agent a small decoder is made from scratch and learns to act on the services that there are tasks for,
    simulated in memory: documents, queries, then executed tasks. It is measured on new tasks by what it leaves in the
    account, beside controls: without constraints on tools and on arguments, behind BM25, and untrained. An hour or
    more on two cores; the same command goes on where it stopped.
    """
    if agent:
        from toolgen.benchmarks.agent_quickstart import run_agent_quickstart

        if seeds != 1:
            raise InputError(f"--seeds is {seeds}, and --agent trains once. Leave one of the two out.")
        run_agent_quickstart(output or Path("runs/quickstart-agent"))
        return
    from toolgen.benchmarks.quickstart import run_quickstart

    run_quickstart(output or Path("runs/quickstart"), seeds)


def main() -> None:
    """Entry point of the console script."""
    run_app(app)
