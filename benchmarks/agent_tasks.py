"""Files of tasks, made in several processes. Knows tasks alone, so that a process has little to import."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from toolgen.agent.tasks.generate import generate_tasks
from toolgen.agent.tasks.task import Split, write_tasks
from toolgen.terminal import progress_bar


@dataclass(frozen=True)
class TaskFile:
    """A file of tasks to make; see ``generate_tasks``."""

    path: Path
    count: int
    seed: int
    split: Split
    services: tuple[str, ...]

    def make(self) -> None:
        write_tasks(self.path, generate_tasks(self.count, self.seed, self.split, self.services))


def make_tasks(parts: Sequence[TaskFile]) -> None:
    """Make the files that are missing, in as many processes as there are cores."""
    left = [part for part in parts if not part.path.is_file()]
    pool = ProcessPoolExecutor(min(len(left), os.cpu_count() or 1), mp_context=get_context("spawn"))
    try:
        with progress_bar("Executing tasks") as progress:
            jobs = {pool.submit(part.make): part for part in left}
            done = 0
            for job in as_completed(jobs):
                job.result()
                done += jobs[job].count
                progress(done, sum(part.count for part in left))
    finally:
        pool.shutdown(cancel_futures=True)
