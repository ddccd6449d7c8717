"""``toolgen plan`` beside the truth: what it foresees, and what processes took that made the steps.

Every cell is a process of its own, on the CPU. It makes a tiny step first, so that libraries have their code and
threads in memory, then notes what it holds, makes real steps with the library's own plan, batches, loss and optimiser
groups, and tells its peak beyond that. glibc is told to give freed memory back at once (``ALLOCATOR``), so that what a
process holds is what is alive; users need not do so, their processes keep some of what was freed. Linux only.
"""

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from toolgen.planner import PLANS, Settings, predict
from toolgen.plans import TrainPlan, prepare
from toolgen.terminal import out, progress_bar
from toolgen.training import CodeCollator, TrainingConfig, answer_logits, code_loss, parameter_groups

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}

STEPS = 2
"""The optimiser's state is made by the first step, so the second has all."""


@dataclass(frozen=True)
class Case:
    """A model and how it is trained.

    Attributes:
        model: Its ``config.json``.
        tools: New rows.
        batch: Examples a step.
        length: Tokens of the longest.
    """

    model: Mapping[str, Any]
    tools: int
    batch: int
    length: int

    @property
    def config(self) -> PreTrainedConfig:
        """Of the base model."""
        return AutoConfig.for_model(**self.model)


CASES: Mapping[str, Case] = {
    "untied": Case(
        {
            "model_type": "llama",
            "vocab_size": 32_000,
            "hidden_size": 256,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "intermediate_size": 704,
            "tie_word_embeddings": False,
        },
        tools=10_000,
        batch=32,
        length=48,
    ),
    "deep": Case(
        {
            "model_type": "qwen2",
            "vocab_size": 32_000,
            "hidden_size": 384,
            "num_hidden_layers": 12,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "intermediate_size": 1024,
            "tie_word_embeddings": True,
        },
        tools=16_000,
        batch=16,
        length=64,
    ),
    "many tools": Case(
        {
            "model_type": "llama",
            "vocab_size": 128_256,
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 704,
            "tie_word_embeddings": True,
        },
        tools=47_000,
        batch=8,
        length=32,
    ),
}
"""Parts differ: activations lead in the first, layers in the second, the vocabulary in the third."""

TINY = Case({**CASES["untied"].model, "vocab_size": 500, "num_hidden_layers": 2}, tools=20, batch=8, length=16)
"""Brings libraries into memory."""


@dataclass(frozen=True)
class Cell:
    """A figure foreseen and measured, in bytes."""

    case: str
    plan: str
    predicted: int
    measured: int

    @property
    def error(self) -> float:
        """Of the prediction, as a share of the truth."""
        return self.predicted / self.measured - 1


def compare() -> list[Cell]:
    """All cases under all plans, printed as a table."""
    table = Table(title="peak memory of a training step in MB, on the CPU", title_justify="left")
    for heading in ("model", "plan", "predicted", "measured", "error"):
        table.add_column(heading, justify="left" if heading in ("model", "plan") else "right")
    cells = []
    todo = [(name, plan) for name in CASES for plan in PLANS]
    with progress_bar("Making steps") as progress:
        for done, (name, plan) in enumerate(todo, start=1):
            cells.append(compare_one(name, plan))
            progress(done, len(todo))
    for cell in cells:
        table.add_row(
            cell.case, cell.plan, f"{cell.predicted / 1e6:,.0f}", f"{cell.measured / 1e6:,.0f}", f"{cell.error:+.1%}"
        )
    out.print(table)
    return cells


def compare_one(name: str, plan: str) -> Cell:
    """One case under one plan."""
    case = CASES[name]
    settings = Settings(batch=case.batch, length=case.length)
    foreseen = predict(case.config, case.tools, TrainPlan.model_validate({"train": plan}), settings)
    return Cell(name, plan, foreseen.total, measure(case, plan))


def measure(case: Case, plan: str) -> int:
    """Bytes that a process takes for its steps at its peak, model included."""
    done = subprocess.run(
        [sys.executable, "-c", "from toolgen.benchmarks.memory import work; work()"],
        input=json.dumps({"plan": plan, **asdict(case)}),
        env={**os.environ, **ALLOCATOR},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peak: int = json.loads(done.stdout)
    return peak


def work() -> None:
    """Measure in this process, which must be a fresh one: reads a case from stdin, writes bytes to stdout."""
    order = json.loads(sys.stdin.read())
    plan = TrainPlan.model_validate({"train": order.pop("plan")})
    _make_steps(TINY, plan)
    gc.collect()
    before = _resident("VmRSS")
    _make_steps(Case(**order), plan)
    sys.stdout.write(json.dumps(_resident("VmHWM") - before))


def _make_steps(case: Case, plan: TrainPlan) -> None:
    config = case.config
    base_rows: int = config.vocab_size
    config.vocab_size += case.tools
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    prepare(model, plan, base_rows)
    model.train()
    training = TrainingConfig()
    optimizer = torch.optim.AdamW(parameter_groups(model, training), lr=training.learning_rate, fused=True)
    # Prompts of two lengths, as there is padding in most batches; the last token of an answer is not read.
    examples = [
        {"prompt": [1] * (case.length - 1 - row % 2), "answers": [[base_rows + row % case.tools, 2]]}
        for row in range(case.batch)
    ]
    batch = CodeCollator(0)(examples)
    # What the model's making took for a while is not the steps'.
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(STEPS):
        loss = code_loss(answer_logits(model, model, batch), batch["labels"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
