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
            "provision the new parameter {parameter} with the value {value}",
            "register {parameter} as a new SSM parameter that holds {value}",
            "set up a String parameter named {parameter}; its value is {value}",
            "write {value} into a new parameter called {parameter}",
            "record {value} under the new name {parameter} in the parameter store",
            "establish a parameter {parameter}, plain text, reading {value}",
            "see to it that there is an SSM parameter {parameter} with {value} in it; it does not exist yet",
            "enter a new parameter {parameter} into the parameter store, with {value} for its value",
            "have a parameter {parameter} created in Systems Manager that contains {value}",
            "define the parameter {parameter} as {value}; nobody has defined it so far",
            "open a new entry {parameter} in the parameter store whose value is {value}",
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
            "modify the SSM parameter {parameter} so that it is {value}",
            "adjust the value of the parameter {parameter}; it must read {value}",
            "give the existing parameter {parameter} the new value {value}",
            "switch the parameter {parameter} over to {value}",
            "alter what the parameter store has under {parameter} to {value}",
            "write {value} over the old value of the parameter {parameter}",
            "see to it that the parameter {parameter} no longer has its old value but {value}",
            "put the new value {value} in place of the old one in the SSM parameter {parameter}",
            "assign {value} to the parameter {parameter} that we already have",
            "revise the existing configuration parameter {parameter}: its value is {value} now",
            "exchange the current value of the parameter {parameter} for {value}",
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
            "destroy the SSM parameter {parameter}",
            "erase the parameter {parameter} from Systems Manager",
            "scrap the parameter named {parameter}, since nobody reads it",
            "discard {parameter}, a parameter that we no longer need",
            "retire the SSM parameter {parameter} for good",
            "clean up by deleting our parameter called {parameter}",
            "see to it that the parameter {parameter} ceases to exist",
            "take the entry {parameter} out of the parameter store",
            "dispose of the old parameter {parameter}",
            "eliminate the parameter {parameter}; all others stay",
            "make the parameter {parameter} disappear from the parameter store",
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
            "attach the tag {key} = {value} to the parameter {parameter}",
            "assign {value} to the tag {key} of the SSM parameter {parameter}",
            "set the tag {key} on the existing parameter {parameter} to {value}",
            "apply a tag to the parameter named {parameter}, namely {key}: {value}",
            "record by a tag that the {key} of the parameter {parameter} is {value}",
            "let our parameter {parameter} carry a tag {key} that reads {value}",
            "see to it that the parameter {parameter} gets tagged, key {key}, value {value}",
            "note {value} under the tag key {key} on the SSM parameter {parameter}",
            "classify the parameter {parameter} by tagging it {key}={value}",
            "mark {parameter} in the parameter store as {key} {value} by a tag",
            "equip the parameter {parameter} with a tag: {key}, {value}",
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
            "get me the value of the configuration parameter {parameter}",
            "report the value of the SSM parameter {parameter}",
            "show me what the parameter {parameter} contains",
            "check the parameter named {parameter} and report its value",
            "let me know what is stored under {parameter} in the parameter store",
            "fetch the value that the parameter {parameter} has",
            "retrieve the SSM parameter {parameter}; I want to know its value",
            "tell us to what the parameter {parameter} is set",
            "see what {parameter} says in the parameter store",
            "query Systems Manager for the parameter {parameter} and give me the value",
            "inspect the parameter {parameter} and name its value",
            "give me the current value of the configuration parameter {parameter}",
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
            "provision a new parameter {target} that holds the same as the parameter {parameter}",
            "set up {target} as a copy of the SSM parameter {parameter}",
            "write what the parameter {parameter} contains into a second parameter, {target}",
            "add a parameter {target} to the parameter store, equal to {parameter}",
            "clone the SSM parameter {parameter} under the name {target}",
            "take the value of the parameter {parameter} and save it as a further parameter {target}",
            "fetch the parameter {parameter} and register its value once more as {target}",
            "see to it that the parameter store has a parameter {target} with {parameter}'s value, beside {parameter}",
            "let a new parameter {target} have whatever value the parameter {parameter} has",
            "reproduce the parameter {parameter} as a second String parameter called {target}",
            "look up the parameter {parameter} and create {target} with the same value",
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
            "change the name of the parameter {parameter} to {target}",
            "give the SSM parameter {parameter} the new name {target}",
            "transfer the parameter {parameter} to the name {target}, leaving nothing under {parameter}",
            "copy the parameter {parameter} to {target}, then drop {parameter}",
            "take the value of the SSM parameter {parameter}, save it as {target} and remove {parameter}",
            "see to it that {target} takes the place of the parameter {parameter} and has the same value",
            "make {target} the new name of the parameter {parameter}",
            "shift what the parameter store has under {parameter} to {target}",
            "create {target} with the value of the parameter {parameter}, and erase {parameter} afterwards",
            "swap the parameter {parameter} for one that is called {target} and says the same",
            "relabel the parameter {parameter} in the parameter store: its name is {target} from now on",
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
