"""Recipes of keys and their aliases."""

from toolgen.agent.tasks.patterns import got, had, seen
from toolgen.agent.tasks.recipes import Do, Recipe, check, then
from toolgen.agent.tasks.task import Check
from toolgen.agent.tasks.words import name, one_of, sentence, word
from toolgen.queries import Call

_KEY = Call("kms.CreateKey", {"Description": "{text}"})
_OTHER = Call("kms.CreateKey", {})
_ALIASED = (
    _OTHER,
    _KEY,
    Call("kms.CreateAlias", {"AliasName": "{alias}", "TargetKeyId": had(2, "KeyMetadata", "KeyId")}),
)
_HAD = {"key": had(1, "KeyMetadata", "KeyId"), "untouched": had(2, "KeyMetadata", "KeyId")}
_FOUND = {"key": got(1, "KeyMetadata", "KeyId"), "untouched": had(1, "KeyMetadata", "KeyId")}
_FIND = Do("kms.DescribeKey", {"KeyId": "{alias}"}, "I need the id of the key {alias}.")
_SLOTS = {"alias": name(before="alias/"), "text": sentence()}
_UNTOUCHED = check("kms.DescribeKey", {"KeyId": "{untouched}"}, {"KeyMetadata": {"KeyState": "Enabled"}})
_DISABLE = Do("kms.DisableKey", {"KeyId": "{key}"}, "I disable the key {key}.")
_ROTATE = Do("kms.EnableKeyRotation", {"KeyId": "{key}"}, "I turn on rotation of {key}.")
_DAYS = one_of(7, 10, 14, 21, 30)
_DELETE = Do(
    "kms.ScheduleKeyDeletion",
    {"KeyId": "{key}", "PendingWindowInDays": "{days}"},
    "I schedule the deletion of {key}.",
)


def _state(key: str, state: str) -> Check:
    return check("kms.DescribeKey", {"KeyId": key}, {"KeyMetadata": {"KeyState": state}})


RECIPES = (
    Recipe(
        "kms-disable",
        _SLOTS,
        (
            "disable the key {key}",
            "switch off the KMS key {key}",
            "make sure that nobody can use the key {key} for now",
            "turn the encryption key with the id {key} off",
            "deactivate the key {key}, but keep it",
        ),
        (_DISABLE,),
        (_state("{key}", "Disabled"), _UNTOUCHED),
        "The key is disabled.",
        setup=(_KEY, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "kms-rotate",
        _SLOTS,
        (
            "turn on rotation for the key {key}",
            "enable automatic rotation of the KMS key {key}",
            "let the key {key} be rotated every year",
            "have KMS rotate the key with the id {key}",
            "switch key rotation on for {key}",
        ),
        (_ROTATE,),
        (check("kms.GetKeyRotationStatus", {"KeyId": "{key}"}, {"KeyRotationEnabled": True}),),
        "The key is rotated from now on.",
        setup=(_KEY, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "kms-delete",
        _SLOTS | {"days": _DAYS},
        (
            "schedule the deletion of the key {key} in {days} days",
            "delete the KMS key {key} with a waiting time of {days} days",
            "let the key {key} be deleted after {days} days",
            "get rid of the key with the id {key}, {days} days from now",
            "plan to remove the encryption key {key} in {days} days",
        ),
        (_DELETE,),
        (_state("{key}", "PendingDeletion"), _UNTOUCHED),
        "The key will be deleted in {days} days.",
        setup=(_KEY, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "kms-alias",
        _SLOTS,
        (
            "give the key {key} the alias {alias}",
            "create the KMS alias {alias} for the key {key}",
            "let the key {key} be known as {alias}",
            "point a new alias, {alias}, to the key {key}",
            "name the key with the id {key} {alias}",
        ),
        (Do("kms.CreateAlias", {"AliasName": "{alias}", "TargetKeyId": "{key}"}, "I create {alias} for {key}."),),
        (check("kms.DescribeKey", {"KeyId": "{alias}"}, {"KeyMetadata": {"KeyId": "{key}"}}),),
        "The key has the alias {alias}.",
        setup=(_KEY, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "kms-create-alias",
        _SLOTS,
        (
            'create a key with the description "{text}" and the alias {alias}',
            'make a KMS key, described as "{text}", and call it {alias}',
            'set up an encryption key known as {alias}; its description is "{text}"',
            'add a key to KMS that says "{text}", then give it the alias {alias}',
            'provide a new key described by "{text}" under the alias {alias}',
        ),
        (
            Do("kms.CreateKey", {"Description": "{text}"}, "First I create the key."),
            Do("kms.CreateAlias", {"AliasName": "{alias}", "TargetKeyId": "{key}"}, "I create {alias} for {key}."),
        ),
        (check("kms.DescribeKey", {"KeyId": "{alias}"}, {"KeyMetadata": {"Description": "{text}"}}),),
        "The key {alias} is there.",
        refs={"key": got(1, "KeyMetadata", "KeyId")},
    ),
    Recipe(
        "kms-create-alias-rotate",
        _SLOTS,
        (
            "create a key with the alias {alias} and turn on its rotation",
            "make a KMS key called {alias} that is rotated automatically",
            "set up a rotated encryption key known as {alias}",
            "add a key to KMS, give it the alias {alias} and enable rotation for it",
            "provide a new key {alias}; it must be rotated every year",
        ),
        (
            Do("kms.CreateKey", {}, "First I create the key."),
            Do("kms.CreateAlias", {"AliasName": "{alias}", "TargetKeyId": "{key}"}, "I create {alias} for {key}."),
            _ROTATE,
        ),
        (
            then(
                check("kms.DescribeKey", {"KeyId": "{alias}"}),
                "kms.GetKeyRotationStatus",
                {"KeyId": seen(1, "KeyMetadata", "KeyId")},
                {"KeyRotationEnabled": True},
            ),
        ),
        "The key {alias} is there and rotated.",
        refs={"key": got(1, "KeyMetadata", "KeyId")},
    ),
    Recipe(
        "kms-find-disable",
        _SLOTS,
        (
            "disable the key with the alias {alias}",
            "find the KMS key {alias} and switch it off",
            "look up which key {alias} is and deactivate it",
            "turn off the encryption key that is known as {alias}",
            "make the key behind {alias} unusable for now",
        ),
        (_FIND, _DISABLE),
        (_state("{alias}", "Disabled"), _UNTOUCHED),
        "The key {alias} is disabled.",
        setup=_ALIASED,
        refs=_FOUND,
    ),
    Recipe(
        "kms-find-delete",
        _SLOTS | {"days": _DAYS},
        (
            "delete the key with the alias {alias} in {days} days",
            "find the KMS key {alias} and schedule its deletion {days} days from now",
            "look up which key {alias} is and let it be deleted after {days} days",
            "get rid of the encryption key known as {alias}; wait {days} days",
            "plan the deletion of the key behind {alias} with {days} days to go",
        ),
        (_FIND, _DELETE),
        (
            check(
                "kms.DescribeKey",
                {"KeyId": had(2, "KeyMetadata", "KeyId")},
                {"KeyMetadata": {"KeyState": "PendingDeletion"}},
            ),
            _UNTOUCHED,
        ),
        "The key {alias} will be deleted in {days} days.",
        setup=_ALIASED,
        refs=_FOUND,
    ),
    Recipe(
        "kms-find-tag",
        _SLOTS | {"key_name": one_of("team", "owner", "stage"), "tag": word()},
        (
            "tag the key with the alias {alias}: {key_name} is {tag}",
            "find the KMS key {alias} and put the tag {key_name}={tag} on it",
            "look up which key {alias} is and tag it with {key_name} {tag}",
            "label the encryption key {alias} as {key_name} {tag}",
            "give the key behind {alias} the tag {key_name} with the value {tag}",
        ),
        (
            _FIND,
            Do(
                "kms.TagResource",
                {"KeyId": "{key}", "Tags": [{"TagKey": "{key_name}", "TagValue": "{tag}"}]},
                "I tag {key} with {key_name} {tag}.",
            ),
        ),
        (
            check(
                "kms.ListResourceTags",
                {"KeyId": had(2, "KeyMetadata", "KeyId")},
                {"Tags": [{"TagKey": "{key_name}", "TagValue": "{tag}"}]},
            ),
        ),
        "The key {alias} has the tag {key_name}.",
        setup=_ALIASED,
        refs=_FOUND,
    ),
)
