"""Recipes of parameters."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, one_of, word
from toolgen.queries import Call

_NAME = name("/", "/")
_SLOTS = {"parameter": _NAME, "other": _NAME, "value": word(), "old": word()}
_TWO = {**_SLOTS, "target": _NAME}


def _put(parameter: str, value: str) -> Call:
    return Call("ssm.PutParameter", {"Name": parameter, "Value": value, "Type": "String"})


def _is(parameter: str, **holds: object) -> dict[str, object]:
    return {"Parameter": {"Name": parameter, **holds}}


_THERE = (_put("{parameter}", "{old}"), _put("{other}", "{old}"))
_OTHER_STANDS = check("ssm.GetParameter", {"Name": "{other}"}, _is("{other}", Value="{old}"))

RECIPES = (
    Recipe(
        "ssm-put",
        _SLOTS,
        (
            "store {value} as the parameter {parameter}",
            "create a parameter {parameter} of type String with the value {value}",
            "put the string {value} under {parameter} in the parameter store",
            "add the SSM parameter {parameter} and let it be {value}",
            "save the configuration value {value} as {parameter} in SSM",
            "make a plain parameter called {parameter} that says {value}",
        ),
        (
            Do(
                "ssm.PutParameter",
                {"Name": "{parameter}", "Value": "{value}", "Type": "String"},
                "I store {value} as {parameter}.",
            ),
        ),
        (check("ssm.GetParameter", {"Name": "{parameter}"}, _is("{parameter}", Value="{value}")), _OTHER_STANDS),
        "The parameter {parameter} is {value}.",
        setup=(_put("{other}", "{old}"),),
    ),
    Recipe(
        "ssm-change",
        _SLOTS,
        (
            "change the parameter {parameter} to {value}",
            "overwrite the SSM parameter {parameter} with {value}",
            "let the existing parameter {parameter} be {value} from now on",
            "update {parameter} in the parameter store to {value}",
            "replace what stands in the parameter {parameter} by {value}",
            "set the parameter {parameter}, which is there already, to {value}",
        ),
        (
            Do(
                "ssm.PutParameter",
                {"Name": "{parameter}", "Value": "{value}", "Type": "String", "Overwrite": True},
                "I overwrite {parameter} with {value}.",
            ),
        ),
        (check("ssm.GetParameter", {"Name": "{parameter}"}, _is("{parameter}", Value="{value}")), _OTHER_STANDS),
        "The parameter {parameter} is {value} now.",
        setup=_THERE,
    ),
    Recipe(
        "ssm-delete",
        _SLOTS,
        (
            "delete the parameter {parameter}",
            "remove {parameter} from the parameter store",
            "get rid of the SSM parameter {parameter}",
            "drop the configuration parameter {parameter}",
            "throw away the parameter called {parameter}",
        ),
        (Do("ssm.DeleteParameter", {"Name": "{parameter}"}, "I delete {parameter}."),),
        (check("ssm.GetParameter", {"Name": "{parameter}"}, fails="ParameterNotFound"), _OTHER_STANDS),
        "The parameter {parameter} is gone.",
        setup=_THERE,
    ),
    Recipe(
        "ssm-tag",
        {**_SLOTS, "key": one_of("team", "owner", "project", "stage")},
        (
            "tag the parameter {parameter} with {key} {value}",
            "put the tag {key}={value} on the SSM parameter {parameter}",
            "give the parameter {parameter} the tag {key} with the value {value}",
            "label {parameter} in the parameter store: {key} is {value}",
            "add a tag {key}: {value} to the parameter {parameter}",
        ),
        (
            Do(
                "ssm.AddTagsToResource",
                {
                    "ResourceType": "Parameter",
                    "ResourceId": "{parameter}",
                    "Tags": [{"Key": "{key}", "Value": "{value}"}],
                },
                "I tag {parameter} with {key} {value}.",
            ),
        ),
        (
            check(
                "ssm.ListTagsForResource",
                {"ResourceType": "Parameter", "ResourceId": "{parameter}"},
                {"TagList": [{"Key": "{key}", "Value": "{value}"}]},
            ),
        ),
        "The parameter {parameter} has the tag {key}.",
        setup=_THERE,
    ),
    Recipe(
        "ssm-find",
        _SLOTS,
        (
            "tell me the value of the parameter {parameter}",
            "look up the SSM parameter {parameter} and say what it is",
            "read {parameter} from the parameter store",
            "find out what stands in the parameter {parameter}",
            "get me the configuration value {parameter}",
        ),
        (Do("ssm.GetParameter", {"Name": "{parameter}"}, "I read {parameter}."),),
        (_OTHER_STANDS,),
        "It is {found}.",
        setup=_THERE,
        refs={"found": got(1, "Parameter", "Value")},
        told=("{old}",),
    ),
    Recipe(
        "ssm-copy",
        _TWO,
        (
            "copy the value of the parameter {parameter} to a new parameter {target}",
            "read {parameter} from the parameter store and store the same under {target}",
            "create the SSM parameter {target} with the value that {parameter} has",
            "duplicate the parameter {parameter} as {target}",
            "make a String parameter {target} that equals {parameter}",
        ),
        (
            Do("ssm.GetParameter", {"Name": "{parameter}"}, "I need the value of {parameter}."),
            Do(
                "ssm.PutParameter",
                {"Name": "{target}", "Value": "{found}", "Type": "String"},
                "I store {found} as {target}.",
            ),
        ),
        (
            check("ssm.GetParameter", {"Name": "{target}"}, _is("{target}", Value="{old}")),
            check("ssm.GetParameter", {"Name": "{parameter}"}, _is("{parameter}", Value="{old}")),
        ),
        "The parameter {target} is {found}, too.",
        setup=_THERE,
        refs={"found": got(1, "Parameter", "Value")},
    ),
    Recipe(
        "ssm-move",
        _TWO,
        (
            "rename the parameter {parameter} to {target}",
            "move the SSM parameter {parameter} to {target}",
            "store the value of {parameter} under {target} and delete the parameter {parameter}",
            "let the parameter {parameter} be called {target}, with the same value",
            "replace the parameter {parameter} by one named {target} that has its value",
        ),
        (
            Do("ssm.GetParameter", {"Name": "{parameter}"}, "I need the value of {parameter}."),
            Do(
                "ssm.PutParameter",
                {"Name": "{target}", "Value": "{found}", "Type": "String"},
                "I store {found} as {target}.",
            ),
            Do("ssm.DeleteParameter", {"Name": "{parameter}"}, "Now I delete {parameter}."),
        ),
        (
            check("ssm.GetParameter", {"Name": "{target}"}, _is("{target}", Value="{old}")),
            check("ssm.GetParameter", {"Name": "{parameter}"}, fails="ParameterNotFound"),
            _OTHER_STANDS,
        ),
        "The parameter is called {target} now.",
        setup=_THERE,
        refs={"found": got(1, "Parameter", "Value")},
    ),
)
