"""Tasks from recipes, each executed before it is kept. Knows recipes and AWS's environment; no models.

A task is kept if its setup and its reference run, all its checks hold afterwards, and something does not hold before:
otherwise doing nothing would be right. Everything that is drawn depends on seed, split and the task's number alone.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolgen.agent.environment import Observation, Status
from toolgen.agent.environments.aws import AwsEnvironment
from toolgen.agent.environments.worker import Limits
from toolgen.agent.tasks.aws_recipes import RECIPES
from toolgen.agent.tasks.patterns import read_json_text, resolve
from toolgen.agent.tasks.recipes import Recipe, fill, worded
from toolgen.agent.tasks.score import holds, tells
from toolgen.agent.tasks.task import Check, Split, Task
from toolgen.agent.tasks.words import draw_slots
from toolgen.agent.trajectory import Step, Trajectory
from toolgen.errors import InputError
from toolgen.queries import Call
from toolgen.tools import Tool, ToolCatalog

HELD_OUT = ("ecr", "kinesis", "route53", "secretsmanager", "stepfunctions")
"""Services for tests of tools that no training task calls; the others are for training, in a split by service."""

_LIMITS = Limits(seconds=300.0, megabytes=4096)
"""A reference is slow only where the machine is busy; then the same task must come of it all the same."""

_ATTEMPTS = 50
"""To find a query that no earlier task has."""


def task_services() -> tuple[str, ...]:
    """All services that there are tasks for, sorted."""
    return tuple(sorted(RECIPES))


def chosen_services(text: str) -> tuple[str, ...]:
    """Services by name.

    Args:
        text: ``all``, ``held-out`` (``HELD_OUT``), ``seen`` (the others), or names separated by commas.
    """
    named = {
        "all": task_services(),
        "held-out": HELD_OUT,
        "seen": tuple(service for service in task_services() if service not in HELD_OUT),
    }
    return named.get(text) or tuple(service.strip() for service in text.split(",") if service.strip())


def generate_tasks(
    count: int,
    seed: int,
    split: Split,
    services: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Task]:
    """Make tasks; the same arguments give the same tasks.

    Every second one takes a single call, the others take several. Services come up equally often, but for those that
    have no recipe of the wanted kind.

    Args:
        count: How many.
        seed: Of all that is drawn.
        split: Whose words and wordings are used; no other split has them.
        services: Some of ``task_services()``; None takes all.
        progress: Called after each task with tasks done and tasks in all.

    Raises:
        InputError: There are no tasks for a service, or not as many different ones as are wanted.
        RuntimeError: A recipe does not do what it says; a bug of ours, or another version of moto.
    """
    if count < 1:
        raise InputError(f"{count} tasks are wanted; ask for at least 1.")
    recipes = _recipes(services)
    tools = {tool for recipe in recipes for tool in recipe.tools}
    catalog = ToolCatalog(Tool(tool, tool.partition(".")[2]) for tool in sorted(tools))
    made: list[Task] = []
    asked: set[str] = set()
    with AwsEnvironment(catalog, limits=_LIMITS) as account:
        # Loading a service gives up the account, so all are there before the first task.
        for service in dict.fromkeys(service for recipe in recipes for service in recipe.services):
            account.query(f"{service}.none")
        for number in range(count):
            task = _task(recipes, number, seed, split, asked, account)
            asked.add(task.query)
            made.append(task)
            if progress is not None:
                progress(number + 1, count)
    return made


def _recipes(services: Sequence[str] | None) -> list[Recipe]:
    wanted = task_services() if services is None else tuple(dict.fromkeys(services))
    if unknown := [service for service in wanted if service not in RECIPES]:
        raise InputError(
            f"There are no tasks for {unknown[0]!r}. Services with tasks are {', '.join(task_services())}."
        )
    if not wanted:
        raise InputError(f"No service is named. Name some of {', '.join(task_services())}.")
    return [recipe for service in wanted for recipe in RECIPES[service]]


def _task(
    recipes: Sequence[Recipe], number: int, seed: int, split: Split, asked: set[str], account: AwsEnvironment
) -> Task:
    id_ = f"{split}-{seed}-{number}"
    rng = random.Random(f"task:{id_}")
    usable = [recipe for recipe in recipes if (len(recipe.steps) > 1) == bool(number % 2)] or list(recipes)
    services = sorted({_service(recipe.steps[0].tool) for recipe in usable})
    # Each has its turn in every round.
    turn, place = divmod(number // 2, len(services))
    dealt = random.Random(f"turn:{split}-{seed}-{turn}").sample(services, len(services))[place]
    for attempt in range(_ATTEMPTS):
        service = rng.choice(services) if attempt else dealt
        recipe = rng.choice([one for one in usable if _service(one.steps[0].tool) == service])
        begun = _begin(recipe, split, rng, account)
        query = worded(recipe, split, begun.values, rng)
        if query not in asked:
            return _execute(begun, id_, query, split, account)
    raise InputError(
        f"After {len(asked):,} tasks no query came up that is not there yet. Ask for fewer tasks, or for more services."
    )


@dataclass(frozen=True)
class _Begun:
    """A task whose setup is done.

    Attributes:
        recipe: What it is made from.
        seed: Of its ids.
        setup: Calls, as they were made.
        had: What came back from them.
        values: Of all slots; references to the task's own calls still are such.
    """

    recipe: Recipe
    seed: int
    setup: tuple[Call, ...]
    had: list[Any]
    values: Mapping[str, Any]

    def filled(self, template: Any) -> Any:
        return resolve(fill(template, self.values), {"setup": self.had})

    def checks(self) -> tuple[Check, ...]:
        return tuple(
            Check(
                tuple(Call(self.filled(look.tool), self.filled(look.arguments)) for look in check.looks),
                self.filled(check.holds),
                check.fails,
            )
            for check in self.recipe.checks
        )


def _begin(recipe: Recipe, split: Split, rng: random.Random, account: AwsEnvironment) -> _Begun:
    seed = rng.getrandbits(31)
    drawn = draw_slots(recipe.slots, rng, split)
    account.reset(seed)
    setup: list[Call] = []
    had: list[Any] = []
    for call in recipe.setup:
        arguments = resolve(fill(call.arguments, drawn), {"setup": had})
        had.append(read_json_text(_run(account, recipe, call.tool, arguments).content))
        setup.append(Call(call.tool, arguments))
    refs = {key: resolve(fill(ref, drawn), {"setup": had}) for key, ref in recipe.refs.items()}
    return _Begun(recipe, seed, tuple(setup), had, drawn | refs)


def _execute(begun: _Begun, id_: str, query: str, split: Split, account: AwsEnvironment) -> Task:
    recipe, checks = begun.recipe, begun.checks()
    if not recipe.told and all(holds(check, account) for check in checks):
        raise RuntimeError(f"Recipe {recipe.id!r} makes no task: all its checks hold before it begins.")
    steps: list[Step] = []
    expected: list[Mapping[str, Any]] = []
    brought: list[Any] = []

    def known(template: Any) -> Any:
        return resolve(begun.filled(template), {"call": brought})

    for step in recipe.steps:
        arguments = known(step.arguments)
        observation = _run(account, recipe, step.tool, arguments)
        steps.append(Step(step.tool, arguments, observation.content, known(step.thought), observation.status))
        expected.append(begun.filled(step.arguments))
        brought.append(read_json_text(observation.content))
    told, answer = tuple(str(known(text)) for text in recipe.told), str(known(recipe.answer))
    task = Task(
        reference=Trajectory(id_, query, tuple(steps), "answer", answer, recipe.done, won=True),
        recipe=recipe.id,
        services=tuple(dict.fromkeys(_service(step.tool) for step in recipe.steps)),
        split=split,
        seed=begun.seed,
        setup=begun.setup,
        expected=tuple(expected),
        checks=checks,
        told=told,
    )
    if broken := [check for check in checks if not holds(check, account)]:
        raise RuntimeError(f"Recipe {recipe.id!r}: what it does leaves {broken[0].to_record()} unfulfilled.")
    if not tells(task, answer):
        raise RuntimeError(f"Recipe {recipe.id!r}: its answer {answer!r} does not contain {told}.")
    return task


def _run(account: AwsEnvironment, recipe: Recipe, tool: str, arguments: Mapping[str, Any]) -> Observation:
    observation = account.call(tool, arguments)
    if observation.status is not Status.OK:
        raise RuntimeError(f"Recipe {recipe.id!r}: {tool} {dict(arguments)}: {observation}")
    return observation


def _service(tool: str) -> str:
    return tool.partition(".")[0]
