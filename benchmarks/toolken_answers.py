"""Answers with tools and without, as operands grow: ToolkenGPT end to end on a decoder that is brought up here.

    python -m toolgen.benchmarks.toolken_answers

The decoder sets up word problems of one and two hops (``arithmetic``). Rows are trained on further problems; then it is
asked new ones with larger and larger operands, once with its tools and once without (the effect that ToolkenGPT shows
on GSM8K-XL, arXiv 2305.11554, section 4.1). Rows that saw operands of up to four digits alone often take the wrong
tool in a second hop of seven or eight digits (0.84 and 0.88 of the answers were right); so they see all sizes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from toolgen.agent.machine import Settings
from toolgen.benchmarks.arithmetic import MOST_DIGITS, STEPS, WordProblem, train_arithmetic_decoder, word_problems
from toolgen.files import read_json, write_json
from toolgen.priors import Prior
from toolgen.terminal import err, out, progress_bar, run_app
from toolgen.toolken.config import TextsConfig, ToolkenConfig
from toolgen.toolken.evaluation import Solver
from toolgen.toolken.texts import write_texts
from toolgen.toolken.toolkens import Toolkens
from toolgen.toolken.training import train_toolkens
from toolgen.tracking import TrackingConfig

TRAINING_DIGITS = tuple(range(1, MOST_DIGITS + 1))
_TRAINING_TEXTS = 2000
_MOST_TOKENS = 160

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Answers:
    """Answers to problems of one size.

    Attributes:
        digits: Of the operands.
        hops: Calls that a solution takes.
        with_tools: Share of right answers.
        without: The same with no tool called.
        executed: Share of the calls that ran.
        problems: Their number.
    """

    digits: int
    hops: int
    with_tools: float
    without: float
    executed: float
    problems: int


def train_rows(decoder: Path, output: Path, seed: int) -> Toolkens:
    """Rows for the four operations, from problems of all sizes."""
    texts = output / "texts.jsonl"
    write_texts(texts, (one.text for one in word_problems(_TRAINING_TEXTS, TRAINING_DIGITS, (1, 2), seed + 1)))
    config = ToolkenConfig(
        output=output,
        model=str(decoder),
        data=TextsConfig(texts=texts, hub="gsm8k", validation=0.2, test=0.2),
        prior=Prior(kind="random", scale="small"),
        seeds=(seed,),
        tracking=TrackingConfig(mode="disabled"),
    )
    return Toolkens.load(train_toolkens(config))


def measure(solver: Solver, problems: Sequence[WordProblem], digits: int, hops: int) -> Answers:
    """Ask problems with tools and without."""
    asked = [one.problem() for one in problems]
    settings = Settings(most_tokens=_MOST_TOKENS)
    with progress_bar(f"{digits} digits, {hops} hops") as progress:
        on = solver.solve(asked, tools=True, settings=settings, progress=progress)
        off = solver.solve(asked, tools=False, settings=settings)
    calls = [call.executed for one in on for call in one.transcript.calls]
    return Answers(
        digits,
        hops,
        sum(one.right for one in on) / len(on),
        sum(one.right for one in off) / len(off),
        sum(calls) / max(1, len(calls)),
        len(on),
    )


@app.command()
def main(
    output: Annotated[Path, typer.Option("--out", help="Folder of decoder, rows and figures.")] = Path(
        "runs/toolken/answers"
    ),
    count: Annotated[int, typer.Option(min=1, help="Problems of each size and number of hops.")] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Of the decoder's training.")] = STEPS,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
) -> None:
    """Bring up a decoder, train tool rows beside it, and ask it problems with and without tools.

    The decoder is kept: a second run uses it. Writes answers.json.
    """
    decoder = output / f"decoder-{steps}-{seed}"
    if not (decoder / "tokenizer.json").exists():
        train_arithmetic_decoder(decoder, steps=steps, seed=seed)
    rows = train_rows(decoder, output / "rows", seed)
    solver = Solver(rows, rows.load_base())
    found = []
    for hops in (1, 2):
        for digits in range(1, MOST_DIGITS + 1):
            # Another source of chance than training's; what the decoder read is as good as never the same.
            problems = word_problems(count, (digits,), (hops,), 1000 * (seed + 1) + 10 * digits + hops)
            found.append(measure(solver, problems, digits, hops))
    table = Table("digits", "hops", "with tools", "without", "calls that ran", "problems")
    for one in found:
        shares = (f"{share:.2f}" for share in (one.with_tools, one.without, one.executed))
        table.add_row(str(one.digits), str(one.hops), *shares, str(one.problems))
    out.print(table)
    told = {"training": read_json(output / "rows" / "report.json")["test"], "answers": [asdict(one) for one in found]}
    write_json(output / "answers.json", told)
    err.print(f"figures written to {output / 'answers.json'}", markup=False)


if __name__ == "__main__":
    run_app(app)
