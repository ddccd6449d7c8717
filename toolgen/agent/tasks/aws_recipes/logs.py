"""Recipes of log groups and streams."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, one_of, word
from toolgen.queries import Call

_CALLED = {"logGroupName": "{group}"}
_GROUP = Call("logs.CreateLogGroup", _CALLED)
_OTHER = Call("logs.CreateLogGroup", {"logGroupName": "{other}"})
_SLOTS = {"group": name("/", "/"), "other": name("/", "/")}
_STREAM = _SLOTS | {"stream": name()}
_DAYS = _SLOTS | {"days": one_of(1, 3, 5, 7, 14, 30, 60, 90, 180, 365)}
_CREATE = Do("logs.CreateLogGroup", _CALLED, "First I create the log group {group}.")
_OTHER_STANDS = check(
    "logs.DescribeLogGroups", {"logGroupNamePrefix": "{other}"}, {"logGroups": [{"logGroupName": "{other}"}]}
)
_KEEP = Do("logs.PutRetentionPolicy", {**_CALLED, "retentionInDays": "{days}"}, "I keep {group} for {days} days.")
_KEPT = check(
    "logs.DescribeLogGroups",
    {"logGroupNamePrefix": "{group}"},
    {"logGroups": [{"logGroupName": "{group}", "retentionInDays": "{days}"}]},
)
_ADD_STREAM = Do("logs.CreateLogStream", {**_CALLED, "logStreamName": "{stream}"}, "I create {stream} in {group}.")
_STREAMS = check("logs.DescribeLogStreams", _CALLED, {"logStreams": [{"logStreamName": "{stream}"}]})

RECIPES = (
    Recipe(
        "logs-create",
        _SLOTS,
        (
            "create a log group called {group}",
            "make a CloudWatch log group with the name {group}",
            "set up the log group {group}",
            "add a new log group, {group}, to CloudWatch Logs",
            "open a log group named {group} for our service",
        ),
        (Do("logs.CreateLogGroup", _CALLED, "I create the log group {group}."),),
        (
            check(
                "logs.DescribeLogGroups",
                {"logGroupNamePrefix": "{group}"},
                {"logGroups": [{"logGroupName": "{group}"}]},
            ),
            _OTHER_STANDS,
        ),
        "The log group {group} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "logs-keep",
        _DAYS,
        (
            "keep the logs in {group} for {days} days",
            "set the retention of the log group {group} to {days} days",
            "let the log group {group} forget what is older than {days} days",
            "make {days} days the retention of {group} in CloudWatch Logs",
            "configure the log group {group} with a retention policy of {days} days",
        ),
        (_KEEP,),
        (_KEPT,),
        "The logs in {group} are kept for {days} days.",
        setup=(_GROUP, _OTHER),
    ),
    Recipe(
        "logs-stream",
        _STREAM,
        (
            "create a log stream {stream} in the group {group}",
            "add the stream {stream} to the log group {group}",
            "make a log stream called {stream} in {group}",
            "set up the CloudWatch log stream {stream} within {group}",
            "open a new stream, {stream}, in the existing log group {group}",
        ),
        (_ADD_STREAM,),
        (_STREAMS,),
        "The stream {stream} is there.",
        setup=(_GROUP, _OTHER),
    ),
    Recipe(
        "logs-delete",
        _SLOTS,
        (
            "delete the log group {group}",
            "remove the CloudWatch log group called {group}",
            "get rid of the log group {group}",
            "drop {group} from our log groups",
            "throw the log group {group} away with its logs",
        ),
        (Do("logs.DeleteLogGroup", _CALLED, "I delete the log group {group}."),),
        (
            check(
                "logs.DescribeLogGroups",
                {"logGroupNamePrefix": "{group}"},
                {"logGroups": {"$not": [{"logGroupName": "{group}"}]}},
            ),
            _OTHER_STANDS,
        ),
        "The log group {group} is gone.",
        setup=(_GROUP, _OTHER),
    ),
    Recipe(
        "logs-create-keep",
        _DAYS,
        (
            "create a log group {group} that keeps its logs for {days} days",
            "make a CloudWatch log group {group} with a retention of {days} days",
            "set up the log group {group}; what is older than {days} days may go",
            "open a log group named {group}, then let its retention be {days} days",
            "add the log group {group} with a retention policy of {days} days",
        ),
        (_CREATE, _KEEP),
        (_KEPT,),
        "The log group {group} is there and keeps {days} days.",
        setup=(_OTHER,),
    ),
    Recipe(
        "logs-create-stream",
        _STREAM,
        (
            "create a log group {group} with a stream {stream}",
            "make a CloudWatch log group {group} and the log stream {stream} in it",
            "set up the log group {group}, then its stream {stream}",
            "open a log group named {group} that has a log stream {stream}",
            "add the log group {group} and a stream called {stream} to the group",
        ),
        (_CREATE, _ADD_STREAM),
        (_STREAMS,),
        "The log group {group} has the stream {stream}.",
        setup=(_OTHER,),
    ),
    Recipe(
        "logs-find-tag",
        _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()},
        (
            "tag the log group {group} with {key} {tag}",
            "find the CloudWatch log group {group} and put the tag {key}={tag} on it",
            "look up the log group {group} and label it {key}: {tag}",
            "give our log group {group} the tag {key} with the value {tag}",
            "let {group} in CloudWatch Logs have a tag {key}, which is {tag}",
        ),
        (
            Do("logs.DescribeLogGroups", {"logGroupNamePrefix": "{group}"}, "I need the ARN of {group}."),
            Do("logs.TagResource", {"resourceArn": "{arn}", "tags": {"{key}": "{tag}"}}, "I tag {arn}."),
        ),
        (check("logs.ListTagsLogGroup", _CALLED, {"tags": {"{key}": "{tag}"}}),),
        "The log group {group} has the tag {key}.",
        setup=(_GROUP, _OTHER),
        refs={"arn": got(1, "logGroups", {"logGroupName": "{group}"}, "logGroupArn")},
    ),
)
