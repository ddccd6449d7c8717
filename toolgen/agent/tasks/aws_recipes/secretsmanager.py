"""Recipes of secrets."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, one_of, sentence, word
from toolgen.queries import Call

_NAME = name("/")
_SLOTS = {"secret": _NAME, "other": _NAME, "value": name("_"), "old": name("_")}
_THERE = tuple(
    Call("secretsmanager.CreateSecret", {"Name": secret, "SecretString": "{old}"}) for secret in ("{other}", "{secret}")
)
_IS = check("secretsmanager.GetSecretValue", {"SecretId": "{secret}"}, {"SecretString": "{value}"})
_OTHER_STANDS = check("secretsmanager.GetSecretValue", {"SecretId": "{other}"}, {"SecretString": "{old}"})
_READ = Do("secretsmanager.GetSecretValue", {"SecretId": "{secret}"}, "I need the value of {secret}.")
_FOUND = {"found": got(1, "SecretString")}
_COPIED = check("secretsmanager.GetSecretValue", {"SecretId": "{target}"}, {"SecretString": "{old}"})
_COPY = Do(
    "secretsmanager.CreateSecret", {"Name": "{target}", "SecretString": "{found}"}, "I store {found} as {target}."
)
_GONE = check("secretsmanager.GetSecretValue", {"SecretId": "{secret}"}, fails="ResourceNotFoundException")

RECIPES = (
    Recipe(
        "secretsmanager-create",
        _SLOTS,
        (
            "store {value} as the secret {secret}",
            "create a secret {secret} with the value {value}",
            "put the string {value} under {secret} in the secrets manager",
            "add the secret {secret} and let it be {value}",
            "keep {value} as a secret called {secret}",
        ),
        (
            Do(
                "secretsmanager.CreateSecret",
                {"Name": "{secret}", "SecretString": "{value}"},
                "I store {value} as {secret}.",
            ),
        ),
        (_IS, _OTHER_STANDS),
        "The secret {secret} is stored.",
        setup=_THERE[:1],
    ),
    Recipe(
        "secretsmanager-change",
        _SLOTS,
        (
            "change the secret {secret} to {value}",
            "let the existing secret {secret} be {value} from now on",
            "put the new value {value} into the secret {secret}",
            "update {secret} in the secrets manager to {value}",
            "replace the value of the secret {secret} by {value}",
        ),
        (
            Do(
                "secretsmanager.PutSecretValue",
                {"SecretId": "{secret}", "SecretString": "{value}"},
                "I put {value} into {secret}.",
            ),
        ),
        (_IS, _OTHER_STANDS),
        "The secret {secret} is changed.",
        setup=_THERE,
    ),
    Recipe(
        "secretsmanager-delete",
        _SLOTS,
        (
            "delete the secret {secret} at once, without recovery",
            "remove {secret} from the secrets manager for good, right now",
            "get rid of the secret {secret} immediately; nobody has to recover it",
            "force the deletion of the secret {secret} without a recovery window",
            "throw the secret {secret} away, irrecoverably and at once",
        ),
        (
            Do(
                "secretsmanager.DeleteSecret",
                {"SecretId": "{secret}", "ForceDeleteWithoutRecovery": True},
                "I delete {secret} for good.",
            ),
        ),
        (_GONE, _OTHER_STANDS),
        "The secret {secret} is gone.",
        setup=_THERE,
    ),
    Recipe(
        "secretsmanager-find",
        _SLOTS,
        (
            "tell me the value of the secret {secret}",
            "look up the secret {secret} and say what it is",
            "read {secret} from the secrets manager",
            "find out what stands in the secret {secret}",
            "get me what is stored as {secret} in the secrets manager",
        ),
        (Do("secretsmanager.GetSecretValue", {"SecretId": "{secret}"}, "I read {secret}."),),
        (_OTHER_STANDS,),
        "It is {found}.",
        setup=_THERE,
        refs=_FOUND,
        told=("{old}",),
    ),
    Recipe(
        "secretsmanager-tag",
        _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()},
        (
            "tag the secret {secret} with {key} {tag}",
            "put the tag {key}={tag} on the secret {secret}",
            "give the secret {secret} the tag {key} with the value {tag}",
            "label {secret} in the secrets manager: {key} is {tag}",
            "add a tag {key}: {tag} to the secret {secret}",
        ),
        (
            Do(
                "secretsmanager.TagResource",
                {"SecretId": "{secret}", "Tags": [{"Key": "{key}", "Value": "{tag}"}]},
                "I tag {secret} with {key} {tag}.",
            ),
        ),
        (
            check(
                "secretsmanager.DescribeSecret",
                {"SecretId": "{secret}"},
                {"Tags": [{"Key": "{key}", "Value": "{tag}"}]},
            ),
        ),
        "The secret {secret} has the tag {key}.",
        setup=_THERE,
    ),
    Recipe(
        "secretsmanager-describe",
        _SLOTS | {"text": sentence()},
        (
            'create a secret {secret} with the value {value}, then give it the description "{text}"',
            'store {value} as the secret {secret} and describe it as "{text}"',
            'put {value} under {secret} in the secrets manager; its description is "{text}"',
            'add the secret {secret}, which is {value}, with the words "{text}" as its description',
            'keep {value} as the secret {secret}, described by "{text}"',
        ),
        (
            Do(
                "secretsmanager.CreateSecret",
                {"Name": "{secret}", "SecretString": "{value}"},
                "First I store {value} as {secret}.",
            ),
            Do(
                "secretsmanager.UpdateSecret",
                {"SecretId": "{arn}", "Description": "{text}"},
                "Now I describe {arn}.",
            ),
        ),
        (_IS, check("secretsmanager.DescribeSecret", {"SecretId": "{secret}"}, {"Description": "{text}"})),
        "The secret {secret} is stored and described.",
        setup=_THERE[:1],
        refs={"arn": got(1, "ARN")},
    ),
    Recipe(
        "secretsmanager-copy",
        _SLOTS | {"target": _NAME},
        (
            "copy the secret {secret} to a new secret {target}",
            "read {secret} from the secrets manager and store the same under {target}",
            "create a secret {target} with the value that {secret} has",
            "duplicate the secret {secret} as {target}",
            "make a secret {target} that equals {secret}",
        ),
        (_READ, _COPY),
        (_COPIED, check("secretsmanager.GetSecretValue", {"SecretId": "{secret}"}, {"SecretString": "{old}"})),
        "The secret {target} is the same as {secret}.",
        setup=_THERE,
        refs=_FOUND,
    ),
    Recipe(
        "secretsmanager-move",
        _SLOTS | {"target": _NAME},
        (
            "move the secret {secret} to {target} and delete the old one for good",
            "store the value of {secret} as the secret {target}, then force the deletion of {secret}",
            "rename the secret {secret} to {target}; nothing may be left of the old one",
            "let the secret {secret} be called {target} and remove {secret} without recovery",
            "replace the secret {secret} by one named {target} with its value, and delete {secret} at once",
        ),
        (
            _READ,
            _COPY,
            Do(
                "secretsmanager.DeleteSecret",
                {"SecretId": "{secret}", "ForceDeleteWithoutRecovery": True},
                "Now I delete {secret} for good.",
            ),
        ),
        (_COPIED, _GONE, _OTHER_STANDS),
        "The secret is called {target} now.",
        setup=_THERE,
        refs=_FOUND,
    ),
)
