"""Episodes one after another beside episodes that share forwards: the same tasks under the same model, taking turns.

    python -m toolgen.benchmarks.agent_speed

The model is a small Llama of random weights, and whatever is called answers at once: what is measured is the agent.
"""

from functools import partial
from typing import Annotated

import torch
import typer
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from toolgen.agent.arguments import ArgumentWriter
from toolgen.agent.choosing import TokenChooser
from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.loop import Agent, Budget
from toolgen.agent.turns import FINISH, TurnRenderer
from toolgen.benchmarks.speed import random_llama, take_turns
from toolgen.codebook import Codebook
from toolgen.terminal import out, run_app
from toolgen.tokenizer import bind_standalone, end_token_id
from toolgen.tools import Tool, ToolCatalog

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SHAPE = {"hidden_size": 256, "num_hidden_layers": 5, "num_attention_heads": 8, "intermediate_size": 1024}
BATCHES = (1, 4, 16)
NOTED = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 4, "maxLength": 12}},
    "required": ["name"],
}
CATALOG = ToolCatalog([*(Tool(f"note{n}", f"note{n}", "Notes a name.", parameters=NOTED) for n in range(8)), FINISH])


class Notes:
    """Answers every call alike."""

    catalog = CATALOG

    def reset(self) -> None:
        """Nothing is kept."""

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Always the same."""
        return Observation(Status.OK, '{"noted": true}')


def random_agent(device: torch.device) -> Agent:
    """An agent that writes bytes at random."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: id_ for id_, letter in enumerate([*letters, "</s>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    symbols = {tool: (f"<<{tool}>>",) for tool in CATALOG.ids}
    book = Codebook("atomic", symbols, tuple(code[0] for code in symbols.values()), CATALOG.fingerprint)
    codes = bind_standalone(book, tokenizer, end_token_id(tokenizer))
    words = min(codes.new_ids.values())
    model = random_llama(SHAPE, words + len(symbols)).to(device).eval()  # type: ignore[arg-type]
    # No tool that ends an episode: all take their turns.
    chooser = TokenChooser(codes, [tool for tool in CATALOG.ids if tool != FINISH.id])
    renderer = TurnRenderer(tokenizer, CATALOG, codes, "plain", documents=False)
    return Agent(model, tokenizer, renderer, chooser, ArgumentWriter(tokenizer, words), Budget(turns=3, thought=16))


@app.command()
def main(
    episodes: Annotated[int, typer.Option(min=1, help="Of a turn.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Turns that count; one more goes before them.")] = 3,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
) -> None:
    """Time the same episodes at several batches."""
    agent, place = random_agent(torch.device(device)), torch.device(device)

    def work(batch: int) -> list[object]:
        return list(agent.run_all(((f"Note {number}.", Notes()) for number in range(episodes)), batch))

    seconds = take_turns({str(batch): partial(work, batch) for batch in BATCHES}, repeats, place)
    table = Table("batch", "episodes a second", "times faster", title=f"{episodes} episodes")
    for batch, taken in seconds.items():
        table.add_row(batch, f"{episodes / taken:.2f}", f"{seconds['1'] / taken:.1f}")
    out.print(table)


if __name__ == "__main__":
    run_app(app)
