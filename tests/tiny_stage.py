"""A stage of seconds on the tiny model, for the tests that need a whole run."""

from pathlib import Path

from toolgen.stages import memorization
from toolgen.training import TrainingConfig


def stage_one(
    files: dict[str, Path], tiny_base: Path, output: Path, **changes: object
) -> memorization.MemorizationConfig:
    """Configuration of stage 1 on the thirty tools of ``conftest``; ``changes`` replaces keys."""
    values: dict[str, object] = {
        "model": str(tiny_base),
        "tools": files["tools"],
        "codebook": files["codebook"],
        "output": output,
        "tracking": {"mode": "disabled"},
        "abilities": None,
        "training": TrainingConfig(
            epochs=40, batch_size=10, learning_rate=3e-3, precision="fp32", max_length=64, eval_every=0.5
        ),
    }
    return memorization.MemorizationConfig.model_validate(values | changes)
