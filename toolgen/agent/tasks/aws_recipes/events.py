"""Recipes of rules for events, and of queues that get them."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, number, one_of, word
from toolgen.queries import Call

_SCHEDULE = {"Name": "{rule}", "ScheduleExpression": "rate({hours} hours)"}
_RULE = Call("events.PutRule", _SCHEDULE)
_OTHER = Call("events.PutRule", _SCHEDULE | {"Name": "{other}"})
_SLOTS = {"rule": name(), "other": name(), "hours": number(2, 48)}
_QUEUE = Call("sqs.CreateQueue", {"QueueName": "{queue}"})
_ARN = "arn:aws:sqs:us-east-1:123456789012:{queue}"
_OTHER_STANDS = check("events.DescribeRule", {"Name": "{other}"}, {"State": "ENABLED"})
_CREATE = Do("events.PutRule", _SCHEDULE, "First I create the rule {rule}.")
_TARGET = Do(
    "events.PutTargets",
    {"Rule": "{rule}", "Targets": [{"Id": "queue", "Arn": "{arn}"}]},
    "I make {arn} the target of {rule}.",
)
_TARGETED = check("events.ListTargetsByRule", {"Rule": "{rule}"}, {"Targets": [{"Arn": _ARN}]})
_QUEUE_URL = Do("sqs.GetQueueUrl", {"QueueName": "{queue}"}, "I need the URL of the queue {queue}.")
_QUEUE_ARN = Do(
    "sqs.GetQueueAttributes", {"QueueUrl": "{url}", "AttributeNames": ["QueueArn"]}, "I need the ARN of {url}."
)

RECIPES = (
    Recipe(
        "events-create",
        _SLOTS,
        (
            "create a rule {rule} that fires every {hours} hours",
            "make an EventBridge rule called {rule} with the schedule rate({hours} hours)",
            "set up the rule {rule}: once in {hours} hours",
            "add a scheduled rule named {rule} to EventBridge, every {hours} hours",
            "let a new rule {rule} start something every {hours} hours",
        ),
        (Do("events.PutRule", _SCHEDULE, "I create the rule {rule}."),),
        (
            check("events.DescribeRule", {"Name": "{rule}"}, {"ScheduleExpression": "rate({hours} hours)"}),
            _OTHER_STANDS,
        ),
        "The rule {rule} fires every {hours} hours.",
        setup=(_OTHER,),
    ),
    Recipe(
        "events-disable",
        _SLOTS,
        (
            "disable the rule {rule}",
            "switch the EventBridge rule {rule} off",
            "make sure that the rule {rule} does not fire for now",
            "turn off the rule called {rule}, but keep it",
            "stop the scheduled rule {rule} without deleting it",
        ),
        (Do("events.DisableRule", {"Name": "{rule}"}, "I disable the rule {rule}."),),
        (check("events.DescribeRule", {"Name": "{rule}"}, {"State": "DISABLED"}), _OTHER_STANDS),
        "The rule {rule} is disabled.",
        setup=(_RULE, _OTHER),
    ),
    Recipe(
        "events-delete",
        _SLOTS,
        (
            "delete the rule {rule}",
            "remove the EventBridge rule called {rule}",
            "get rid of the scheduled rule {rule}",
            "drop {rule} from the rules for events",
            "throw the rule {rule} away",
        ),
        (Do("events.DeleteRule", {"Name": "{rule}"}, "I delete the rule {rule}."),),
        (check("events.DescribeRule", {"Name": "{rule}"}, fails="ResourceNotFoundException"), _OTHER_STANDS),
        "The rule {rule} is gone.",
        setup=(_RULE, _OTHER),
    ),
    Recipe(
        "events-create-tag",
        _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()},
        (
            "create a rule {rule} that fires every {hours} hours, with the tag {key}={tag}",
            "make an EventBridge rule {rule}, rate({hours} hours), and tag it with {key} {tag}",
            "set up the rule {rule} (every {hours} hours) and label it {key}: {tag}",
            "add a rule named {rule} for every {hours} hours, then the tag {key} with the value {tag}",
            "let a rule {rule} fire once in {hours} hours and have a tag {key} that is {tag}",
        ),
        (
            _CREATE,
            Do(
                "events.TagResource",
                {"ResourceARN": "{arn}", "Tags": [{"Key": "{key}", "Value": "{tag}"}]},
                "I tag {arn} with {key} {tag}.",
            ),
        ),
        (
            check(
                "events.ListTagsForResource",
                {"ResourceARN": "arn:aws:events:us-east-1:123456789012:rule/{rule}"},
                {"Tags": [{"Key": "{key}", "Value": "{tag}"}]},
            ),
        ),
        "The rule {rule} is there with its tag.",
        setup=(_OTHER,),
        refs={"arn": got(1, "RuleArn")},
    ),
    Recipe(
        "events-target",
        _SLOTS | {"queue": name()},
        (
            "let the rule {rule} send its events to the queue {queue}",
            "find the SQS queue {queue} and make it a target of the EventBridge rule {rule}",
            "connect the rule {rule} with the queue {queue}",
            "look up the queue {queue} and add it to the targets of the rule {rule}",
            "have the queue {queue} told whenever the rule {rule} fires",
        ),
        (_QUEUE_URL, _QUEUE_ARN, _TARGET),
        (_TARGETED,),
        "The rule {rule} sends to {queue}.",
        setup=(_RULE, _OTHER, _QUEUE),
        refs={"url": got(1, "QueueUrl"), "arn": got(2, "Attributes", "QueueArn")},
    ),
    Recipe(
        "events-all",
        _SLOTS | {"queue": name()},
        (
            "create a rule {rule} that fires every {hours} hours, a queue {queue}, and send the events there",
            "make an EventBridge rule {rule}, rate({hours} hours), whose target is a new SQS queue {queue}",
            "set up the rule {rule} (every {hours} hours) together with a queue {queue} that gets its events",
            "add a rule named {rule} for every {hours} hours and let it write into a new queue {queue}",
            "have a new queue {queue} told every {hours} hours by a new rule {rule}",
        ),
        (
            _CREATE,
            Do("sqs.CreateQueue", {"QueueName": "{queue}"}, "Then I create the queue {queue}."),
            _QUEUE_ARN,
            _TARGET,
        ),
        (_TARGETED, check("sqs.GetQueueUrl", {"QueueName": "{queue}"})),
        "The rule {rule} sends to {queue} every {hours} hours.",
        setup=(_OTHER,),
        refs={"url": got(2, "QueueUrl"), "arn": got(3, "Attributes", "QueueArn")},
    ),
)
