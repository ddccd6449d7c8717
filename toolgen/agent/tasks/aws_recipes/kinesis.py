"""Recipes of streams and what reads them."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, number, one_of, word
from toolgen.queries import Call

_STREAM = Call("kinesis.CreateStream", {"StreamName": "{stream}", "ShardCount": 1})
_OTHER = Call("kinesis.CreateStream", {"StreamName": "{other}", "ShardCount": 1})
_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/{stream}"
_SLOTS = {"stream": name(), "other": name()}
_OTHER_STANDS = check("kinesis.DescribeStreamSummary", {"StreamName": "{other}"})
_FIND = Do("kinesis.DescribeStreamSummary", {"StreamName": "{stream}"}, "I need the ARN of {stream}.")
_FOUND = {"arn": got(1, "StreamDescriptionSummary", "StreamARN")}
_REGISTER = Do(
    "kinesis.RegisterStreamConsumer",
    {"StreamARN": "{arn}", "ConsumerName": "{reader}"},
    "I register {reader} for {arn}.",
)

RECIPES = (
    Recipe(
        "kinesis-create",
        _SLOTS | {"shards": number(2, 6)},
        (
            "create a stream {stream} with {shards} shards",
            "make a Kinesis stream called {stream} of {shards} shards",
            "set up the data stream {stream}, {shards} shards wide",
            "open a stream named {stream} and give it {shards} shards",
            "provide a Kinesis stream {stream} that has {shards} shards",
        ),
        (
            Do(
                "kinesis.CreateStream",
                {"StreamName": "{stream}", "ShardCount": "{shards}"},
                "I create {stream} with {shards} shards.",
            ),
        ),
        (
            check(
                "kinesis.DescribeStreamSummary",
                {"StreamName": "{stream}"},
                {"StreamDescriptionSummary": {"OpenShardCount": "{shards}"}},
            ),
            _OTHER_STANDS,
        ),
        "The stream {stream} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "kinesis-keep",
        _SLOTS | {"hours": number(48, 168, 24)},
        (
            "keep the data in the stream {stream} for {hours} hours",
            "increase the retention period of the Kinesis stream {stream} to {hours} hours",
            "let {stream} hold what it gets for {hours} hours",
            "raise how long the stream {stream} keeps its records to {hours} hours",
            "make {hours} hours the retention of the data stream {stream}",
        ),
        (
            Do(
                "kinesis.IncreaseStreamRetentionPeriod",
                {"StreamName": "{stream}", "RetentionPeriodHours": "{hours}"},
                "I let {stream} keep data for {hours} hours.",
            ),
        ),
        (
            check(
                "kinesis.DescribeStreamSummary",
                {"StreamName": "{stream}"},
                {"StreamDescriptionSummary": {"RetentionPeriodHours": "{hours}"}},
            ),
        ),
        "The stream {stream} keeps data for {hours} hours.",
        setup=(_STREAM, _OTHER),
    ),
    Recipe(
        "kinesis-delete",
        _SLOTS,
        (
            "delete the stream {stream}",
            "remove the Kinesis stream called {stream}",
            "get rid of the data stream {stream}",
            "drop {stream} from our streams",
            "throw the stream {stream} away",
        ),
        (Do("kinesis.DeleteStream", {"StreamName": "{stream}"}, "I delete the stream {stream}."),),
        (
            check("kinesis.DescribeStreamSummary", {"StreamName": "{stream}"}, fails="ResourceNotFoundException"),
            _OTHER_STANDS,
        ),
        "The stream {stream} is gone.",
        setup=(_STREAM, _OTHER),
    ),
    Recipe(
        "kinesis-tag",
        _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()},
        (
            "tag the stream {stream} with {key} {tag}",
            "put the tag {key}={tag} on the Kinesis stream {stream}",
            "give the stream called {stream} the tag {key} with the value {tag}",
            "label the stream {stream}: {key} is {tag}",
            "add a tag {key}: {tag} to the data stream {stream}",
        ),
        (
            Do(
                "kinesis.AddTagsToStream",
                {"StreamName": "{stream}", "Tags": {"{key}": "{tag}"}},
                "I tag {stream} with {key} {tag}.",
            ),
        ),
        (
            check(
                "kinesis.ListTagsForStream", {"StreamName": "{stream}"}, {"Tags": [{"Key": "{key}", "Value": "{tag}"}]}
            ),
        ),
        "The stream {stream} has the tag {key}.",
        setup=(_STREAM, _OTHER),
    ),
    Recipe(
        "kinesis-consumer",
        _SLOTS | {"reader": name()},
        (
            "register the consumer {reader} for the stream {stream}",
            "find the Kinesis stream {stream} and add the consumer {reader} to it",
            "let {reader} read the stream {stream} as a registered consumer",
            "look up the stream {stream} and register a consumer called {reader}",
            "give the data stream {stream} a consumer named {reader}",
        ),
        (_FIND, _REGISTER),
        (check("kinesis.ListStreamConsumers", {"StreamARN": _ARN}, {"Consumers": [{"ConsumerName": "{reader}"}]}),),
        "The consumer {reader} reads {stream}.",
        setup=(_STREAM, _OTHER),
        refs=_FOUND,
    ),
    Recipe(
        "kinesis-create-consumer",
        _SLOTS | {"reader": name()},
        (
            "create a stream {stream} with one shard and register the consumer {reader} for it",
            "make a Kinesis stream {stream} of 1 shard, read by a registered consumer {reader}",
            "set up the data stream {stream} (one shard) and its consumer {reader}",
            "open a stream {stream} that has one shard, then add a consumer named {reader}",
            "provide the one-shard stream {stream} and let {reader} be registered as its consumer",
        ),
        (
            Do("kinesis.CreateStream", {"StreamName": "{stream}", "ShardCount": 1}, "First I create {stream}."),
            _FIND,
            _REGISTER,
        ),
        (check("kinesis.ListStreamConsumers", {"StreamARN": _ARN}, {"Consumers": [{"ConsumerName": "{reader}"}]}),),
        "The stream {stream} is there, read by {reader}.",
        setup=(_OTHER,),
        refs={"arn": got(2, "StreamDescriptionSummary", "StreamARN")},
    ),
)
