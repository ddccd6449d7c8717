"""Recipes of state machines."""

from toolgen.agent.tasks.patterns import got, had
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, one_of, word
from toolgen.queries import Call

_ROLE = "arn:aws:iam::123456789012:role/flows"
_FLOW = '{"StartAt":"End","States":{"End":{"Type":"Succeed"}}}'
_MACHINE = Call("stepfunctions.CreateStateMachine", {"name": "{machine}", "definition": _FLOW, "roleArn": _ROLE})
_OTHER = Call("stepfunctions.CreateStateMachine", {"name": "{other}", "definition": _FLOW, "roleArn": _ROLE})
_ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:"
_SLOTS = {"machine": name(), "other": name()}
_TAGGED = _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()}
_OTHER_STANDS = check("stepfunctions.DescribeStateMachine", {"stateMachineArn": _ARN + "{other}"})
_GONE = check("stepfunctions.ListStateMachines", {}, {"stateMachines": {"$not": [{"name": "{machine}"}]}})
_HAS_TAG = check(
    "stepfunctions.ListTagsForResource",
    {"resourceArn": _ARN + "{machine}"},
    {"tags": [{"key": "{key}", "value": "{tag}"}]},
)
_LIST = Do("stepfunctions.ListStateMachines", {}, "I look for the state machine {machine}.")
_FOUND = {"arn": got(1, "stateMachines", {"name": "{machine}"}, "stateMachineArn")}
_HAD = {"arn": had(1, "stateMachineArn")}
_DELETE = Do("stepfunctions.DeleteStateMachine", {"stateMachineArn": "{arn}"}, "I delete {arn}.")
_TAG = Do(
    "stepfunctions.TagResource",
    {"resourceArn": "{arn}", "tags": [{"key": "{key}", "value": "{tag}"}]},
    "I tag {arn} with {key} {tag}.",
)

RECIPES = (
    Recipe(
        "stepfunctions-delete-arn",
        _SLOTS,
        (
            "delete the state machine {arn}",
            "remove the Step Functions state machine {arn}",
            "get rid of the workflow {arn}",
            "drop the state machine with the ARN {arn}",
            "throw away the workflow whose ARN is {arn}",
        ),
        (_DELETE,),
        (_GONE, _OTHER_STANDS),
        "The state machine is gone.",
        setup=(_MACHINE, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "stepfunctions-tag",
        _TAGGED,
        (
            "tag the state machine {arn} with {key} {tag}",
            "put the tag {key}={tag} on the Step Functions state machine {arn}",
            "label the workflow {arn}: {key} is {tag}",
            "add a tag {key} with the value {tag} to {arn}",
            "give the state machine with the ARN {arn} the tag {key}={tag}",
        ),
        (_TAG,),
        (_HAS_TAG,),
        "The state machine has the tag {key}.",
        setup=(_MACHINE, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "stepfunctions-find-delete",
        _SLOTS,
        (
            "delete the state machine {machine}",
            "find the Step Functions state machine {machine} and remove it",
            "get rid of the workflow called {machine}",
            "look up the state machine named {machine} and throw it away",
            "drop {machine} from our state machines",
        ),
        (_LIST, _DELETE),
        (_GONE, _OTHER_STANDS),
        "The state machine {machine} is gone.",
        setup=(_OTHER, _MACHINE),
        refs=_FOUND,
    ),
    Recipe(
        "stepfunctions-find-tag",
        _TAGGED,
        (
            "tag the state machine {machine} with {key} {tag}",
            "find the Step Functions state machine {machine} and put the tag {key}={tag} on it",
            "look up the workflow {machine} and label it {key}: {tag}",
            "give our state machine {machine} the tag {key} with the value {tag}",
            "let the workflow called {machine} have a tag {key}, which is {tag}",
        ),
        (_LIST, _TAG),
        (_HAS_TAG,),
        "The state machine {machine} has the tag {key}.",
        setup=(_OTHER, _MACHINE),
        refs=_FOUND,
    ),
    Recipe(
        "stepfunctions-start",
        _SLOTS | {"run": name()},
        (
            "start the state machine {machine} as {run}",
            "find the Step Functions state machine {machine} and begin an execution {run}",
            "run the workflow {machine}; name the execution {run}",
            "look up the state machine {machine} and start it with the execution name {run}",
            "execute the workflow called {machine} under the name {run}",
        ),
        (
            _LIST,
            Do(
                "stepfunctions.StartExecution", {"stateMachineArn": "{arn}", "name": "{run}"}, "I start {arn} as {run}."
            ),
        ),
        (
            check(
                "stepfunctions.ListExecutions",
                {"stateMachineArn": _ARN + "{machine}"},
                {"executions": [{"name": "{run}"}]},
            ),
        ),
        "The execution {run} has begun.",
        setup=(_OTHER, _MACHINE),
        refs=_FOUND,
    ),
)
