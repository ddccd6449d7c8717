"""Recipes of tables and their items."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, number, one_of, word
from toolgen.queries import Call


def _table(table: str) -> dict[str, object]:
    return {
        "TableName": table,
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }


_TABLE = Call("dynamodb.CreateTable", _table("{table}"))
_OTHER = Call("dynamodb.CreateTable", _table("{other}"))
_STANDS = check("dynamodb.DescribeTable", {"TableName": "{table}"})
_OTHER_STANDS = check("dynamodb.DescribeTable", {"TableName": "{other}"})
_KEY = {"TableName": "{table}", "Key": {"id": {"S": "{item}"}}}
_ITEM = {"TableName": "{table}", "Item": {"id": {"S": "{item}"}, "count": {"N": "{count!s}"}}}
_OLD = Call("dynamodb.PutItem", {"TableName": "{table}", "Item": {"id": {"S": "{item}"}, "count": {"N": "{old!s}"}}})
_KEPT = Call("dynamodb.PutItem", {"TableName": "{table}", "Item": {"id": {"S": "{kept}"}, "count": {"N": "{old!s}"}}})
_COUNTED = check("dynamodb.GetItem", _KEY, {"Item": {"count": {"N": "{count!s}"}}})
_KEPT_STANDS = check(
    "dynamodb.GetItem", {"TableName": "{table}", "Key": {"id": {"S": "{kept}"}}}, {"Item": {"count": {"N": "{old!s}"}}}
)
_SLOTS = {"table": name("_"), "other": name("_")}
_ITEMS = {"table": name("_"), "item": word(), "kept": word(), "count": number(100, 999), "old": number(10, 99)}

RECIPES = (
    Recipe(
        "dynamodb-create",
        _SLOTS,
        (
            "create a table {table} with the string id as its key, paid per request",
            "make a DynamoDB table called {table}, on demand, whose hash key is the string id",
            "set up the table {table} (partition key id, a string; billing per request)",
            "add a new on-demand table named {table} to DynamoDB; its key is the string id",
            "provide a table {table} in DynamoDB, keyed by a string called id and billed per request",
        ),
        (Do("dynamodb.CreateTable", _table("{table}"), "I create the table {table}."),),
        (
            check(
                "dynamodb.DescribeTable", {"TableName": "{table}"}, {"Table": {"KeySchema": [{"AttributeName": "id"}]}}
            ),
        ),
        "The table {table} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "dynamodb-put",
        _ITEMS,
        (
            "put the item {item} with count {count} into the table {table}",
            "store an item with id {item} and count {count} in the DynamoDB table {table}",
            "add id {item}, count {count}, to the table {table}",
            "write a new entry to the table {table}: its id is {item}, its count the number {count}",
            "insert {item} into {table}; the number count is {count}",
        ),
        (Do("dynamodb.PutItem", _ITEM, "I put {item} into {table}."),),
        (_COUNTED, _KEPT_STANDS),
        "The item {item} is in {table}.",
        setup=(_TABLE, _KEPT),
    ),
    Recipe(
        "dynamodb-delete-item",
        _ITEMS,
        (
            "delete the item {item} from the table {table}",
            "remove the entry with the id {item} from the DynamoDB table {table}",
            "take {item} out of the table {table}",
            "get rid of the item whose id is {item} in {table}",
            "erase {item} in the table {table}, nothing else",
        ),
        (Do("dynamodb.DeleteItem", _KEY, "I delete {item} from {table}."),),
        (check("dynamodb.GetItem", _KEY, {"Item": {"$not": {"id": {"S": "{item}"}}}}), _KEPT_STANDS),
        "The item {item} is gone.",
        setup=(_TABLE, _OLD, _KEPT),
    ),
    Recipe(
        "dynamodb-delete",
        _SLOTS,
        (
            "delete the table {table}",
            "remove the DynamoDB table called {table}",
            "get rid of the whole table {table}",
            "drop the table {table}",
            "throw the table {table} away with all that is in it",
        ),
        (Do("dynamodb.DeleteTable", {"TableName": "{table}"}, "I delete the table {table}."),),
        (check("dynamodb.DescribeTable", {"TableName": "{table}"}, fails="ResourceNotFoundException"), _OTHER_STANDS),
        "The table {table} is gone.",
        setup=(_TABLE, _OTHER),
    ),
    Recipe(
        "dynamodb-find",
        _ITEMS,
        (
            "tell me the count of the item {item} in the table {table}",
            "look up {item} in the DynamoDB table {table} and say what its count is",
            "read the entry with the id {item} of {table} and tell me the count",
            "get the count that {item} has in the table {table}",
            "find out how high the count of {item} is in {table}",
        ),
        (Do("dynamodb.GetItem", _KEY, "I read {item} of {table}."),),
        (_KEPT_STANDS,),
        "The count is {found}.",
        setup=(_TABLE, Call("dynamodb.PutItem", _ITEM), _KEPT),
        refs={"found": got(1, "Item", "count", "N")},
        told=("{count!s}",),
    ),
    Recipe(
        "dynamodb-create-put",
        _ITEMS,
        (
            "create an on-demand table {table} keyed by the string id, with the item {item} whose count is {count}",
            "make a DynamoDB table {table} (string key id, billed per request) and store {item}, count {count}, there",
            "set up the table {table}, paid per request, hash key id (a string), and put {item} with count {count} in",
            "add the table {table} to DynamoDB, on demand, with a string id as key; insert {item} with count {count}",
            "provide a per-request table {table} with the string key id that has the entry {item}, count {count}",
        ),
        (
            Do("dynamodb.CreateTable", _table("{table}"), "First I create the table {table}."),
            Do("dynamodb.PutItem", _ITEM, "Now I put {item} into {table}."),
        ),
        (_COUNTED,),
        "The table {table} is there with {item}.",
    ),
    Recipe(
        "dynamodb-copy",
        _ITEMS,
        (
            "give the item {item} in the table {table} the same count as {kept} has",
            "look up the count of {kept} in the DynamoDB table {table} and store it as {item}'s",
            "copy the count of {kept} to a new item {item} of the table {table}",
            "write an item {item} into {table} that has {kept}'s count",
            "read {kept} in the table {table} and add {item} with an equal count",
        ),
        (
            Do(
                "dynamodb.GetItem",
                {"TableName": "{table}", "Key": {"id": {"S": "{kept}"}}},
                "I need the count of {kept}.",
            ),
            Do(
                "dynamodb.PutItem",
                {"TableName": "{table}", "Item": {"id": {"S": "{item}"}, "count": {"N": "{found}"}}},
                "I store {item} with the count {found}.",
            ),
        ),
        (check("dynamodb.GetItem", _KEY, {"Item": {"count": {"N": "{old!s}"}}}), _KEPT_STANDS),
        "The item {item} has the count {found}.",
        setup=(_TABLE, _KEPT),
        refs={"found": got(1, "Item", "count", "N")},
    ),
    Recipe(
        "dynamodb-find-tag",
        _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()},
        (
            "tag the table {table} with {key} {tag}",
            "put the tag {key}={tag} on the DynamoDB table {table}",
            "give the table called {table} the tag {key} with the value {tag}",
            "label the table {table}: {key} is {tag}",
            "find the table {table} and add a tag {key}: {tag} to it",
        ),
        (
            Do("dynamodb.DescribeTable", {"TableName": "{table}"}, "I need the ARN of {table}."),
            Do(
                "dynamodb.TagResource",
                {"ResourceArn": "{arn}", "Tags": [{"Key": "{key}", "Value": "{tag}"}]},
                "I tag {arn} with {key} {tag}.",
            ),
        ),
        (
            check(
                "dynamodb.ListTagsOfResource",
                {"ResourceArn": "arn:aws:dynamodb:us-east-1:123456789012:table/{table}"},
                {"Tags": [{"Key": "{key}", "Value": "{tag}"}]},
            ),
        ),
        "The table {table} has the tag {key}.",
        setup=(_TABLE, _OTHER),
        refs={"arn": got(1, "Table", "TableArn")},
    ),
)
