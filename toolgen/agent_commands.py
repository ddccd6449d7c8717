"""``toolgen agent`` and ``toolgen agent-eval``: an agent at work, and measured. Knows the terminal; the work is done in
``agent``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.terminal import err, out, progress_bar, visible

if TYPE_CHECKING:
    from toolgen.agent.environment import Environment
    from toolgen.agent.evaluation.episodes import Figures
    from toolgen.agent.evaluation.evaluate import Evaluation
    from toolgen.agent.load import AgentSettings
    from toolgen.agent.loop import Agent, Outcome, Turn

Checkpoint = Annotated[Path, typer.Option(help="Folder that the agent's stage wrote.")]
ToolsFrom = Annotated[
    Literal["model", "bm25"],
    typer.Option(help="Who finds tools: the model's own tool tokens, or BM25, among whose hits the model chooses."),
]
Hits = Annotated[int, typer.Option(min=1, help="Tools that BM25 finds.")]
Turns = Annotated[int, typer.Option(min=1, help="Calls of an episode, the finishing one included.")]
Tokens = Annotated[int, typer.Option(min=1, help="Tokens that the model may say in an episode.")]
Attempts = Annotated[int, typer.Option(min=1, help="ReAct@N: episodes until one ends with an answer, at most.")]
Constrained = Annotated[
    bool,
    typer.Option("--constrained/--unconstrained-tools", help="Whether only tools of the catalogue can be named."),
]
Written = Annotated[
    Literal["schema", "free"], typer.Option(help="Arguments under the tool's schema, or looked over when written.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: CUDA when there is one).")]


def agent_command(
    query: Annotated[str, typer.Argument(help="What you want done.")],
    checkpoint: Checkpoint,
    env: Annotated[str, typer.Option(help="What calls run in: aws, simulated in memory.")] = "aws",
    services: Annotated[
        str | None, typer.Option(help="Only these services, separated by commas: s3,sqs (default: the checkpoint's).")
    ] = None,
    tools_from: ToolsFrom = "model",
    hits: Hits = 5,
    turns: Turns = 16,
    tokens: Tokens = 2048,
    attempts: Attempts = 1,
    constrained: Constrained = True,
    arguments: Written = "schema",
    device: Device = None,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the episode as JSON.")] = None,
) -> None:
    """Let an agent do something, and watch: what it thinks, which tool it takes with which arguments, what comes back.

    AWS is simulated in memory: an empty account, no network. Every call is valid under its tool's schema, and no tool
    can be named that there is not.

    Example: toolgen agent --checkpoint runs/agent/final --env aws "Create a bucket named amber-river."
    """
    from toolgen.agent.environments.aws import AwsEnvironment
    from toolgen.agent.evaluation.episodes import outcome_record
    from toolgen.agent.load import load_agent

    if env != "aws":
        raise InputError(f"There is no environment {env!r}. The only one here is aws.")
    if not query.strip():
        raise InputError("The query is blank. Say what you want done.")
    groups = None if services is None else [name.strip() for name in services.split(",") if name.strip()]
    if groups is not None and not groups:
        raise InputError("--services names no service. Give names separated by commas, such as --services s3,sqs.")
    settings = _settings(tools_from, hits, turns, tokens, attempts, constrained, arguments)
    with err.status("Loading the agent"):
        loaded = load_agent(checkpoint, settings, groups=groups, device=device)
    with AwsEnvironment(loaded.tools) as environment:
        done = _watch(loaded.agent, query, environment, attempts)
    if output is not None:
        write_json(output, outcome_record(done))
        err.print(f"episode written to {output}", markup=False)


def agent_eval_command(
    checkpoint: Checkpoint,
    tasks: Annotated[Path, typer.Option(help="Tasks of toolgen tasks aws: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Folder of the results: new, or one to go on with.")],
    tools_from: ToolsFrom = "model",
    hits: Hits = 5,
    turns: Turns = 16,
    tokens: Tokens = 2048,
    attempts: Attempts = 1,
    constrained: Constrained = True,
    arguments: Written = "schema",
    limit: Annotated[int | None, typer.Option(min=1, help="So many tasks, drawn by the seed (default: all).")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawn tasks, of later attempts, and of the intervals.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own model.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Episodes in lockstep in each; each takes an account.")] = 8,
    device: Device = None,
) -> None:
    """Measure an agent on tasks by the state that it leaves in the account.

    Writes DIR/episodes.jsonl, a line a task as soon as it is done, and DIR/figures.json. What is finished is kept: the
    same command goes on where it stopped. Tasks whose episode is missing count as failures.

    Example: toolgen agent-eval --checkpoint runs/agent/final --tasks test.jsonl.gz --out runs/agent/test

    What the constraints are worth: --unconstrained-tools, --arguments free. A retriever in front: --tools-from bm25.
    """
    from toolgen.agent.evaluation.evaluate import evaluate_agent

    settings = _settings(tools_from, hits, turns, tokens, attempts, constrained, arguments, seed)
    with progress_bar("Running episodes") as progress:
        evaluation = evaluate_agent(
            checkpoint,
            tasks,
            output,
            settings,
            limit=limit,
            seed=seed,
            workers=workers,
            batch=batch,
            device=device,
            progress=progress,
        )
    out.print(_table(evaluation))
    for task, reason in list(evaluation.missing.items())[:5]:
        err.print(f"missing: {task}: {visible(reason)}", markup=False)
    err.print(f"episodes and figures written to {output}", markup=False)


def _settings(
    tools_from: Literal["model", "bm25"],
    hits: int,
    turns: int,
    tokens: int,
    attempts: int,
    constrained: bool,
    arguments: Literal["schema", "free"],
    seed: int = 0,
) -> "AgentSettings":
    from toolgen.agent.load import AgentSettings
    from toolgen.agent.loop import Attempts, Budget
    from toolgen.benchmarks.bm25 import BM25Retriever

    return AgentSettings(
        retriever=BM25Retriever if tools_from == "bm25" else None,
        hits=hits,
        constrained=constrained,
        arguments=arguments,
        budget=Budget(turns=turns, tokens=tokens),
        attempts=Attempts(attempts, seed=seed),
    )


def _watch(agent: "Agent", query: str, environment: "Environment", attempts: int) -> "Outcome":
    """An episode as ``Agent.run`` has it, printed as it happens."""
    from toolgen.agent.loop import Episode, Outcome

    said = 0
    for number in range(attempts):
        if attempts > 1:
            out.print(f"attempt {number + 1}")
        environment.reset()
        episode = Episode(agent, query, environment, number)
        turns = tuple(_printed(episode.stream()))
        said += episode.said
        if turns[-1].ended == "answer":
            break
    return Outcome(query, turns, tuple(episode.text.ids), said, number + 1)


def _printed(turns: "Iterable[Turn]") -> "Iterator[Turn]":
    for number, turn in enumerate(turns, start=1):
        for line in turn_lines(number, turn):
            out.print(line, soft_wrap=True)
        yield turn


def turn_lines(number: int, turn: "Turn") -> list[Text]:
    """A turn for the terminal. What a model or an environment wrote is shown without markup and control characters."""
    from toolgen.agent.documents import cut
    from toolgen.agent.environment import Status
    from toolgen.agent.turns import FINISH, LONGEST_OBSERVATION

    lines = []
    if turn.thought:
        lines.append(Text.assemble((f"{number:>2}  ", "dim"), (visible(turn.thought), "italic")))
    if turn.tool is not None and turn.tool != FINISH.id:
        written = "" if turn.written is None else visible(turn.written.text)
        lines.append(Text.assemble("    ", (visible(turn.tool), "bold cyan"), " ", written))
    if (seen := turn.observation) is not None:
        style = "green" if seen.status is Status.OK else "yellow"
        lines.append(
            Text.assemble("    ", (seen.status.value, style), " ", visible(cut(seen.content, LONGEST_OBSERVATION)))
        )
    if turn.ended is not None:
        why = {
            "answer": "answer",
            "give_up": "gives up",
            "turns": "its calls are used up",
            "tokens": "its tokens are used up",
            "context": "the model's context is full",
        }[turn.ended]
        lines.append(Text.assemble((why, "bold green" if turn.ended == "answer" else "bold yellow")))
        if turn.answer:
            lines[-1].append(f" {visible(turn.answer)}", style="default")
    return lines


def _table(evaluation: "Evaluation") -> Table:
    table = Table(title_justify="left")
    table.add_column("")
    for kind in evaluation.kinds:
        table.add_column(kind, justify="right")
    columns = [_cells(figures) for figures in evaluation.kinds.values()]
    for name in columns[0]:
        table.add_row(name, *(cells[name] for cells in columns))
    return table


def _cells(figures: "Figures") -> dict[str, str]:
    def mean(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    return {
        "tasks": f"{figures.tasks:,}",
        "without an episode": f"{figures.missing:,}",
        "success": f"{figures.success:.1%}",
        "  95% interval": f"{figures.low:.1%} to {figures.high:.1%}",
        "required calls": f"{figures.calls:.1%}",
        "  with their arguments": f"{figures.arguments:.1%}",
        "calls": f"{figures.made:,}",
        "  of tools that do not exist": f"{figures.hallucinated:,} ({figures.hallucinated_a_call:.1%})",
        "  with invalid arguments": f"{figures.invalid:,} ({figures.invalid_a_call:.1%})",
        "turns": mean(figures.turns),
        "tokens": mean(figures.tokens),
        "ended": "\n".join(f"{how} {count:,}" for how, count in figures.ended.items()),
    }
