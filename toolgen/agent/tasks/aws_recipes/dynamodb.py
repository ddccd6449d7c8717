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
            "provision the table {table} in on-demand mode with a string partition key id",
            "start a DynamoDB table that is called {table}, has id (string) as hash key and is billed on demand",
            "spin up {table} as a new table: pay per request, key id of type string",
            "get us an additional table named {table}; the key is a string id, the billing mode pay-per-request",
            "see to it that there is an on-demand table {table} with the hash key id, which is a string",
            "establish {table} as one more DynamoDB table, with id (S) as its only key and payment per request",
            "build a table called {table} whose items are found by a string id, and pay for it per request",
            "register the new table {table} with DynamoDB, partition key id as a string, PAY_PER_REQUEST",
            "open a table {table} for items with a string id as their key; it is billed by the request",
            "have an on-demand table created that bears the name {table}, hash key id, type S",
            "prepare a fresh pay-per-request table {table} whose partition key is called id and holds strings",
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
            "insert {item} into the table {table}; the number count is {count}",
            "save an item in the DynamoDB table {table}: id {item}, count {count}",
            "create an item {item} in the table {table} whose count is {count}",
            "record {item} with the count {count} in the table {table}",
            "enter {item} into our table {table}, its count being {count}",
            "register the id {item} and the count {count} as one item of the table {table}",
            "place an item in {table} in DynamoDB that has the id {item} and a count of {count}",
            "let the table {table} hold an item {item} with {count} as its count",
            "make a new entry {item}, count {count}, in the DynamoDB table {table}",
            "see to it that the table {table} has an item with the id {item} and the number {count} as count",
            "fill the table {table} with one more item, {item}, whose count equals {count}",
            "set up the item {item} in the table {table} and let its count be {count}",
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
            "get rid of the item whose id is {item} in the table {table}",
            "erase {item} in the table {table}, nothing else",
            "destroy the item {item} of the DynamoDB table {table}",
            "discard the entry {item} in the table {table}; the other entries stay",
            "drop the item {item} from the table called {table}",
            "clean up the table {table} by deleting just the item {item}",
            "wipe the item with id {item} from our table {table}",
            "throw away the item {item} that the table {table} holds",
            "see to it that {item} is no longer among the items of the table {table}",
            "strike {item} off the DynamoDB table {table}",
            "dispose of the old item {item} in the table {table}",
            "eliminate the one item of the table {table} that has the id {item}",
            "make the entry with the id {item} vanish from the table {table}",
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
            "destroy the DynamoDB table {table}",
            "tear down the table {table}, items and all",
            "scrap the table named {table}, since nobody queries it",
            "discard {table}, a table that we no longer need",
            "retire the DynamoDB table {table} for good",
            "clean up by deleting our table called {table}",
            "see to it that the table {table} ceases to exist",
            "erase the entire table {table} from DynamoDB",
            "dispose of the old table {table}",
            "take down the table {table}; all other tables stay",
            "make the DynamoDB table {table} disappear with its contents",
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
            "read the entry with the id {item} of the table {table} and tell me the count",
            "get the count that {item} has in the table {table}",
            "find out how high the count of the item {item} is in the table {table}",
            "report the count that is stored with {item} in the DynamoDB table {table}",
            "show me the count of {item} in our table {table}",
            "check the item {item} of the table {table} and report its count",
            "let me know the count of the item with the id {item} in the table {table}",
            "fetch the item {item} from the table {table}; I want to know its count",
            "retrieve {item}'s count out of the DynamoDB table {table}",
            "tell us which count the entry {item} has in the table named {table}",
            "see what number is the count of the item {item} in the table {table}",
            "query the DynamoDB table {table} for {item} and give me the count",
            "inspect the entry {item} in the table {table} and name its count",
            "give me the count found at the item {item} of the table {table}",
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
            "provision a pay-per-request table {table}, hash key id (string), and save the item {item}, count {count}",
            "spin up {table} as an on-demand DynamoDB table keyed by id, a string; record {item} with count {count}",
            "get us one more table, {table}, billed per request, key id (string), with the item {item}, count {count}",
            "establish the on-demand table {table} (partition key id, type S), then write {item} with count {count}",
            "build a table named {table}, string id as key, on-demand billing, and enter {item} with {count} as count",
            "prepare a fresh on-demand table {table}, hash key id (string); its first item is {item}, count {count}",
            "see to it that a per-request table {table} exists, keyed by a string id, and holds {item}, count {count}",
            "start a DynamoDB table {table}, on demand, string key id, and place {item} there, the count being {count}",
            "register {table} with DynamoDB (PAY_PER_REQUEST, string hash key id), then add {item} with count {count}",
            "have an on-demand table {table} created, key id, a string, and put in {item} that has a count of {count}",
            "open a table {table}, billed by the request, keyed by a string id; insert {item} with a count of {count}",
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
            "write an item {item} into the table {table} that has {kept}'s count",
            "read {kept} in the table {table} and add {item} with an equal count",
            "create {item} in the table {table} with whatever count {kept} has",
            "duplicate {kept}'s count in the DynamoDB table {table} under the id {item}",
            "take the count from the item {kept} of the table {table} and save it as that of a new item {item}",
            "fetch the entry {kept} of the table {table} and record {item} with its count",
            "make an item {item} in the DynamoDB table {table} that has as high a count as {kept}",
            "let {item} be a new entry of the table {table} with the count found at {kept}",
            "find out {kept}'s count in the table {table} and enter {item} with the same number",
            "see to it that the table {table} holds an item {item} whose count equals that of {kept}",
            "transfer the count that {kept} has in the table {table} to the new entry {item}",
            "insert the item {item} into our table {table}; take its count from {kept}",
            "reproduce the count of the item {kept} as the count of {item}, both in the table {table}",
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
            "attach the tag {key} = {tag} to the DynamoDB table {table}",
            "assign {tag} to the tag {key} of the table {table}",
            "set the tag {key} on our table {table} to {tag}",
            "apply a tag to the table named {table}, namely {key}: {tag}",
            "record by a tag that the {key} of the table {table} is {tag}",
            "let the DynamoDB table {table} carry a tag {key} that reads {tag}",
            "see to it that the table {table} gets tagged, key {key}, value {tag}",
            "look up the table {table} and note {tag} under the tag key {key} on it",
            "classify the table {table} by tagging it {key}={tag}",
            "mark {table} in DynamoDB as {key} {tag} by a tag",
            "equip the existing table {table} with a tag: {key}, {tag}",
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
