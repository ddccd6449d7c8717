"""AWS in memory: calls run, faults are observations, episodes are apart, the same calls give the same answers."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from toolgen.agent.environment import Environment, Observation, Status
from toolgen.agent.environments.aws import AwsEnvironment
from toolgen.agent.environments.worker import Limits
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/jobs"
TOPIC = "arn:aws:sns:us-east-1:123456789012:news"
OPERATIONS = (
    "s3.CreateBucket", "s3.PutObject", "s3.GetObject", "s3.ListBuckets", "s3.HeadBucket", "s3.CreateMultipartUpload",
    "s3.NoSuchOperation", "sqs.CreateQueue", "sqs.SendMessage", "sqs.ReceiveMessage", "sqs.TagQueue", "sns.CreateTopic",
    "sns.Subscribe", "sns.Publish", "sns.GetSMSSandboxAccountStatus", "chime.ListAccounts", "sts.AssumeRole",
)  # fmt: skip
CATALOG = ToolCatalog(Tool(name, name.partition(".")[2], group=name.partition(".")[0]) for name in OPERATIONS)
LIMITS = Limits(seconds=60.0, megabytes=4096, most_characters=2000)
TASK: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sqs.CreateQueue", {"QueueName": "jobs"}),
    ("sqs.SendMessage", {"QueueUrl": QUEUE, "MessageBody": "first"}),
    ("s3.CreateBucket", {"Bucket": "reports"}),
    ("s3.CreateBucket", {}),
    ("s3.PutObject", {"Bucket": "reports", "Key": "may", "Body": base64.b64encode(b"sold: 3").decode()}),
    ("s3.GetObject", {"Bucket": "elsewhere", "Key": "may"}),
    ("sqs.ReceiveMessage", {"QueueUrl": QUEUE, "WaitTimeSeconds": 20}),
    ("sqs.ReceiveMessage", {"QueueUrl": QUEUE, "WaitTimeSeconds": 20}),
    ("s3.CreateMultipartUpload", {"Bucket": "reports", "Key": "june"}),
    ("sts.AssumeRole", {"RoleArn": "arn:aws:iam::123456789012:role/reader", "RoleSessionName": "mine"}),
    ("s3.ListBuckets", {}),
)


def run(world: AwsEnvironment) -> list[Observation]:
    return [world.call(tool, arguments) for tool, arguments in TASK]


def buckets(world: AwsEnvironment) -> list[str]:
    return sorted(bucket["Name"] for bucket in json.loads(world.query("s3.ListBuckets").content)["Buckets"])


@pytest.fixture(scope="module")
def shared() -> Iterator[AwsEnvironment]:
    patch = pytest.MonkeyPatch()
    # What this machine has of AWS must not be seen.
    patch.setenv("AWS_PROFILE", "no-such-profile")
    patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    patch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    patch.setenv("MOTO_ACCOUNT_ID", "999999999999")
    with AwsEnvironment(CATALOG, limits=LIMITS) as environment:
        yield environment
    patch.undo()


@pytest.fixture
def world(shared: AwsEnvironment) -> AwsEnvironment:
    shared.reset()
    return shared


def test_calls_run_and_leave_a_state(world: AwsEnvironment) -> None:
    check: Environment = world
    assert check.catalog is CATALOG
    made = run(world)
    assert [observation.status for observation in made] == [
        *[Status.OK] * 3, Status.BAD_ARGUMENTS, Status.OK, Status.FAILED, *[Status.OK] * 5,
    ]  # fmt: skip
    assert made[2].content == '{"Location":"/reports"}'
    assert made[5].content.startswith("NoSuchBucket: ")
    assert json.loads(made[6].content)["Messages"][0]["Body"] == "first"
    # Nobody sends a second message, and twenty seconds pass at once.
    assert made[7].content == "{}"
    assert json.loads(made[10].content)["Buckets"] == [{"Name": "reports", "CreationDate": "2025-01-01T00:00:03Z"}]
    body = json.loads(world.call("s3.GetObject", {"Bucket": "reports", "Key": "may"}).content)
    assert body["Body"] == "sold: 3" and body["LastModified"] < "2025-01-01T00:00:10Z"
    assert "ResponseMetadata" not in body


def test_the_same_calls_give_the_same_answers_and_another_seed_others(world: AwsEnvironment) -> None:
    # The first task of a process loads services on the way, the second one finds them.
    with AwsEnvironment(CATALOG, limits=LIMITS) as fresh, AwsEnvironment(CATALOG, seed=1, limits=LIMITS) as other:
        made = run(world)
        assert run(fresh) == made
        world.reset()
        assert run(world) == made
        assert run(other) != made


def test_two_episodes_by_turns_do_not_see_each_other(world: AwsEnvironment) -> None:
    with AwsEnvironment(CATALOG, limits=LIMITS) as other:
        for number in range(3):
            for environment, name in ((world, "mine"), (other, "yours")):
                # A bucket's name is global in AWS, but not between episodes.
                for bucket in ("shared" if not number else f"shared-{number}", f"{name}-{number}"):
                    assert environment.call("s3.CreateBucket", {"Bucket": bucket}).status is Status.OK
        assert buckets(world) == ["mine-0", "mine-1", "mine-2", "shared", "shared-1", "shared-2"]
        other.reset()
        assert buckets(other) == [] and len(buckets(world)) == 6


def test_a_look_changes_nothing(world: AwsEnvironment) -> None:
    made = run(world)
    world.reset()
    again = []
    for tool, arguments in TASK:
        world.query("sqs.ReceiveMessage", {"QueueUrl": QUEUE})
        assert world.query("s3.CreateBucket", {"Bucket": "looked"}).status is Status.OK
        again.append(world.call(tool, arguments))
    assert again == made and buckets(world) == ["reports"]
    with pytest.raises(InputError, match="'nothing.List' is no operation of AWS"):
        world.query("nothing.List")


@pytest.mark.parametrize(
    ("tool", "arguments", "status", "message"),
    [
        ("s3.DeleteBucket", {}, Status.UNKNOWN_TOOL, "There is no tool 's3.DeleteBucket'"),
        ("s3.NoSuchOperation", {}, Status.UNKNOWN_TOOL, "There is no tool 's3.NoSuchOperation'"),
        ("s3.CreateBucket", {}, Status.BAD_ARGUMENTS, 'Missing required parameter in input: "Bucket"'),
        ("s3.CreateBucket", {"Bucket": 3}, Status.BAD_ARGUMENTS, "Invalid type for parameter Bucket"),
        ("s3.CreateBucket", {"Bucket": "a", "Color": 1}, Status.BAD_ARGUMENTS, 'Unknown parameter in input: "Color"'),
        ("s3.CreateBucket", {"Bucket": "not a name"}, Status.BAD_ARGUMENTS, "Invalid bucket name"),
        ("s3.CreateBucket", ["a"], Status.BAD_ARGUMENTS, "given by name"),
        ("s3.PutObject", {"Bucket": "a", "Key": "b", "Body": "plain"}, Status.BAD_ARGUMENTS, "'plain' is no base64"),
        ("s3.PutObject", {"Bucket": "a", "Key": "b", "Expires": "soon"}, Status.BAD_ARGUMENTS, "Expires"),
        ("s3.PutObject", {"Bucket": "a", "Key": "b", "Expires": "9" * 16}, Status.BAD_ARGUMENTS, "timezone"),
        ("s3.PutObject", {"Bucket": "a", "Key": "\ud800"}, Status.BAD_ARGUMENTS, "surrogates not allowed"),
        ("s3.ListBuckets", {"MaxBuckets": float("nan")}, Status.BAD_ARGUMENTS, "no JSON"),
        ("s3.HeadBucket", {"Bucket": "missing"}, Status.FAILED, "404: Not Found"),
        ("sns.Publish", {"TopicArn": TOPIC, "Message": "x"}, Status.FAILED, "NotFound"),
        ("sns.GetSMSSandboxAccountStatus", {}, Status.UNAVAILABLE, "cannot run here"),
        ("chime.ListAccounts", {}, Status.UNAVAILABLE, "cannot run here: it is not simulated"),
    ],
)
def test_what_a_model_does_wrong_is_an_observation(
    world: AwsEnvironment, tool: str, arguments: Any, status: Status, message: str
) -> None:
    made = world.call(tool, arguments)
    assert made.status is status and message in made.content


def test_nothing_leaves_the_process(world: AwsEnvironment) -> None:
    assert world.call("sns.CreateTopic", {"Name": "news"}).status is Status.OK
    subscription = {"TopicArn": TOPIC, "Protocol": "http", "Endpoint": "http://127.0.0.1:9/hook"}
    assert world.call("sns.Subscribe", subscription).status is Status.OK
    made = world.call("sns.Publish", {"TopicArn": TOPIC, "Message": "hello"})
    assert made.status is Status.UNAVAILABLE and "network" in made.content
    assert world.call("s3.ListBuckets", {}).status is Status.OK


def test_a_long_answer_is_cut_and_one_without_utf8_is_base64(world: AwsEnvironment) -> None:
    world.call("s3.CreateBucket", {"Bucket": "reports"})
    for key, data in (("long", b"x" * 10_000), ("bytes", b"\xff\xfe")):
        world.call("s3.PutObject", {"Bucket": "reports", "Key": key, "Body": base64.b64encode(data).decode()})
    made = world.call("s3.GetObject", {"Bucket": "reports", "Key": "long"})
    assert made.status is Status.OK and made.content.endswith("characters more were left out)")
    assert len(made.content) < 2100
    looked = world.query("s3.GetObject", {"Bucket": "reports", "Key": "long"})
    assert json.loads(looked.content)["Body"] == "x" * 10_000
    made = world.call("s3.GetObject", {"Bucket": "reports", "Key": "bytes"})
    assert json.loads(made.content)["Body"] == {"base64": "//4="}


def test_a_task_goes_on_after_a_fault(world: AwsEnvironment) -> None:
    made = run(world)
    world.reset()
    again = []
    for number, (tool, arguments) in enumerate(TASK):
        if number == 6:
            # The process is killed from outside, in the middle of the task.
            assert world._worker
            os.killpg(world._worker._process.pid, signal.SIGKILL)
            fault = world.call("s3.ListBuckets", {})
            assert fault.status is Status.CRASHED and "SIGKILL" in fault.content
        again.append(world.call(tool, arguments))
    assert again == made


def test_a_call_that_takes_too_long_is_stopped_and_the_task_goes_on(world: AwsEnvironment) -> None:
    world.call("s3.CreateBucket", {"Bucket": "reports"})
    # The process stands still, as it would in an endless loop.
    assert world._worker
    os.killpg(world._worker._process.pid, signal.SIGSTOP)
    world._limits = Limits(0.5, 4096, 2000)
    try:
        made = world.call("s3.CreateBucket", {"Bucket": "late"})
    finally:
        world._limits = LIMITS
    assert made.status is Status.TIMED_OUT and "0.5 s" in made.content
    assert buckets(world) == ["reports"]


def test_a_closed_environment_goes_on_where_it_was(world: AwsEnvironment) -> None:
    made = run(world)
    world.reset()
    again = [world.call(tool, arguments) for tool, arguments in TASK[:4]]
    world.close()
    assert again + [world.call(tool, arguments) for tool, arguments in TASK[4:]] == made


def test_a_tool_that_is_not_of_aws_is_refused() -> None:
    with pytest.raises(InputError, match="The tool 'Finish' is no operation of AWS"):
        AwsEnvironment(ToolCatalog([Tool("Finish", "Finish")]))
