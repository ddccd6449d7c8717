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
            "provision an EventBridge rule {rule} with a rate of {hours} hours",
            "start a scheduled rule named {rule}; it runs every {hours} hours",
            "spin up {rule} as a new rule with the schedule rate({hours} hours)",
            "get us an additional rule, {rule}, which is triggered once in {hours} hours",
            "see to it that there is an event rule {rule} on the schedule rate({hours} hours)",
            "establish a rule called {rule} that triggers at intervals of {hours} hours",
            "build an EventBridge rule, name {rule}, interval {hours} hours",
            "register the new scheduled rule {rule} with EventBridge; its rate is {hours} hours",
            "prepare a rule {rule} whose schedule is every {hours} hours",
            "define {rule} as an event rule that goes off every {hours} hours",
            "have a rule {rule} created in EventBridge that repeats itself each {hours} hours",
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
            "switch the EventBridge rule {rule} off",
            "make sure that the event rule {rule} does not fire for now",
            "stop the scheduled rule {rule} without deleting it",
            "disable the event rule {rule}",
            "turn off the EventBridge rule called {rule}, but keep it",
            "deactivate the scheduled rule {rule}",
            "set the state of the EventBridge rule {rule} to disabled",
            "pause the event rule named {rule}",
            "suspend the scheduled rule {rule} until further notice",
            "put the EventBridge rule {rule} to rest, but do not remove it",
            "see to it that the event rule {rule} is inactive",
            "keep the rule {rule} from triggering; it may stay in EventBridge",
            "silence the scheduled rule {rule} for a while",
            "change the event rule {rule} from enabled to disabled",
            "make the rule {rule} of EventBridge inactive",
            "have the schedule of the rule {rule} interrupted by disabling the rule",
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
            "remove the EventBridge rule called {rule}",
            "get rid of the scheduled rule {rule}",
            "drop {rule} from the rules for events",
            "delete the event rule {rule}",
            "throw the EventBridge rule {rule} away",
            "destroy the scheduled rule {rule}",
            "tear down the rule {rule} in EventBridge",
            "scrap the event rule named {rule}, since nothing depends on it",
            "discard {rule}, a scheduled rule that we no longer need",
            "retire the EventBridge rule {rule} for good",
            "clean up by deleting our event rule called {rule}",
            "see to it that the scheduled rule {rule} ceases to exist",
            "erase the rule {rule} from EventBridge",
            "dispose of the old event rule {rule}",
            "take down the EventBridge rule {rule}; all other rules stay",
            "make the scheduled rule {rule} disappear",
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
            "provision a rule {rule} that runs every {hours} hours and attach the tag {key} = {tag} to it",
            "spin up {rule} as an EventBridge rule, rate({hours} hours), whose tag {key} reads {tag}",
            "get us another rule, {rule}, on a schedule of {hours} hours, tagged with {key} {tag}",
            "establish a rule named {rule} that triggers every {hours} hours, marked {key}={tag} by a tag",
            "build the scheduled rule {rule}, once in {hours} hours, and assign {tag} to its tag {key}",
            "prepare a fresh event rule {rule} with the interval {hours} hours; its {key} tag is {tag}",
            "see to it that a new rule {rule} fires every {hours} hours and carries the tag {key}: {tag}",
            "start a rule {rule} on the schedule rate({hours} hours), and note {tag} under the tag key {key}",
            "register the rule {rule} with EventBridge, every {hours} hours, then apply the tag {key} with value {tag}",
            "have a rule {rule} created that goes off each {hours} hours and is labelled {key}: {tag}",
            "provide a scheduled rule {rule} (rate of {hours} hours) together with a tag, key {key}, value {tag}",
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
            "add {queue}, an SQS queue, as a target to the EventBridge rule {rule}",
            "set the existing queue {queue} as the target of the rule {rule}",
            "attach the queue {queue} to the scheduled rule {rule} as its target",
            "route the events of the rule {rule} into the SQS queue {queue}",
            "forward what the EventBridge rule {rule} emits to our queue {queue}",
            "deliver the events of the rule {rule} to the queue named {queue}",
            "register the queue {queue} as a target with the event rule {rule}",
            "see to it that the queue {queue} receives a message each time the rule {rule} is triggered",
            "point the scheduled rule {rule} to the queue {queue}",
            "link the SQS queue {queue} to the rule {rule}, so that it gets the rule's events",
            "give the EventBridge rule {rule} a target, namely the queue {queue}",
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
            "provision a rule {rule} with a rate of {hours} hours and a queue {queue}, and make the queue its target",
            "spin up the queue {queue} and an EventBridge rule {rule} that sends an event there every {hours} hours",
            "get us a rule {rule} on the schedule rate({hours} hours), and a new queue {queue} as the target",
            "establish a rule {rule} that triggers every {hours} hours; route its events to a new SQS queue {queue}",
            "build a queue {queue} plus a scheduled rule {rule}; each {hours} hours the rule delivers to the queue",
            "prepare a new queue {queue}, then a rule {rule} that fires every {hours} hours and targets this queue",
            "see to it that a new rule {rule} feeds a new queue {queue} every {hours} hours",
            "start a scheduled rule {rule}, once in {hours} hours; forward its events to {queue}, a new SQS queue",
            "register the EventBridge rule {rule} (interval {hours} hours), create the queue {queue} and link the two",
            "open a queue {queue} and point a new rule {rule} to it, running every {hours} hours",
            "provide a rule {rule}, schedule rate({hours} hours), and a queue {queue} that receives what it emits",
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
