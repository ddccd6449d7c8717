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
            "provision a fresh Kinesis stream named {stream}, {shards} shards in size",
            "start a data stream that is called {stream} and has {shards} shards",
            "spin up {stream} as a new stream of {shards} shards",
            "get us an additional Kinesis stream, {stream}, with a shard count of {shards}",
            "see to it that there is a stream {stream} of {shards} shards; it does not exist yet",
            "establish {stream} as one more data stream, with {shards} shards",
            "prepare a channel for records: a Kinesis stream {stream} with {shards} shards",
            "have a stream created that bears the name {stream} and comprises {shards} shards",
            "register the new data stream {stream} with Kinesis, shard count {shards}",
            "build a stream, call it {stream}, and let it have {shards} shards",
            "add the Kinesis stream {stream}; {shards} shards are needed",
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
            "let the data stream {stream} hold what it gets for {hours} hours",
            "raise how long the Kinesis stream {stream} keeps its records to {hours} hours",
            "make {hours} hours the retention of the data stream {stream}",
            "extend the retention of the data stream {stream} to {hours} hours",
            "move the retention period of the data stream {stream} up to {hours} hours",
            "update the Kinesis stream {stream} so that records live for {hours} hours",
            "give the data stream {stream} a longer retention time, {hours} hours",
            "adjust the Kinesis stream {stream}: its records are kept for {hours} hours",
            "lengthen the time for which the stream {stream} retains its records to {hours} hours",
            "see to it that the data stream {stream} retains its data for {hours} hours",
            "put the retention of our Kinesis stream {stream} up to {hours} hours",
            "store what arrives in the data stream {stream} for {hours} hours",
            "set the retention period of the stream called {stream} to {hours} hours, which is more than now",
            "assign {hours} hours of retention to the Kinesis stream {stream}",
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
            "remove the Kinesis stream called {stream}",
            "get rid of the data stream {stream}",
            "delete the data stream {stream}",
            "drop {stream} from our Kinesis streams",
            "throw the data stream {stream} away",
            "destroy the Kinesis stream {stream}",
            "tear down the data stream {stream}, shards and all",
            "scrap the Kinesis stream named {stream}, since nobody reads it",
            "discard {stream}, a data stream that we no longer need",
            "retire the Kinesis stream {stream} for good",
            "clean up by deleting our data stream called {stream}",
            "see to it that the Kinesis stream {stream} ceases to exist",
            "erase the entire stream {stream} from Kinesis",
            "dispose of the old data stream {stream}",
            "take down the Kinesis stream {stream}; all others stay",
            "make the data stream {stream} disappear",
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
            "put the tag {key}={tag} on the Kinesis stream {stream}",
            "add a tag {key}: {tag} to the data stream {stream}",
            "tag the Kinesis stream {stream} with {key} {tag}",
            "give the data stream called {stream} the tag {key} with the value {tag}",
            "label the Kinesis stream {stream}: {key} is {tag}",
            "attach the tag {key} = {tag} to the data stream {stream}",
            "assign {tag} to the tag {key} of the Kinesis stream {stream}",
            "set the tag {key} on the existing data stream {stream} to {tag}",
            "apply a tag to the Kinesis stream named {stream}, namely {key}: {tag}",
            "record by a tag that the {key} of the data stream {stream} is {tag}",
            "let our Kinesis stream {stream} carry a tag {key} that reads {tag}",
            "see to it that the data stream {stream} gets tagged, key {key}, value {tag}",
            "note {tag} under the tag key {key} on the Kinesis stream {stream}",
            "classify the data stream {stream} by tagging it {key}={tag}",
            "mark {stream} in Kinesis as {key} {tag} by a tag",
            "equip the data stream {stream} with a tag: {key}, {tag}",
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
            "attach the consumer {reader} to the existing Kinesis stream {stream}",
            "set up {reader} as a registered consumer of our data stream {stream}",
            "create a consumer {reader} on the Kinesis stream {stream}, which is there already",
            "sign {reader} up as a consumer of the data stream {stream}",
            "establish {reader} as one more consumer of the existing stream {stream}",
            "see to it that {reader} is registered as a consumer with the Kinesis stream {stream}",
            "enrol the consumer {reader} for the data stream called {stream}",
            "make {reader} a registered consumer of the stream {stream}",
            "connect a consumer named {reader} with our Kinesis stream {stream}",
            "have the consumer {reader} registered with the data stream {stream}",
            "open the existing stream {stream} to a new registered consumer, {reader}",
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
            "provision a new Kinesis stream {stream} with a single shard, and attach the consumer {reader} to it",
            "spin up {stream} as a data stream of one shard and sign {reader} up as its consumer",
            "get us another Kinesis stream, {stream}, one shard, with {reader} as a registered consumer",
            "establish a stream named {stream} with just one shard, then enrol the consumer {reader}",
            "build the one-shard data stream {stream}; a consumer {reader} must be registered with it",
            "prepare a fresh stream {stream} with shard count 1 together with its registered consumer {reader}",
            "see to it that a new one-shard stream {stream} exists and that {reader} is registered as its consumer",
            "start a Kinesis stream {stream} of one shard and make {reader} a registered consumer of the stream",
            "register the consumer {reader} with a new data stream {stream}, which needs only one shard",
            "have a stream {stream} created, 1 shard, and have {reader} registered to consume it",
            "add the single-shard stream {stream} to Kinesis, and a consumer called {reader} to the stream",
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
