"""An agent measured on a file of tasks, in a folder that can be gone on with. Knows what lies there:

DIR/
    evaluation.json   what is measured on what
    episodes.jsonl    a line a task, written when its episode ends
    figures.json      what they come to
"""

import fcntl
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from toolgen.agent.environments.aws import AwsEnvironment
from toolgen.agent.environments.worker import Limits
from toolgen.agent.evaluation.episodes import Episode, Figures, figures_by_kind, figures_by_service
from toolgen.agent.evaluation.running import Accounts, Job
from toolgen.agent.load import AgentSettings, environment_tools
from toolgen.agent.tasks.task import Task, read_tasks
from toolgen.checkpoint import Artefacts
from toolgen.errors import InputError
from toolgen.files import fingerprint, read_json, read_jsonl, write_json
from toolgen.manifest import MANIFEST
from toolgen.tools import ToolCatalog

EVALUATION, EPISODES, FIGURES = "evaluation.json", "episodes.jsonl", "figures.json"

NOT_RUN = "not run"
"""Why an episode is missing that nobody began."""

_LIMITS = Limits(seconds=120.0, megabytes=4096)
"""A call is slow only where the machine is busy, which is no fault of the agent's."""


def aws_account(tools: ToolCatalog) -> AwsEnvironment:
    """An account of AWS, simulated."""
    return AwsEnvironment(tools, limits=_LIMITS)


@dataclass(frozen=True)
class Evaluation:
    """What an agent's episodes came to.

    Attributes:
        kinds: Figures of each kind of task; ``all`` is there always.
        services: Of each service.
        missing: Tasks without an episode, which count as failures, and why there is none.
    """

    kinds: Mapping[str, Figures]
    services: Mapping[str, Figures]
    missing: Mapping[str, str]

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict."""
        return {
            "kinds": {kind: figures.to_record() for kind, figures in self.kinds.items()},
            "services": {service: figures.to_record() for service, figures in self.services.items()},
            "missing": dict(self.missing),
        }


def evaluate_agent(
    checkpoint: str | os.PathLike[str],
    tasks: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    settings: AgentSettings | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    batch: int = 8,
    device: str | None = None,
    accounts: Accounts = aws_account,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run an agent on tasks, or go on with it, and write what came of it.

    Interrupted, it loses the episodes under way alone: called again, it runs what is missing.

    Args:
        checkpoint: See ``load_agent``.
        tasks: File of tasks: .jsonl or .jsonl.gz.
        folder: Where episodes and figures go.
        settings: How the agent works.
        limit: So many tasks, drawn by the seed; None: all.
        seed: Of the drawn tasks, and of the bootstrap.
        workers: Processes, each with its own model.
        batch: Episodes in lockstep in each process, each with its own account of about 120 MB.
        device: Such as ``"cpu"`` or ``"cuda:1"``; None: CUDA when there is one.
        accounts: Makes what the agent acts on.
        progress: Called with tasks done and tasks in all.

    Raises:
        InputError: Checkpoint or tasks cannot be used, a task needs a tool that the checkpoint lacks, or the folder is
            about something else, or in use.
    """
    settings = settings or AgentSettings()
    for name, value in (("limit", limit), ("workers", workers), ("batch", batch)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}. It must be at least 1.")
    checkpoint, folder = Path(checkpoint), Path(folder)
    artefacts = Artefacts.load(checkpoint)
    chosen = drawn_tasks(read_tasks(tasks), limit, seed)
    _check_tools(chosen, environment_tools(artefacts, checkpoint))
    measured = {
        "checkpoint": fingerprint(read_json(checkpoint / MANIFEST)),
        "tasks": fingerprint([task.to_record() for task in chosen]),
        "seed": seed,
        **settings.to_record(),
    }
    missing: dict[str, str] = {}
    with EpisodeFile(folder, measured) as file:
        left = [task for task in chosen if task.id not in file.episodes]
        for ended in Job(checkpoint, settings, left, accounts, batch, device).run(workers) if left else ():
            if ended.episode is None:
                missing[ended.task] = ended.reason
            else:
                file.append(ended.episode)
            if progress is not None:
                progress(len(file.episodes) + len(missing), len(chosen))
        episodes = dict(file.episodes)
        evaluation = Evaluation(
            figures_by_kind(chosen, episodes, seed),
            figures_by_service(chosen, episodes, seed),
            {task.id: missing.get(task.id, NOT_RUN) for task in chosen if task.id not in episodes},
        )
        write_json(folder / FIGURES, {**measured, **evaluation.to_record()})
    return evaluation


def drawn_tasks(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """Some of the tasks in their order; the same seed draws the same, and more of them with a higher limit."""
    if limit is None or limit >= len(tasks):
        return list(tasks)
    places = list(range(len(tasks)))
    random.Random(f"limit:{seed}").shuffle(places)
    return [tasks[place] for place in sorted(places[:limit])]


class EpisodeFile:
    """Episodes of a folder: those that are there, and more at their end.

    Attributes:
        episodes: By the task's id.
    """

    def __init__(self, folder: Path, measured: Mapping[str, Any]) -> None:
        """
        Args:
            folder: Made where it is missing.
            measured: What the episodes are about, JSON-serialisable.

        Raises:
            InputError: The folder is about something else, is in use, or a line of it is broken.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / EPISODES
        self._file = path.open("ab", buffering=0)
        try:
            self._lock(folder)
            _check_same(folder, measured)
            self._drop_cut_line(path)
            self.episodes: dict[str, Episode] = {record["id"]: record for record, _ in read_jsonl(path)}
        except BaseException:
            self._file.close()
            raise

    def append(self, episode: Episode) -> None:
        """Write a line; it is in the file when this returns."""
        left = memoryview(json.dumps(episode, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        while left:
            left = left[self._file.write(left) :]
        self.episodes[episode["id"]] = episode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lock(self, folder: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder} is in use by another run. Wait until it ends, or give another folder."
            ) from None

    def _drop_cut_line(self, path: Path) -> None:
        """Take off what a kill left of a line; its task is run again."""
        written = path.read_bytes()
        self._file.truncate(written.rfind(b"\n") + 1)


def _check_same(folder: Path, measured: Mapping[str, Any]) -> None:
    path = folder / EVALUATION
    if not path.is_file():
        if (folder / EPISODES).stat().st_size:
            raise InputError(f"{folder} holds episodes, and no {EVALUATION} says of what. Give another folder.")
        write_json(path, measured)
        return
    earlier = read_json(path)
    if differing := sorted(key for key in {*earlier, *measured} if earlier.get(key) != measured.get(key)):
        raise InputError(
            f"{folder} was begun with another {', '.join(differing)}. Give another folder, or what it was begun with."
        )


def _check_tools(tasks: Sequence[Task], tools: ToolCatalog) -> None:
    for task in tasks:
        needed = (*(call.tool for call in task.setup), *(step.tool for step in task.reference.calls))
        if lacking := [tool for tool in needed if tool not in tools]:
            raise InputError(
                f"Task {task.id!r} needs the tool {lacking[0]!r}, which the checkpoint does not have. Give tasks over "
                "services of its catalogue."
            )
