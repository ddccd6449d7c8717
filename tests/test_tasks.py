"""Tasks: patterns and references, splits that share nothing, a reference that runs, and scores by what is left."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from toolgen.agent.environment import Environment, Observation, Status
from toolgen.agent.environments.aws import AwsEnvironment
from toolgen.agent.environments.worker import Limits
from toolgen.agent.tasks.aws_recipes import RECIPES
from toolgen.agent.tasks.generate import HELD_OUT, chosen_services, generate_tasks, task_services
from toolgen.agent.tasks.patterns import RefError, fits, got, joined, lookup, resolve
from toolgen.agent.tasks.recipes import Recipe, fill, wordings
from toolgen.agent.tasks.score import TaskScore, TaskWorld, score
from toolgen.agent.tasks.task import Check, Split, Task, read_tasks, write_tasks
from toolgen.agent.tasks.words import draw_slots, invented, name, share, split_of, words
from toolgen.agent.trajectory import Step, Trajectory, read_trajectories
from toolgen.cli import app
from toolgen.errors import InputError
from toolgen.queries import Call
from toolgen.tools import Tool, ToolCatalog

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FAST = ("s3", "sqs", "ssm")
LIMITS = Limits(seconds=300.0, megabytes=4096)
OPERATIONS = (
    "s3.CreateBucket", "s3.PutBucketVersioning", "s3.PutBucketTagging", "s3.DeleteBucket", "sqs.CreateQueue",
    "sqs.GetQueueUrl", "sqs.ListQueues", "sqs.TagQueue", "sqs.SetQueueAttributes", "sqs.DeleteQueue",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text("abc", min_size=1), parts, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def account() -> Iterator[AwsEnvironment]:
    catalog = ToolCatalog(Tool(name, name.partition(".")[2]) for name in OPERATIONS)
    with AwsEnvironment(catalog, limits=LIMITS) as environment:
        yield environment


@pytest.fixture(scope="module")
def made() -> list[Task]:
    return generate_tasks(16, 3, "train", FAST)


def task(checks: tuple[Check, ...], *steps: Step, setup: tuple[Call, ...] = (), **fields: Any) -> Task:
    reference = Trajectory("t", "do it", steps, "answer", "Done.")
    expected = fields.pop("expected", tuple(step.arguments for step in steps))
    return Task(reference, "r", ("sqs",), "test", 5, setup, expected, checks, **fields)


def tried(account: AwsEnvironment, what: Task, *calls: tuple[str, dict[str, Any]], answer: str = "Done.") -> TaskScore:
    world = TaskWorld(account, what)
    check: Environment = world
    check.reset()
    for tool, arguments in calls:
        world.call(tool, arguments)
    return score(what, account, world.calls, answer)


# ---- patterns


@given(JSON)
def test_every_value_fits_itself_and_more_of_it_fits_less(value: Any) -> None:
    assert fits(value, value)
    assert not fits({"$not": value}, value)
    assert fits({"$json": value}, json.dumps(value)) or not isinstance(value, (dict, list))
    assert fits({"a": value}, {"a": value, "b": 1})
    assert fits([value], [0, value])
    assert fits({"$only": [value, "x"]}, ["x", value])
    assert not fits({"$only": [value]}, [value, value])


@given(JSON, st.lists(JSON, max_size=3))
def test_references_come_to_stand_for_what_was_seen(value: Any, others: list[Any]) -> None:
    responses = {"call": [*others, {"Keys": [{"Name": "a", "Id": value}]}]}
    ref = got(len(others) + 1, "Keys", {"Name": "a"}, "Id")
    assert resolve({"x": [ref]}, responses) == {"x": [value]}
    assert resolve({"x": [ref]}, {"look": []}) == {"x": [ref]}
    with pytest.raises(RefError):
        resolve(got(len(others) + 2, "Keys"), responses)


def test_patterns_are_exact_where_it_matters() -> None:
    assert not fits(1, True) and fits(1, 1.0) and not fits("1", 1)
    assert not fits({"a": 1}, {}) and fits({"a": {"$not": 1}}, {})
    assert not fits({"$only": [{"a": 1}, {}]}, [{"b": 1}, {"b": 2}])
    # The greedy assignment would be wrong.
    assert fits({"$only": [{}, {"a": 1}]}, [{"a": 1}, {"b": 2}])
    assert fits({"$contains": "lo"}, "hello") and not fits({"$contains": "lo"}, None)
    assert not fits({"$json": {"a": 1}}, "{broken")


@pytest.mark.parametrize("path", [("b",), (3,), ("a", 0), ({"x": 1},), ("l", {"x": 1})])
def test_a_reference_to_nothing_is_an_error(path: tuple[Any, ...]) -> None:
    with pytest.raises(RefError):
        lookup({"a": 1, "l": [{"x": 2}]}, path)


def test_slots_keep_their_type_where_they_stand_alone() -> None:
    ref = got(1, "Arn")
    values = {"days": 3, "name": "n", "id": ref}
    assert fill({"{name}": ["{days}", "{days!s}", "in {days}", "{id}"]}, values) == {"n": [3, "3", "in 3", ref]}
    waiting = fill("alias/{id}/{name}", values)
    assert waiting == {"$join": ["alias/", ref, "/n"]}
    assert resolve(waiting, {"call": [{"Arn": "x"}]}) == "alias/x/n"
    assert joined(["a", 1]) == "a1"
    with pytest.raises(KeyError):
        fill("{nothing}", values)


# ---- splits


def test_splits_share_no_word_and_no_wording() -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        first, second = words(split)
        assert len(first) >= 10 and len(second) >= 15 and len(set(first + second)) == len(first + second)
        for word in first + second:
            assert seen.setdefault(word, split) == split
        drawn = {invented(random.Random(seed), split) for seed in range(200)}
        assert len(drawn) > 150 and all(split_of(word) == split and word.isalpha() for word in drawn)
        names = [name()(random.Random(seed), split).split("-") for seed in range(200)]
        assert all(split_of(word) == split for both in names for word in both)
        assert 50 < sum(both[0] in first for both in names) < 150, "half of the words are invented"
    ids: set[str] = set()
    for recipes in RECIPES.values():
        for recipe in recipes:
            assert recipe.id not in ids
            ids.add(recipe.id)
            assert 1 <= len(recipe.steps) <= 5
            parts = [wordings(recipe, split) for split in SPLITS]
            for kind in range(2):
                texts = [text for part in parts for text in part[kind]]
                assert len(texts) == len(set(texts))
                assert all(part[kind] for part in parts)
            assert all(len(asks) >= 2 for asks, _ in parts)
    assert len(share(["a", "b", "c", "d", "e"], "train")) == 3


def told_slots(recipe: Recipe, template: Any) -> set[str]:
    """The slots that a query must give: those of some arguments, and of references to what the agent's calls return.

    What comes from the setup cannot be found by a call of the reference: it is given itself.
    """
    slots: set[str] = set()
    for slot in re.findall(r"\{(\w+)(?:!s)?\}", json.dumps(template)):
        ref = recipe.refs.get(slot)
        slots |= told_slots(recipe, ref) if ref and ref["$ref"][0] == "call" else {slot}
    return slots


def test_every_wording_says_all_that_its_reference_needs() -> None:
    used: dict[str, str] = {}
    for recipe in (recipe for recipes in RECIPES.values() for recipe in recipes):
        needed = told_slots(recipe, [step.arguments for step in recipe.steps])
        values = draw_slots(recipe.slots, random.Random(0), "train")
        quoted = {slot for slot in needed if " " in str(values.get(slot, ""))}
        assert len(set(recipe.asks)) == len(recipe.asks) >= 14, recipe.id
        for ask in recipe.asks:
            assert set(re.findall(r"\{(\w+)\}", ask)) == needed, ask
            assert re.match(r"[a-z]+ ", ask) and not re.search(r"[.,;:!?]$|\. ", ask), ask
            # A reader has to see where a free text ends.
            assert all(f'"{{{slot}}}"' in ask for slot in quoted), ask
            assert used.setdefault(re.sub(r"\{\w+\}", "{}", ask), recipe.id) == recipe.id, ask


def test_services_are_chosen_by_name() -> None:
    assert set(chosen_services("seen")) | set(HELD_OUT) == set(task_services()) == set(chosen_services("all"))
    assert not set(chosen_services("seen")) & set(HELD_OUT)
    assert chosen_services("s3, sqs") == ("s3", "sqs")
    for services, message in ((["s4"], "no tasks for 's4'"), ([], "No service")):
        with pytest.raises(InputError, match=message):
            generate_tasks(1, 0, "train", services)
    with pytest.raises(InputError, match="at least 1"):
        generate_tasks(0, 0, "train")


# ---- generation


def test_tasks_are_executed_distinct_and_of_both_kinds(made: list[Task]) -> None:
    assert len({one.query for one in made}) == len({one.id for one in made}) == len({one.seed for one in made}) == 16
    assert sum(one.calls == 1 for one in made) == 8
    for one in made:
        assert one.checks and set(one.services) <= set(FAST)
        assert all(step.status is Status.OK and step.thought for step in one.reference.calls)
        assert "{" not in one.query and "$ref" not in json.dumps(one.reference.to_record())
    assert any("$ref" in json.dumps(one.expected) for one in made)


def test_the_same_seed_gives_the_same_file_which_holds_trajectories_too(made: list[Task], tmp_path: Path) -> None:
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    write_tasks(first, made[:6])
    write_tasks(again, generate_tasks(6, 3, "train", FAST))
    assert first.read_bytes() == again.read_bytes()
    assert read_tasks(first) == made[:6]
    assert [one.steps for one in read_trajectories(first)] == [one.reference.steps for one in made[:6]]


@pytest.mark.parametrize("change", [{"seed": "1"}, {"checks": [{"looks": []}]}, {"expected": []}, {"setup": None}])
def test_a_broken_task_is_refused(change: dict[str, Any], tmp_path: Path, made: list[Task]) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(made[0].to_record() | change))
    with pytest.raises(InputError, match="tasks.jsonl:1"):
        read_tasks(path)


@pytest.mark.slow
@pytest.mark.parametrize("service", task_services())
def test_every_recipe_makes_tasks_of_every_split(service: str) -> None:
    for split in SPLITS:
        recipes = {one.recipe for one in generate_tasks(60, 0, split, [service])}
        if split == "train":
            assert recipes == {recipe.id for recipe in RECIPES[service]}


# ---- scores

VERSIONED = task(
    (
        Check((Call("s3.GetBucketVersioning", {"Bucket": "amber"}),), {"Status": "Enabled"}),
        Check((Call("s3.GetBucketTagging", {"Bucket": "amber"}),), {"TagSet": [{"Key": "team", "Value": "x"}]}),
    ),
    Step("s3.CreateBucket", {"Bucket": "amber"}),
    Step("s3.PutBucketVersioning", {"Bucket": "amber", "VersioningConfiguration": {"Status": "Enabled"}}),
    Step("s3.PutBucketTagging", {"Bucket": "amber", "Tagging": {"TagSet": [{"Key": "team", "Value": "x"}]}}),
)
TAGGED = task(
    (Check((Call("sqs.ListQueueTags", {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs"}),),
           {"Tags": {"team": "x"}}),),
    Step("sqs.CreateQueue", {"QueueName": "jobs"}),
    Step("sqs.TagQueue", {"QueueUrl": "?", "Tags": {"team": "x"}}),
    expected=({"QueueName": "jobs"}, {"QueueUrl": got(1, "QueueUrl"), "Tags": {"team": "x"}}),
)  # fmt: skip
GONE = task(
    (
        Check((Call("sqs.GetQueueUrl", {"QueueName": "jobs"}),), fails="AWS.SimpleQueueService.NonExistentQueue"),
        Check((Call("sqs.GetQueueUrl", {"QueueName": "other"}),), {}),
    ),
    Step("sqs.GetQueueUrl", {"QueueName": "jobs"}),
    Step("sqs.DeleteQueue", {"QueueUrl": "?"}),
    setup=(Call("sqs.CreateQueue", {"QueueName": "jobs"}), Call("sqs.CreateQueue", {"QueueName": "other"})),
    expected=({"QueueName": "jobs"}, {"QueueUrl": got(1, "QueueUrl")}),
    told=("done",),
)
URL = "https://sqs.us-east-1.amazonaws.com/123456789012/"


def test_the_reference_passes_in_another_order_too(account: AwsEnvironment) -> None:
    calls = [(step.tool, dict(step.arguments)) for step in VERSIONED.reference.calls]
    assert tried(account, VERSIONED, *calls) == TaskScore(True, 1.0, 1.0, 0, 0)
    assert tried(account, VERSIONED, calls[0], calls[2], calls[1]) == TaskScore(True, 1.0, 1.0, 0, 0)


def test_half_of_the_task_is_no_success(account: AwsEnvironment) -> None:
    calls = [(step.tool, dict(step.arguments)) for step in VERSIONED.reference.calls[:2]]
    assert tried(account, VERSIONED, *calls) == TaskScore(False, 2 / 3, 2 / 3, 0, 0)


def test_another_operation_with_the_same_effect_passes(account: AwsEnvironment) -> None:
    done = tried(account, TAGGED, ("sqs.CreateQueue", {"QueueName": "jobs", "tags": {"team": "x"}}))
    assert done == TaskScore(True, 0.5, 0.0, 0, 0)
    # Who finds the id elsewhere has the right arguments, too.
    found = tried(account, GONE, ("sqs.ListQueues", {}), ("sqs.DeleteQueue", {"QueueUrl": URL + "jobs"}))
    assert found == TaskScore(True, 0.5, 0.5, 0, 0)


def test_a_wrong_name_fails_and_so_does_harm(account: AwsEnvironment) -> None:
    wrong = tried(account, TAGGED, ("sqs.CreateQueue", {"QueueName": "job", "tags": {"team": "x"}}))
    assert not wrong.success and wrong.arguments == 0
    harm = [("sqs.DeleteQueue", {"QueueUrl": URL + name}) for name in ("jobs", "other")]
    assert not tried(account, GONE, *harm).success
    assert tried(account, GONE, harm[0]).success
    assert not tried(account, GONE, harm[0], answer="I give up.").success


def test_ids_are_compared_with_what_the_agent_got(account: AwsEnvironment) -> None:
    created = ("sqs.CreateQueue", {"QueueName": "jobs"})
    right = tried(account, TAGGED, created, ("sqs.TagQueue", {"QueueUrl": URL + "jobs", "Tags": {"team": "x"}}))
    assert right == TaskScore(True, 1.0, 1.0, 0, 0)
    other = tried(
        account,
        TAGGED,
        created,
        ("sqs.CreateQueue", {"QueueName": "more"}),
        ("sqs.TagQueue", {"QueueUrl": URL + "more", "Tags": {"team": "x"}}),
    )
    assert other == TaskScore(False, 1.0, 0.5, 0, 0)


def test_bad_and_invented_calls_are_counted(account: AwsEnvironment) -> None:
    done = tried(account, TAGGED, ("sqs.CreateQueue", {}), ("sqs.MakeQueue", {}), ("sqs.TagQueue", {"QueueUrl": 1}))
    assert done == TaskScore(False, 0.0, 0.0, 2, 1)


def test_a_check_whose_way_is_barred_does_not_hold(account: AwsEnvironment) -> None:
    second = Call("sqs.ListQueueTags", {"QueueUrl": {"$ref": ["look", 1, "QueueUrl"]}})
    barred = Check((Call("sqs.GetQueueUrl", {"QueueName": "none"}), second), fails="QueueDoesNotExist")
    nothing = Check((Call("sqs.ListQueues", {}), second), {})
    for check in (barred, nothing):
        what = task((check,), Step("sqs.ListQueues", {}))
        assert not tried(account, what, ("sqs.ListQueues", {})).success


def test_a_task_that_cannot_begin_says_why(account: AwsEnvironment) -> None:
    with pytest.raises(InputError, match="cannot begin: sqs.GetQueueUrl"):
        TaskWorld(account, task((), setup=(Call("sqs.GetQueueUrl", {"QueueName": "none"}),))).reset()


def test_ids_are_those_of_the_tasks_seed(account: AwsEnvironment) -> None:
    def send(seed: int | None) -> tuple[Observation, Observation]:
        account.reset(seed)
        return account.call("sqs.CreateQueue", {"QueueName": "jobs"}), account.query(
            "sqs.SendMessage", {"QueueUrl": URL + "jobs", "MessageBody": "x"}
        )

    assert send(1) == send(1) != send(2)
    assert send(None) == send(0)


# ---- the command


def test_the_command_writes_tasks_and_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    options = ["--n", "4", "--seed", "1", "--split", "test", "--services", "sqs", "--out", str(path)]
    done = CliRunner().invoke(app, ["tasks", "aws", *options])
    assert done.exit_code == 0, done.output
    assert "4 tasks" in done.output and "sqs" in done.output
    assert [one.split for one in read_tasks(path)] == ["test"] * 4
