"""Rows trained on kept states beside rows trained with the whole model in every step: same texts, order and rows.

    python -m toolgen.benchmarks.toolken_speed --texts DATA/toolken/funcqa_train.jsonl.gz

Both run one after the other in one process, so that the ratio, and not the seconds, is the figure. The whole model
runs without gradients up to its head, as ToolkenGPT's public training does; its head multiplies words and rows.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.table import Table
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.base import load_base
from toolgen.errors import InputError
from toolgen.functions.hub import HUBS
from toolgen.head import Head
from toolgen.priors import Prior
from toolgen.terminal import out, progress_bar, run_app
from toolgen.toolken.fitting import FitConfig, fit_rows
from toolgen.toolken.linearize import Example, replace
from toolgen.toolken.states import text_states
from toolgen.toolken.texts import read_texts
from toolgen.toolken.toolkens import row_ids, start_rows
from toolgen.training import IGNORED

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def train_whole(model: PreTrainedModel, examples: Sequence[Example], start_SD: Tensor, config: FitConfig) -> Tensor:
    """``fit_rows`` with the whole model in every step; one text a step."""
    head = Head(model)
    weight, bias = model.get_output_embeddings().weight.detach(), getattr(model.get_output_embeddings(), "bias", None)
    rows_SD = start_SD.clone().requires_grad_()
    optimizer = torch.optim.Adam([rows_SD], lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    with progress_bar("Training with the whole model") as progress:
        for epoch in range(config.epochs):
            for number in torch.randperm(len(examples), generator=generator).tolist():
                labels_T = torch.tensor(examples[number].labels[1:])
                with torch.no_grad():
                    states_TD = head.states(input_ids=torch.tensor([examples[number].input_ids]), use_cache=False)[0]
                    words_TV = F.linear(states_TD, weight, bias)
                logits = torch.cat([words_TV, states_TD @ rows_SD.T], 1)[:-1]
                loss = F.cross_entropy(logits, labels_T, ignore_index=IGNORED)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            progress(epoch + 1, config.epochs)
    return rows_SD.detach()


@app.command()
def main(
    texts: Annotated[Path, typer.Option(help="Texts with calls: .jsonl or .jsonl.gz.")],
    hub: Annotated[str, typer.Option(help=f"Functions that they call: {', '.join(HUBS)}.")] = "funcqa",
    model: Annotated[str, typer.Option(help="Base model.")] = "embedded",
    most: Annotated[int, typer.Option(min=1, help="Texts: the whole model takes its time.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Of both.")] = 10,
) -> None:
    """Time both ways to train and compare their rows."""
    if hub not in HUBS:
        raise InputError(f"Unknown hub {hub!r}. Choose from {', '.join(HUBS)}.")
    catalog = HUBS[hub]().catalog
    base = load_base(model)
    examples = [replace(text, base.tokenizer, row_ids(base, catalog)) for text in read_texts(texts, catalog)[:most]]
    start_SD = start_rows(Prior(kind="random", scale="small"), base, catalog)
    config = FitConfig(epochs=epochs, keep="last")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache, progress_bar("Running the model once") as progress:
        states = text_states(base.model, examples, 0, cache=Path(cache), progress=progress)
        passed = time.perf_counter()
        kept_SD = fit_rows(states, range(len(examples)), start_SD, config).rows_SD
        fitted = time.perf_counter()
    whole_SD = train_whole(base.model, examples, start_SD, config)
    ended = time.perf_counter()
    table = Table(f"{len(examples)} texts, {len(states.labels_n):,} labels, {epochs} epochs", "seconds", "times faster")
    whole = ended - fitted
    table.add_row("whole model in every step", f"{whole:.1f}", "1.0")
    table.add_row("kept states, with the pass", f"{fitted - began:.1f}", f"{whole / (fitted - began):.1f}")
    table.add_row("kept states, without the pass", f"{fitted - passed:.1f}", f"{whole / (fitted - passed):.1f}")
    out.print(table)
    out.print(f"largest difference of a weight: {float((kept_SD - whole_SD).abs().max()):.1e}")


if __name__ == "__main__":
    run_app(app)
