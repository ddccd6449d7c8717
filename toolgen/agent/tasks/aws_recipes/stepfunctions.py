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
            "delete the Step Functions workflow with the ARN {arn}",
            "destroy the state machine that has the ARN {arn}",
            "tear down the workflow {arn} in Step Functions",
            "scrap the state machine identified by {arn}",
            "discard the Step Functions state machine with this ARN: {arn}",
            "retire the state machine {arn} for good",
            "clean up the workflow behind the ARN {arn}, that is, delete it",
            "see to it that the state machine {arn} is gone",
            "erase the state machine to which the ARN {arn} belongs",
            "dispose of the old workflow {arn}",
            "take down the state machine {arn}, but no other",
            "eliminate the Step Functions workflow at {arn}",
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
            "attach the tag {key} = {tag} to the state machine {arn}",
            "assign {tag} to the tag {key} of the workflow {arn}",
            "set the tag {key} on the state machine that has the ARN {arn} to {tag}",
            "apply a tag to the Step Functions state machine at {arn}, namely {key}: {tag}",
            "record by a tag that the {key} of the workflow {arn} is {tag}",
            "let the state machine under the ARN {arn} carry a tag {key} that reads {tag}",
            "see to it that the state machine {arn} gets tagged, key {key}, value {tag}",
            "note {tag} under the tag key {key} on the state machine {arn}",
            "classify the workflow with the ARN {arn} by tagging it {key}={tag}",
            "mark the state machine {arn} as {key} {tag} by a tag",
            "equip the Step Functions workflow {arn} with a tag: {key}, {tag}",
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
            "find the Step Functions state machine {machine} and remove it",
            "look up the state machine named {machine} and throw it away",
            "drop {machine} from our state machines",
            "delete the state machine named {machine}",
            "get rid of the Step Functions workflow called {machine}",
            "destroy our state machine {machine}",
            "tear down the Step Functions workflow {machine}",
            "scrap the state machine named {machine}, since nobody starts it",
            "discard {machine}, a state machine that we no longer need",
            "retire the state machine that is called {machine}",
            "clean up by deleting our state machine called {machine}",
            "see to it that the state machine {machine} ceases to exist",
            "erase the state machine {machine} from Step Functions",
            "dispose of the Step Functions workflow with the name {machine}",
            "take down the state machine {machine}; all others stay",
            "search our state machines for {machine} and delete that one",
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
            "find the Step Functions state machine {machine} and put the tag {key}={tag} on it",
            "give our state machine {machine} the tag {key} with the value {tag}",
            "tag the state machine named {machine} with {key} {tag}",
            "look up the Step Functions workflow {machine} and label it {key}: {tag}",
            "let the state machine called {machine} have a tag {key}, which is {tag}",
            "attach the tag {key} = {tag} to our state machine {machine}",
            "assign {tag} to the tag {key} of the Step Functions workflow {machine}",
            "set the tag {key} on the state machine called {machine} to {tag}",
            "apply a tag to the state machine with the name {machine}, namely {key}: {tag}",
            "record by a tag that the {key} of the state machine {machine} is {tag}",
            "add a tag {key} that reads {tag} to our state machine {machine}",
            "see to it that our state machine {machine} gets tagged, key {key}, value {tag}",
            "note {tag} under the tag key {key} on the state machine called {machine}",
            "classify our state machine {machine} by tagging it {key}={tag}",
            "mark {machine} in Step Functions as {key} {tag} by a tag",
            "equip the state machine named {machine} with a tag: {key}, {tag}",
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
            "execute the Step Functions workflow called {machine} under the name {run}",
            "launch the state machine {machine} with {run} as the name of the execution",
            "trigger an execution named {run} of the Step Functions workflow {machine}",
            "set the state machine {machine} going; this run is called {run}",
            "begin a run of the state machine named {machine} under the execution name {run}",
            "kick off the execution {run} of our state machine {machine}",
            "create an execution {run} of the state machine {machine}",
            "get the workflow {machine} to run in Step Functions, as execution {run}",
            "see to it that the state machine {machine} begins the execution {run}",
            "open a new execution of the state machine {machine}, and call it {run}",
            "have our state machine {machine} started under the name {run}",
            "make the state machine called {machine} run as {run}",
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
