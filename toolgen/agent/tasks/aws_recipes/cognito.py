"""Recipes of user pools, their groups, clients and users."""

from toolgen.agent.tasks.patterns import got, had, seen
from toolgen.agent.tasks.recipes import Do, Recipe, check, then
from toolgen.agent.tasks.words import name, word
from toolgen.queries import Call

_POOL = Call("cognito-idp.CreateUserPool", {"PoolName": "{pool}"})
_OTHER = Call("cognito-idp.CreateUserPool", {"PoolName": "{other}"})
_LOOK = check("cognito-idp.ListUserPools", {"MaxResults": 60}, {"UserPools": [{"Name": "{pool}"}]})
_SEEN = {"UserPoolId": seen(1, "UserPools", {"Name": "{pool}"}, "Id")}
_OTHER_STANDS = check("cognito-idp.ListUserPools", {"MaxResults": 60}, {"UserPools": [{"Name": "{other}"}]})
_GONE = check("cognito-idp.ListUserPools", {"MaxResults": 60}, {"UserPools": {"$not": [{"Name": "{pool}"}]}})
_CREATE = Do("cognito-idp.CreateUserPool", {"PoolName": "{pool}"}, "First I create the user pool {pool}.")
_LIST = Do("cognito-idp.ListUserPools", {"MaxResults": 60}, "I look for the user pool {pool}.")
_MADE = {"id": got(1, "UserPool", "Id")}
_FOUND = {"id": got(1, "UserPools", {"Name": "{pool}"}, "Id")}
_HAD = {"id": had(1, "UserPool", "Id")}
_SLOTS = {"pool": name(), "other": name(), "group": word()}
_GROUP = Do("cognito-idp.CreateGroup", {"UserPoolId": "{id}", "GroupName": "{group}"}, "I create {group} in {id}.")
_GROUPED = then(_LOOK, "cognito-idp.ListGroups", _SEEN, {"Groups": [{"GroupName": "{group}"}]})
_CLIENT = Do(
    "cognito-idp.CreateUserPoolClient", {"UserPoolId": "{id}", "ClientName": "{group}"}, "I create {group} in {id}."
)
_USER = Do("cognito-idp.AdminCreateUser", {"UserPoolId": "{id}", "Username": "{user}"}, "I create {user} in {id}.")

RECIPES = (
    Recipe(
        "cognito-create",
        _SLOTS,
        (
            "create a user pool called {pool}",
            "make a Cognito user pool with the name {pool}",
            "set up the user pool {pool}",
            "add a new user pool, {pool}, to Cognito",
            "open a user pool named {pool} for our app",
        ),
        (Do("cognito-idp.CreateUserPool", {"PoolName": "{pool}"}, "I create the user pool {pool}."),),
        (_LOOK, _OTHER_STANDS),
        "The user pool {pool} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "cognito-group",
        _SLOTS,
        (
            "create a group {group} in the user pool {id}",
            "add the group {group} to the Cognito user pool {id}",
            "make a user group called {group} in the pool {id}",
            "set up a group {group} for the users of the pool {id}",
            "let the user pool with the id {id} have a group {group}",
        ),
        (_GROUP,),
        (_GROUPED,),
        "The group {group} is there.",
        setup=(_POOL, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "cognito-delete-id",
        _SLOTS,
        (
            "delete the user pool {id}",
            "remove the Cognito user pool with the id {id}",
            "get rid of the user pool {id}",
            "drop the pool of users {id} from Cognito",
            "throw the user pool {id} away",
        ),
        (Do("cognito-idp.DeleteUserPool", {"UserPoolId": "{id}"}, "I delete the user pool {id}."),),
        (_GONE, _OTHER_STANDS),
        "The user pool is gone.",
        setup=(_POOL, _OTHER),
        refs=_HAD,
    ),
    Recipe(
        "cognito-create-group",
        _SLOTS,
        (
            "create a user pool {pool} with a group {group}",
            "make a Cognito user pool called {pool} and add the group {group} to it",
            "set up the user pool {pool}, then the group {group} in it",
            "open a user pool named {pool} that has a group {group}",
            "add the pool {pool} to Cognito and a group called {group} to the pool",
        ),
        (_CREATE, _GROUP),
        (_GROUPED,),
        "The user pool {pool} has the group {group}.",
        setup=(_OTHER,),
        refs=_MADE,
    ),
    Recipe(
        "cognito-create-client",
        _SLOTS,
        (
            "create a user pool {pool} with an app client {group}",
            "make a Cognito user pool called {pool} and a client {group} for it",
            "set up the user pool {pool}, then the app client {group} in it",
            "open a user pool named {pool} that has the client {group}",
            "add the pool {pool} to Cognito and let an app client named {group} use it",
        ),
        (_CREATE, _CLIENT),
        (
            then(
                _LOOK,
                "cognito-idp.ListUserPoolClients",
                {**_SEEN, "MaxResults": 60},
                {"UserPoolClients": [{"ClientName": "{group}"}]},
            ),
        ),
        "The user pool {pool} has the client {group}.",
        setup=(_OTHER,),
        refs=_MADE,
    ),
    Recipe(
        "cognito-find-group",
        _SLOTS,
        (
            "add a group {group} to the existing user pool {pool}",
            "find the Cognito user pool {pool} and create the group {group} there",
            "look up the user pool {pool} and give it a group called {group}",
            "make a user group {group} in the pool that is called {pool}",
            "let our user pool {pool} have a group {group}, too",
        ),
        (_LIST, _GROUP),
        (_GROUPED,),
        "The user pool {pool} has the group {group}.",
        setup=(_OTHER, _POOL),
        refs=_FOUND,
    ),
    Recipe(
        "cognito-find-user",
        _SLOTS | {"user": name(".")},
        (
            "add a user {user} to the user pool {pool}",
            "find the Cognito user pool {pool} and create the user {user} there",
            "register {user} in our user pool {pool}",
            "look up the user pool {pool} and make a user called {user} in it",
            "open an account for {user} in the pool of users {pool}",
        ),
        (_LIST, _USER),
        (then(_LOOK, "cognito-idp.AdminGetUser", {**_SEEN, "Username": "{user}"}, {"Enabled": True}),),
        "The user {user} is in {pool}.",
        setup=(_OTHER, _POOL),
        refs=_FOUND,
    ),
    Recipe(
        "cognito-find-delete",
        _SLOTS,
        (
            "delete the user pool {pool}",
            "find the Cognito user pool named {pool} and remove it",
            "get rid of our user pool called {pool}",
            "look up the user pool {pool} and throw it away",
            "drop {pool} from the user pools",
        ),
        (_LIST, Do("cognito-idp.DeleteUserPool", {"UserPoolId": "{id}"}, "I delete the user pool {id}.")),
        (_GONE, _OTHER_STANDS),
        "The user pool {pool} is gone.",
        setup=(_OTHER, _POOL),
        refs=_FOUND,
    ),
    Recipe(
        "cognito-member",
        _SLOTS | {"user": name(".")},
        (
            "create a user pool {pool}, a group {group} and a user {user} in it, and put the user into the group",
            "make a Cognito user pool {pool} with the group {group}, whose member is a new user {user}",
            "set up the user pool {pool} with a user {user} who belongs to the group {group}",
            "open a user pool {pool}; it needs the group {group} and the user {user} in that group",
            "add the user pool {pool} with a group {group}, register {user} there and let {user} join the group",
        ),
        (
            _CREATE,
            _GROUP,
            _USER,
            Do(
                "cognito-idp.AdminAddUserToGroup",
                {"UserPoolId": "{id}", "Username": "{user}", "GroupName": "{group}"},
                "I add {user} to {group}.",
            ),
        ),
        (
            then(
                _LOOK,
                "cognito-idp.ListUsersInGroup",
                {**_SEEN, "GroupName": "{group}"},
                {"Users": [{"Username": "{user}"}]},
            ),
        ),
        "The user {user} is in {group} of the new pool {pool}.",
        setup=(_OTHER,),
        refs=_MADE,
    ),
)
