"""Recipes of topics and their subscriptions."""

from toolgen.agent.tasks.patterns import got, had
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, one_of, word
from toolgen.queries import Call

_TOPIC = Call("sns.CreateTopic", {"Name": "{topic}"})
_OTHER = Call("sns.CreateTopic", {"Name": "{other}"})
_ARN = "arn:aws:sns:us-east-1:123456789012:"
_STANDS = check("sns.GetTopicAttributes", {"TopicArn": _ARN + "{topic}"})
_OTHER_STANDS = check("sns.GetTopicAttributes", {"TopicArn": _ARN + "{other}"})
_CREATE = Do("sns.CreateTopic", {"Name": "{topic}"}, "First I create the topic {topic}.")
_LIST = Do("sns.ListTopics", {}, "I look for the topic {topic}.")
_FOUND = {"arn": got(1, "Topics", {"TopicArn": {"$contains": ":{topic}"}}, "TopicArn")}
_SLOTS = {"topic": name(), "other": name()}
_SUBSCRIBED = check(
    "sns.ListSubscriptionsByTopic",
    {"TopicArn": _ARN + "{topic}"},
    {"Subscriptions": [{"Protocol": "email", "Endpoint": "{address}"}]},
)
_SUBSCRIBE = Do(
    "sns.Subscribe",
    {"TopicArn": "{arn}", "Protocol": "email", "Endpoint": "{address}"},
    "I subscribe {address} to {arn}.",
)
_ADDRESS = name(".", after="@example.com")

RECIPES = (
    Recipe(
        "sns-create",
        _SLOTS,
        (
            "create a topic called {topic}",
            "make an SNS topic with the name {topic}",
            "set up the notification topic {topic}",
            "add a new topic, {topic}, to SNS",
            "open a topic named {topic} for our announcements",
            "provide an SNS topic {topic}",
        ),
        (Do("sns.CreateTopic", {"Name": "{topic}"}, "I create the topic {topic}."),),
        (_STANDS, _OTHER_STANDS),
        "The topic {topic} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "sns-delete-arn",
        _SLOTS,
        (
            "delete the topic {arn}",
            "remove the SNS topic whose ARN is {arn}",
            "get rid of the topic {arn}",
            "drop the topic with the ARN {arn}",
            "throw away the notification topic {arn}",
        ),
        (Do("sns.DeleteTopic", {"TopicArn": "{arn}"}, "I delete {arn}."),),
        (check("sns.GetTopicAttributes", {"TopicArn": "{arn}"}, fails="NotFound"), _OTHER_STANDS),
        "The topic is gone.",
        setup=(_TOPIC, _OTHER),
        refs={"arn": had(1, "TopicArn")},
    ),
    Recipe(
        "sns-unsubscribe",
        _SLOTS | {"address": _ADDRESS},
        (
            "cancel the subscription {arn}",
            "unsubscribe {arn}",
            "end the SNS subscription with the ARN {arn}",
            "remove the subscription {arn} from its topic",
            "stop the subscription {arn}; the topic stays",
        ),
        (Do("sns.Unsubscribe", {"SubscriptionArn": "{arn}"}, "I end {arn}."),),
        (
            _STANDS,
            check(
                "sns.ListSubscriptionsByTopic",
                {"TopicArn": _ARN + "{topic}"},
                {"Subscriptions": {"$not": [{"Endpoint": "{address}@example.org"}]}},
            ),
            check(
                "sns.ListSubscriptionsByTopic",
                {"TopicArn": _ARN + "{topic}"},
                {"Subscriptions": [{"Endpoint": "{address}"}]},
            ),
        ),
        "The subscription is over.",
        setup=(
            _TOPIC,
            Call("sns.Subscribe", {"TopicArn": had(1, "TopicArn"), "Protocol": "email", "Endpoint": "{address}"}),
            Call(
                "sns.Subscribe",
                {"TopicArn": had(1, "TopicArn"), "Protocol": "email", "Endpoint": "{address}@example.org"},
            ),
        ),
        refs={"arn": had(3, "SubscriptionArn")},
    ),
    Recipe(
        "sns-create-subscribe",
        _SLOTS | {"address": _ADDRESS},
        (
            "create a topic {topic} and subscribe {address} to it",
            "make an SNS topic called {topic} with the email subscriber {address}",
            "set up the topic {topic} so that {address} gets its messages by email",
            "open a topic named {topic}, then add {address} as an email subscription",
            "start the notification topic {topic} and let {address} receive it by email",
        ),
        (_CREATE, _SUBSCRIBE),
        (_SUBSCRIBED, _OTHER_STANDS),
        "The topic {topic} is there, and {address} is subscribed.",
        setup=(_OTHER,),
        refs={"arn": got(1, "TopicArn")},
    ),
    Recipe(
        "sns-find-subscribe",
        _SLOTS | {"address": _ADDRESS},
        (
            "subscribe {address} to the existing topic {topic}",
            "find the SNS topic {topic} and add the email subscriber {address}",
            "let {address} get the messages of the topic {topic} by email",
            "look up the topic {topic} and send what comes there to {address}, too",
            "add an email subscription for {address} to the topic {topic} that we have",
        ),
        (_LIST, _SUBSCRIBE),
        (_SUBSCRIBED, _OTHER_STANDS),
        "{address} is subscribed to {topic}.",
        setup=(_OTHER, _TOPIC),
        refs=_FOUND,
    ),
    Recipe(
        "sns-find-set",
        _SLOTS | {"display": word()},
        (
            "set the display name of the topic {topic} to {display}",
            "find the SNS topic {topic} and let its DisplayName be {display}",
            "give the topic {topic} the display name {display}",
            "change how the topic {topic} is shown: its display name is {display}",
            "look up the topic {topic} and make {display} its display name",
        ),
        (
            _LIST,
            Do(
                "sns.SetTopicAttributes",
                {"TopicArn": "{arn}", "AttributeName": "DisplayName", "AttributeValue": "{display}"},
                "I set the display name of {arn}.",
            ),
        ),
        (
            check(
                "sns.GetTopicAttributes", {"TopicArn": _ARN + "{topic}"}, {"Attributes": {"DisplayName": "{display}"}}
            ),
        ),
        "The topic {topic} is shown as {display}.",
        setup=(_OTHER, _TOPIC),
        refs=_FOUND,
    ),
    Recipe(
        "sns-find-delete",
        _SLOTS,
        (
            "delete the topic {topic}",
            "find the SNS topic {topic} and remove it",
            "get rid of the notification topic called {topic}",
            "drop {topic} from our topics",
            "look up the topic {topic} and throw it away",
        ),
        (_LIST, Do("sns.DeleteTopic", {"TopicArn": "{arn}"}, "I delete {arn}.")),
        (check("sns.GetTopicAttributes", {"TopicArn": _ARN + "{topic}"}, fails="NotFound"), _OTHER_STANDS),
        "The topic {topic} is gone.",
        setup=(_OTHER, _TOPIC),
        refs=_FOUND,
    ),
    Recipe(
        "sns-create-tag",
        _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()},
        (
            "create a topic {topic} and tag it with {key} {tag}",
            "make an SNS topic called {topic} that has the tag {key}={tag}",
            "set up the topic {topic}, labelled {key}: {tag}",
            "open a topic named {topic} and give it the tag {key} with the value {tag}",
            "add the topic {topic} to SNS, then the tag {key}={tag} to the topic",
        ),
        (
            _CREATE,
            Do(
                "sns.TagResource",
                {"ResourceArn": "{arn}", "Tags": [{"Key": "{key}", "Value": "{tag}"}]},
                "I tag {arn} with {key} {tag}.",
            ),
        ),
        (
            check(
                "sns.ListTagsForResource",
                {"ResourceArn": _ARN + "{topic}"},
                {"Tags": [{"Key": "{key}", "Value": "{tag}"}]},
            ),
        ),
        "The topic {topic} is there with its tag.",
        refs={"arn": got(1, "TopicArn")},
    ),
)
