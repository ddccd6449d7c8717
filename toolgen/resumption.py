"""What a checkpoint holds beside the model so that training goes on exactly: the parameters' training state, and where
the run was. Knows files and tensors; neither the trainer nor when to save.

Nothing in it depends on the number of processes or on ZeRO's stage: every tensor is whole. Random generators have no
state here, because the trainer seeds them at every step from seed, step and rank.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from toolgen.distributed import ParameterState
from toolgen.files import read_json, write_json
from toolgen.version import code_version

STATES = "optimizer"
"""Folder of the parameters' training state, in files of ``SHARD_BYTES`` or a little more."""

POSITION = "resume.json"
WORK = "work.json"
_PREFIX = "checkpoint-"
SHARD_BYTES = 2 << 30


class StateWriter:
    """Writes parameter states one after another; holds no more than one file's worth in memory."""

    def __init__(self, checkpoint: Path) -> None:
        self._folder = checkpoint / STATES
        self._folder.mkdir(parents=True)
        self._pending: dict[str, Tensor] = {}
        self._files = 0

    def add(self, state: ParameterState) -> None:
        """Take one parameter's state."""
        self._pending |= {f"{key}/{state.name}": tensor.contiguous() for key, tensor in state.tensors.items()}
        if sum(tensor.nbytes for tensor in self._pending.values()) >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is still in memory; call it at the end."""
        if self._pending:
            self._files += 1
            save_file(self._pending, self._folder / f"{self._files:05d}.safetensors")
            self._pending = {}


class StateReader:
    """Reads the states that a ``StateWriter`` wrote, by the parameter's name. A context manager."""

    def __init__(self, checkpoint: Path) -> None:
        self._paths = sorted((checkpoint / STATES).glob("*.safetensors"))
        self._open = ExitStack()
        self._where: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        for path in self._paths:
            file = self._open.enter_context(safe_open(path, framework="pt"))
            for stored in file.keys():  # noqa: SIM118  (safe_open is no mapping)
                key, name = stored.split("/", 1)
                self._where.setdefault(name, {})[key] = file
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, name: str) -> Mapping[str, Tensor]:
        """The tensors of one parameter.

        Raises:
            KeyError: The checkpoint does not know the parameter.
        """
        return {key: file.get_tensor(f"{key}/{name}") for key, file in self._where[name].items()}


@dataclass(frozen=True)
class Position:
    """Where a run was when it was saved, beyond transformers' own ``TrainerState``.

    Attributes:
        losses: Sum of the losses since the last log, by rank.
        answer_losses: The part of it that is of answers and not of replayed text; 0 where none is replayed.
        total_loss: Sum of the losses of all steps up to the last log, over the whole run.
        logged_step: Step of the last log.
    """

    losses: tuple[float, ...]
    answer_losses: tuple[float, ...]
    total_loss: float
    logged_step: int

    def save(self, checkpoint: Path) -> None:
        """Write it into a checkpoint."""
        write_json(checkpoint / POSITION, asdict(self))

    @classmethod
    def load(cls, checkpoint: Path) -> "Position":
        """Read it from a checkpoint."""
        record = read_json(checkpoint / POSITION)
        return cls(tuple(record["losses"]), tuple(record["answer_losses"]), record["total_loss"], record["logged_step"])


class Work:
    """What went into a run, interruptions included: seconds of training, and the code that trained."""

    def __init__(self) -> None:
        self._before = 0.0
        self._began: float | None = None
        self._code = {code_version()}

    def start(self) -> None:
        """Training begins, or goes on."""
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self._before + (0.0 if self._began is None else time.perf_counter() - self._began)

    @property
    def code_versions(self) -> list[str]:
        """One, unless a run went on under other code than it began with."""
        return sorted(self._code)

    def save(self, checkpoint: Path) -> None:
        """Write it into a checkpoint."""
        write_json(checkpoint / WORK, {"seconds": self.seconds, "code_versions": self.code_versions})

    def restore(self, checkpoint: Path) -> None:
        """Count on from a checkpoint; those of earlier versions say nothing."""
        if (checkpoint / WORK).is_file():
            earlier = read_json(checkpoint / WORK)
            self._before = float(earlier["seconds"])
            self._code.update(earlier["code_versions"])


def own_part(sums: Sequence[float], rank: int, world_size: int) -> float:
    """What a rank goes on with of sums by rank. Under another number of processes all get the mean, which is logged."""
    return sums[rank] if world_size == len(sums) else sum(sums) / len(sums)


def checkpoint_name(step: int) -> str:
    """Name of the intermediate checkpoint of a step."""
    return f"{_PREFIX}{step}"


def step_of(checkpoint: Path) -> int:
    """Step after which an intermediate checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def checkpoints(folder: Path) -> list[Path]:
    """Intermediate checkpoints in a folder, oldest first. One that was being written when its run died is not among
    them: it gets its name when it is whole."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=step_of)
