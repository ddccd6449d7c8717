"""Both stages under the deepspeed launcher, two CPU processes, on a tiny model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toolgen.generative import GenerativeRetriever

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles an op on CPU and needs g++"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="this is the CPU path; with CUDA the launcher counts GPUs"),
]


def _launch(script: str, port: int, *overrides: str) -> None:
    command = [
        str(Path(sys.executable).parent / "deepspeed"),
        "--num_gpus=2",
        f"--master_port={port}",
        f"stages/{script}",
        "tracking.mode=disabled",
        "training.precision=fp32",
        "training.batch_size=5",
        *overrides,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]


def test_both_stages_run_in_two_processes(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    output = tmp_path / "memorization"
    _launch(
        "memorization.py",
        29641,
        f"model={tiny_base}",
        f"tools={files['tools']}",
        f"codebook={files['codebook']}",
        f"output={output}",
        f"validation.queries={files['queries']}",
        "training.deepspeed=configs/deepspeed/zero1.json",
        "training.epochs=30",
        "training.learning_rate=3e-3",
    )
    report = json.loads((output / "report.json").read_text())
    assert report["steps"] == 30 * 3, "two processes of 5 examples make one step of 10"
    assert report["train_loss"] < 3
    _launch(
        "retrieval.py",
        29642,
        f"model={output / 'final'}",
        f"output={tmp_path / 'retrieval'}",
        f"queries.path={files['queries']}",
        f"validation.queries={files['queries']}",
        "training.deepspeed=configs/deepspeed/zero3.json",
        "training.epochs=10",
        "training.learning_rate=1e-3",
    )
    retriever = GenerativeRetriever.load(tmp_path / "retrieval" / "final", device="cpu")
    queries = [json.loads(line) for line in files["queries"].read_text().splitlines()]
    answers = retriever.search([query["query"] for query in queries], 1)
    right = sum(hits[0].tool in query["tools"] for hits, query in zip(answers, queries, strict=True))
    assert right >= 0.8 * len(queries)
