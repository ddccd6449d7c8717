"""Recipes of queues."""

from toolgen.agent.tasks.patterns import got, had, seen
from toolgen.agent.tasks.recipes import Do, Recipe, check, then
from toolgen.agent.tasks.words import name, number, one_of, sentence, word
from toolgen.queries import Call

_GONE = "AWS.SimpleQueueService.NonExistentQueue"
_QUEUE = Call("sqs.CreateQueue", {"QueueName": "{queue}"})
_OTHER = Call("sqs.CreateQueue", {"QueueName": "{other}"})
_FIND = Do("sqs.GetQueueUrl", {"QueueName": "{queue}"}, "I need the URL of the queue {queue}.")
_URL = {"url": got(1, "QueueUrl")}
_LOOK = check("sqs.GetQueueUrl", {"QueueName": "{queue}"})
_OTHER_STANDS = check("sqs.GetQueueUrl", {"QueueName": "{other}"})
_SETTINGS = then(
    _LOOK,
    "sqs.GetQueueAttributes",
    {"QueueUrl": seen(1, "QueueUrl"), "AttributeNames": ["All"]},
    {"Attributes": {"{setting}": "{value!s}"}},
)
_MESSAGE = then(
    _LOOK, "sqs.ReceiveMessage", {"QueueUrl": seen(1, "QueueUrl")}, {"Messages": {"$only": [{"Body": "{text}"}]}}
)
_SLOTS = {"queue": name(), "other": name()}
_SETTING = one_of("VisibilityTimeout", "DelaySeconds", "ReceiveMessageWaitTimeSeconds")
_VALUE = number(1, 20)

RECIPES = (
    Recipe(
        "sqs-create",
        _SLOTS,
        (
            "create a queue called {queue}",
            "make an SQS queue with the name {queue}",
            "set up the message queue {queue}",
            "add a new queue, {queue}, to SQS",
            "open a queue named {queue} for our messages",
            "provide an SQS queue {queue}",
        ),
        (Do("sqs.CreateQueue", {"QueueName": "{queue}"}, "I create the queue {queue}."),),
        (_LOOK, _OTHER_STANDS),
        "The queue {queue} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "sqs-create-set",
        {"queue": name(), "setting": _SETTING, "value": _VALUE},
        (
            "create a queue called {queue} whose {setting} is {value}",
            "make the SQS queue {queue} with {setting} {value}",
            "set up a queue {queue}; its {setting} shall be {value}",
            "add the queue {queue} to SQS and let {setting} be {value} there",
            "open a queue named {queue} with a {setting} of {value}",
            "provide a queue {queue}, {setting} = {value}",
        ),
        (
            Do(
                "sqs.CreateQueue",
                {"QueueName": "{queue}", "Attributes": {"{setting}": "{value!s}"}},
                "I create the queue {queue} with {setting} {value}.",
            ),
        ),
        (_SETTINGS,),
        "The queue {queue} is there with {setting} {value}.",
    ),
    Recipe(
        "sqs-create-send",
        {"queue": name(), "text": sentence()},
        (
            'create a queue {queue} and send the message "{text}" to it',
            'make an SQS queue called {queue}, then put "{text}" into it',
            'set up the queue {queue} and write "{text}" as its first message',
            'open a new queue named {queue} and post "{text}" there',
            'add the queue {queue} to SQS and enqueue "{text}"',
            'start a queue {queue} with the message "{text}" in it',
        ),
        (
            Do("sqs.CreateQueue", {"QueueName": "{queue}"}, "First I create the queue {queue}."),
            Do("sqs.SendMessage", {"QueueUrl": "{url}", "MessageBody": "{text}"}, "I send the message to {url}."),
        ),
        (_MESSAGE,),
        "The queue {queue} is there with its message.",
        refs=_URL,
    ),
    Recipe(
        "sqs-send",
        {**_SLOTS, "text": sentence()},
        (
            'send the message "{text}" to the queue {queue}',
            'put "{text}" into the SQS queue {queue}',
            'enqueue "{text}" in {queue}',
            'write a message to the queue {queue}: "{text}"',
            'post "{text}" on the queue named {queue}',
            'let the readers of the queue {queue} know: "{text}"',
        ),
        (_FIND, Do("sqs.SendMessage", {"QueueUrl": "{url}", "MessageBody": "{text}"}, "I send the message to {url}.")),
        (_MESSAGE,),
        "The message is in the queue {queue}.",
        setup=(_OTHER, _QUEUE),
        refs=_URL,
    ),
    Recipe(
        "sqs-set",
        {**_SLOTS, "setting": _SETTING, "value": _VALUE},
        (
            "set {setting} of the queue {queue} to {value}",
            "change the {setting} of the SQS queue {queue} to {value}",
            "find the queue {queue} and let its {setting} be {value}",
            "give the queue called {queue} a {setting} of {value}",
            "configure {queue} in SQS with {setting} {value}",
            "make {value} the {setting} of the queue {queue}",
        ),
        (
            _FIND,
            Do(
                "sqs.SetQueueAttributes",
                {"QueueUrl": "{url}", "Attributes": {"{setting}": "{value!s}"}},
                "I set {setting} of {url} to {value}.",
            ),
        ),
        (_SETTINGS,),
        "The queue {queue} has {setting} {value} now.",
        setup=(_QUEUE, _OTHER),
        refs=_URL,
    ),
    Recipe(
        "sqs-tag",
        {**_SLOTS, "key": one_of("team", "owner", "project", "stage"), "tag": word()},
        (
            "tag the queue {queue} with {key} {tag}",
            "put the tag {key}={tag} on the SQS queue {queue}",
            "give the queue called {queue} the tag {key} with the value {tag}",
            "label the queue {queue}: {key} is {tag}",
            "mark {queue} in SQS as {key} {tag} by a tag",
            "add a tag {key}: {tag} to the queue {queue}",
        ),
        (
            _FIND,
            Do("sqs.TagQueue", {"QueueUrl": "{url}", "Tags": {"{key}": "{tag}"}}, "I tag {url} with {key} {tag}."),
        ),
        (then(_LOOK, "sqs.ListQueueTags", {"QueueUrl": seen(1, "QueueUrl")}, {"Tags": {"{key}": "{tag}"}}),),
        "The queue {queue} has the tag {key}.",
        setup=(_QUEUE, _OTHER),
        refs=_URL,
    ),
    Recipe(
        "sqs-delete",
        _SLOTS,
        (
            "delete the queue {queue}",
            "remove the SQS queue called {queue}",
            "get rid of the queue {queue}",
            "drop {queue} from our queues",
            "find the queue named {queue} and delete it",
            "throw the queue {queue} away",
        ),
        (_FIND, Do("sqs.DeleteQueue", {"QueueUrl": "{url}"}, "I delete {url}.")),
        (check("sqs.GetQueueUrl", {"QueueName": "{queue}"}, fails=_GONE), _OTHER_STANDS),
        "The queue {queue} is gone.",
        setup=(_QUEUE, _OTHER),
        refs=_URL,
    ),
    Recipe(
        "sqs-delete-url",
        _SLOTS,
        (
            "delete the queue at {url}",
            "remove the SQS queue whose URL is {url}",
            "get rid of the queue {url}",
            "drop the queue with the URL {url}",
            "throw away the queue behind {url}",
        ),
        (Do("sqs.DeleteQueue", {"QueueUrl": "{url}"}, "I delete {url}."),),
        (check("sqs.GetQueueUrl", {"QueueName": "{queue}"}, fails=_GONE), _OTHER_STANDS),
        "The queue is gone.",
        setup=(_QUEUE, _OTHER),
        refs={"url": had(1, "QueueUrl")},
    ),
    Recipe(
        "sqs-purge",
        {**_SLOTS, "text": sentence()},
        (
            "delete all messages in the queue {queue}",
            "empty the SQS queue {queue}",
            "purge the queue called {queue}",
            "clear {queue} of its messages, but keep the queue",
            "throw away whatever waits in the queue {queue}",
        ),
        (_FIND, Do("sqs.PurgeQueue", {"QueueUrl": "{url}"}, "I purge {url}.")),
        (
            then(
                _LOOK,
                "sqs.ReceiveMessage",
                {"QueueUrl": seen(1, "QueueUrl")},
                {"Messages": {"$not": [{"Body": "{text}"}]}},
            ),
            _OTHER_STANDS,
        ),
        "The queue {queue} is empty.",
        setup=(_QUEUE, _OTHER, Call("sqs.SendMessage", {"QueueUrl": had(1, "QueueUrl"), "MessageBody": "{text}"})),
        refs=_URL,
    ),
)
