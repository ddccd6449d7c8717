"""Recipes of users, groups and policies."""

from toolgen.agent.tasks.patterns import got, had
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name
from toolgen.queries import Call

_DOCUMENT = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}'
_USER = Call("iam.CreateUser", {"UserName": "{user}"})
_OTHER = Call("iam.CreateUser", {"UserName": "{other}"})
_GROUP = Call("iam.CreateGroup", {"GroupName": "{group}"})
_POLICY = Call("iam.CreatePolicy", {"PolicyName": "{policy}", "PolicyDocument": _DOCUMENT})
_KEY = Call("iam.CreateAccessKey", {"UserName": "{user}"})
_STANDS = check("iam.GetUser", {"UserName": "{user}"})
_OTHER_STANDS = check("iam.GetUser", {"UserName": "{other}"})
_SLOTS = {"user": name("."), "other": name(".")}
_GROUPED = _SLOTS | {"group": name(after="-team")}
_MEMBER = check("iam.GetGroup", {"GroupName": "{group}"}, {"Users": [{"UserName": "{user}"}]})
_ATTACHED = check(
    "iam.ListAttachedUserPolicies", {"UserName": "{user}"}, {"AttachedPolicies": [{"PolicyName": "{policy}"}]}
)
_ADD = Do("iam.AddUserToGroup", {"GroupName": "{group}", "UserName": "{user}"}, "I add {user} to {group}.")
_ATTACH = Do("iam.AttachUserPolicy", {"UserName": "{user}", "PolicyArn": "{arn}"}, "I attach {arn} to {user}.")
_KEYS = Do("iam.ListAccessKeys", {"UserName": "{user}"}, "I look for the access key of {user}.")
_KEY_ID = {"key": got(1, "AccessKeyMetadata", 0, "AccessKeyId")}

RECIPES = (
    Recipe(
        "iam-create",
        _SLOTS,
        (
            "create a user called {user}",
            "make an IAM user with the name {user}",
            "set up the user {user} in IAM",
            "add a new user, {user}, to our account",
            "register {user} as a user of the account",
            "open an IAM user for {user}",
        ),
        (Do("iam.CreateUser", {"UserName": "{user}"}, "I create the user {user}."),),
        (_STANDS, _OTHER_STANDS),
        "The user {user} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "iam-delete",
        _SLOTS,
        (
            "delete the user {user}",
            "remove the IAM user called {user}",
            "take the user {user} out of the account",
            "get rid of the user {user} in IAM",
            "drop {user} from our users",
        ),
        (Do("iam.DeleteUser", {"UserName": "{user}"}, "I delete the user {user}."),),
        (check("iam.GetUser", {"UserName": "{user}"}, fails="NoSuchEntity"), _OTHER_STANDS),
        "The user {user} is gone.",
        setup=(_USER, _OTHER),
    ),
    Recipe(
        "iam-join",
        _GROUPED,
        (
            "add the user {user} to the group {group}",
            "put {user} into the IAM group {group}",
            "make the user {user} a member of {group}",
            "let {user} join the group {group}",
            "give the user {user} a place in the IAM group called {group}",
        ),
        (_ADD,),
        (_MEMBER,),
        "The user {user} is in {group}.",
        setup=(_USER, _OTHER, _GROUP),
    ),
    Recipe(
        "iam-leave",
        _GROUPED,
        (
            "remove the user {user} from the group {group}",
            "take {user} out of the IAM group {group}",
            "end the membership of {user} in {group}",
            "let the user {user} leave the group {group}",
            "throw {user} out of the group called {group}, but keep the user",
        ),
        (
            Do(
                "iam.RemoveUserFromGroup",
                {"GroupName": "{group}", "UserName": "{user}"},
                "I take {user} out of {group}.",
            ),
        ),
        (
            check(
                "iam.GetGroup",
                {"GroupName": "{group}"},
                {"Users": {"$only": [{"UserName": "{other}"}]}},
            ),
            _STANDS,
        ),
        "The user {user} has left {group}.",
        setup=(
            _USER,
            _OTHER,
            _GROUP,
            Call("iam.AddUserToGroup", {"GroupName": "{group}", "UserName": "{user}"}),
            Call("iam.AddUserToGroup", {"GroupName": "{group}", "UserName": "{other}"}),
        ),
    ),
    Recipe(
        "iam-rename",
        _SLOTS | {"target": name(".")},
        (
            "rename the user {user} to {target}",
            "change the name of the IAM user {user} to {target}",
            "let the user {user} be called {target} from now on",
            "give the user {user} the new name {target}",
            "update the user {user}: the name is {target} now",
        ),
        (Do("iam.UpdateUser", {"UserName": "{user}", "NewUserName": "{target}"}, "I rename {user}."),),
        (
            check("iam.GetUser", {"UserName": "{target}"}),
            check("iam.GetUser", {"UserName": "{user}"}, fails="NoSuchEntity"),
        ),
        "The user is called {target} now.",
        setup=(_USER, _OTHER),
    ),
    Recipe(
        "iam-create-join",
        _GROUPED,
        (
            "create a user {user} in the group {group}",
            "make an IAM user called {user} and add it to the group {group}",
            "set up {user} as a new user and member of {group}",
            "add a user {user} to the account and to the group {group}, which is there",
            "register the user {user}, then let the user join {group}",
        ),
        (Do("iam.CreateUser", {"UserName": "{user}"}, "First I create the user {user}."), _ADD),
        (_MEMBER,),
        "The user {user} is there and in {group}.",
        setup=(_GROUP, _OTHER),
    ),
    Recipe(
        "iam-create-group",
        _GROUPED,
        (
            "create a user {user}, a group {group}, and put the user into the group",
            "make a new IAM group {group} with a new user {user} in it",
            "set up the user {user} and the group {group}; the user shall be a member",
            "add the user {user} and the group {group} to IAM, then {user} to {group}",
            "open a group {group} for a user {user}; neither is there yet",
        ),
        (
            Do("iam.CreateUser", {"UserName": "{user}"}, "First I create the user {user}."),
            Do("iam.CreateGroup", {"GroupName": "{group}"}, "Then I create the group {group}."),
            _ADD,
        ),
        (_MEMBER,),
        "The user {user} is in the new group {group}.",
        setup=(_OTHER,),
    ),
    Recipe(
        "iam-attach",
        _SLOTS | {"policy": name("Camel")},
        (
            "attach our policy {policy} to the user {user}",
            "find the IAM policy {policy} and give it to {user}",
            "look up our own policy {policy} and attach it to the user {user}",
            "let the policy {policy}, which we made, apply to {user}",
            "grant the user {user} what the local policy {policy} allows",
        ),
        (Do("iam.ListPolicies", {"Scope": "Local"}, "I look for the policy {policy}."), _ATTACH),
        (_ATTACHED,),
        "The user {user} has the policy {policy}.",
        setup=(_USER, _OTHER, _POLICY),
        refs={"arn": got(1, "Policies", {"PolicyName": "{policy}"}, "Arn")},
    ),
    Recipe(
        "iam-disable-key",
        _SLOTS,
        (
            "deactivate the access key of the user {user}",
            "find the IAM access key that {user} has and make it inactive",
            "switch off the only access key of {user}",
            "look up {user}'s access key and set it to Inactive",
            "make sure that the access key of the user {user} does not work, but keep it",
        ),
        (
            _KEYS,
            Do(
                "iam.UpdateAccessKey",
                {"UserName": "{user}", "AccessKeyId": "{key}", "Status": "Inactive"},
                "I make the key {key} inactive.",
            ),
        ),
        (
            check(
                "iam.ListAccessKeys", {"UserName": "{user}"}, {"AccessKeyMetadata": {"$only": [{"Status": "Inactive"}]}}
            ),
        ),
        "The key of {user} is inactive.",
        setup=(_USER, _OTHER, _KEY),
        refs=_KEY_ID,
    ),
    Recipe(
        "iam-delete-key",
        _SLOTS,
        (
            "delete the access key of the user {user}",
            "find the IAM access key that {user} has and remove it",
            "get rid of the only access key of {user}",
            "look up {user}'s access key and throw it away",
            "take the access key away from the user {user}",
        ),
        (
            _KEYS,
            Do("iam.DeleteAccessKey", {"UserName": "{user}", "AccessKeyId": "{key}"}, "I delete the key {key}."),
        ),
        (check("iam.ListAccessKeys", {"UserName": "{user}"}, {"AccessKeyMetadata": {"$only": []}}), _OTHER_STANDS),
        "The user {user} has no access key any more.",
        setup=(_USER, _OTHER, _KEY),
        refs=_KEY_ID,
    ),
    Recipe(
        "iam-detach",
        _SLOTS | {"policy": name("Camel")},
        (
            "detach the policy {arn} from the user {user}",
            "take the policy {arn} away from {user}",
            "remove the IAM policy {arn} from the user {user}, but keep the policy",
            "let {user} no longer have the policy {arn}",
            "end that the policy with the ARN {arn} applies to {user}",
        ),
        (Do("iam.DetachUserPolicy", {"UserName": "{user}", "PolicyArn": "{arn}"}, "I detach {arn} from {user}."),),
        (
            check("iam.ListAttachedUserPolicies", {"UserName": "{user}"}, {"AttachedPolicies": {"$only": []}}),
            check("iam.GetPolicy", {"PolicyArn": "{arn}"}),
        ),
        "The user {user} is without the policy.",
        setup=(
            _USER,
            _POLICY,
            Call("iam.AttachUserPolicy", {"UserName": "{user}", "PolicyArn": had(2, "Policy", "Arn")}),
        ),
        refs={"arn": had(2, "Policy", "Arn")},
    ),
)
