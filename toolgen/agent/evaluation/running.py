"""Tasks run by an agent, many at a time: in lockstep in one process, or in several processes. Knows agents and tasks;
no files.

A process has its own model, and an account for each episode under way; accounts are used again. What breaks takes only
its own episode with it: those that were under way beside it are run once more, each alone.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

from toolgen.agent.environment import Environment
from toolgen.agent.evaluation.episodes import episode_record, made_calls
from toolgen.agent.load import AgentSettings, LoadedAgent, load_agent
from toolgen.agent.loop import Outcome
from toolgen.agent.tasks.score import Account, TaskWorld, score
from toolgen.agent.tasks.task import Task
from toolgen.errors import InputError
from toolgen.tools import ToolCatalog


class ClosableAccount(Account, Protocol):
    """An account that holds something, such as a process, until it is closed."""

    def close(self) -> None:
        """Let go of it."""
        ...


Accounts = Callable[[ToolCatalog], ClosableAccount]
"""Makes an account that has some tools. It is sent to other processes, so it is a function of a module."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a task.

    Attributes:
        task: Its id.
        episode: A line of the file; None where there is none.
        reason: Why there is none, else empty.
    """

    task: str
    episode: dict[str, Any] | None
    reason: str = ""


@dataclass(frozen=True)
class Job:
    """What a process needs to run tasks.

    Attributes:
        checkpoint: Of the agent.
        settings: How it works.
        tasks: All that may be asked for.
        accounts: Makes an account for each episode under way.
        batch: Episodes in lockstep.
        device: Of the model; None: CUDA when there is one.
    """

    checkpoint: Path
    settings: AgentSettings
    tasks: Sequence[Task]
    accounts: Accounts
    batch: int
    device: str | None = None

    def run(self, workers: int = 1) -> Iterator[Ended]:
        """Run all tasks; yields them as they end.

        Raises:
            InputError: The agent cannot be loaded.
            RuntimeError: A process ends before its first task.
        """
        if workers == 1 or len(self.tasks) < 2:
            yield from run_tasks(self._load(), self.tasks, self.accounts, self.batch)
        else:
            yield from _run_crew(self, min(workers, len(self.tasks)))

    def _load(self) -> LoadedAgent:
        return load_agent(self.checkpoint, self.settings, device=self.device)


class _Pool:
    """Accounts, made when they are needed and used again."""

    def __init__(self, accounts: Accounts, tools: ToolCatalog) -> None:
        self._accounts = accounts
        self._tools = tools
        self._idle: list[ClosableAccount] = []
        self._taken: list[ClosableAccount] = []

    def take(self) -> ClosableAccount:
        self._taken.append(self._idle.pop() if self._idle else self._accounts(self._tools))
        return self._taken[-1]

    def give_back(self, account: ClosableAccount) -> None:
        self._taken.remove(account)
        self._idle.append(account)

    def close(self) -> None:
        for account in (*self._idle, *self._taken):
            account.close()
        self._idle.clear()
        self._taken.clear()


def run_tasks(loaded: LoadedAgent, tasks: Iterable[Task], accounts: Accounts, batch: int) -> Iterator[Ended]:
    """Run tasks in this process; yields them as they end.

    Args:
        loaded: The agent.
        tasks: Drawn when there is room for another one.
        accounts: Makes accounts, up to ``batch`` of them.
        batch: Episodes in lockstep.
    """
    source, pool = iter(tasks), _Pool(accounts, loaded.tools)
    try:
        while True:
            under_way: dict[int, Task] = {}
            try:
                yield from _lockstep(loaded, source, pool, batch, under_way)
                return
            except Exception:
                if not under_way:
                    raise
            # Whose fault it was is not known, and what the others' accounts hold is not either.
            pool.close()
            for task in under_way.values():
                yield _alone(loaded, task, pool)
    finally:
        pool.close()


def _lockstep(
    loaded: LoadedAgent, source: Iterator[Task], pool: _Pool, batch: int, under_way: dict[int, Task]
) -> Iterator[Ended]:
    worlds: dict[int, tuple[ClosableAccount, TaskWorld]] = {}

    def jobs() -> Iterator[tuple[str, Environment]]:
        for number, task in enumerate(source):
            under_way[number] = task
            account = pool.take()
            worlds[number] = account, TaskWorld(account, task)
            yield task.query, worlds[number][1]

    for number, outcome in loaded.agent.run_all(jobs(), batch):
        account, _ = worlds.pop(number)
        ended = _judged(under_way[number], account, outcome)
        del under_way[number]
        pool.give_back(account)
        yield ended


def _alone(loaded: LoadedAgent, task: Task, pool: _Pool) -> Ended:
    try:
        account = pool.take()
        ended = _judged(task, account, loaded.agent.run(task.query, TaskWorld(account, task)))
        pool.give_back(account)
        return ended
    except Exception as error:
        pool.close()
        return Ended(task.id, None, f"{type(error).__name__}: {error}")


def _judged(task: Task, account: Account, outcome: Outcome) -> Ended:
    scored = score(task, account, made_calls(outcome), outcome.answer)
    return Ended(task.id, episode_record(task, outcome, scored))


# ---- several processes. What they say to each other is JSON: a process asks for tasks and tells what became of them.


@dataclass
class _Member:
    process: SpawnProcess
    under_way: dict[str, None] = field(default_factory=dict)
    begun: bool = False


def _run_crew(job: Job, workers: int) -> Iterator[Ended]:
    context = get_context("spawn")
    crew: dict[Connection, _Member] = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_member, args=(theirs, job, workers), daemon=True)
            process.start()
            # Else its end would stay open, and nobody would hear that it is gone.
            theirs.close()
            crew[ours] = _Member(process)
        yield from _led(crew, iter(range(len(job.tasks))), job.tasks)
    finally:
        for connection, member in crew.items():
            connection.close()
            member.process.terminate()
            member.process.join()


def _led(crew: dict[Connection, _Member], left: Iterator[int], tasks: Sequence[Task]) -> Iterator[Ended]:
    while crew:
        for connection in wait(list(crew)):
            assert isinstance(connection, Connection)
            member = crew[connection]
            try:
                message = json.loads(connection.recv_bytes())
                if message["says"] == "next":
                    member.begun = True
                    number = next(left, None)
                    if number is not None:
                        member.under_way[tasks[number].id] = None
                    connection.send_bytes(json.dumps(number).encode())
                    continue
            except (EOFError, OSError):
                del crew[connection]
                connection.close()
                yield from _lost(member)
                continue
            if message["says"] == "refused":
                raise InputError(message["why"])
            ended = Ended(message["task"], message["episode"], message["reason"])
            del member.under_way[ended.task]
            yield ended


def _lost(member: _Member) -> Iterator[Ended]:
    """What a process leaves that is gone."""
    member.process.join()
    code = member.process.exitcode
    if not member.begun:
        raise RuntimeError(f"A process ended with exit code {code} before its first task.")
    for task in member.under_way:
        yield Ended(task, None, f"its process ended with exit code {code}")


def _member(connection: Connection, job: Job, workers: int) -> None:
    """A process of the crew."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))

    def say(**message: Any) -> None:
        connection.send_bytes(json.dumps(message).encode())

    def asked() -> Iterator[Task]:
        while True:
            try:
                say(says="next")
                number = json.loads(connection.recv_bytes())
            except (EOFError, OSError):
                # Nobody is left who would hear of another task.
                raise SystemExit(1) from None
            if number is None:
                return
            yield job.tasks[number]

    try:
        loaded = job._load()
    except InputError as error:
        say(says="refused", why=str(error))
        return
    for ended in run_tasks(loaded, asked(), job.accounts, job.batch):
        say(says="ended", task=ended.task, episode=ended.episode, reason=ended.reason)
