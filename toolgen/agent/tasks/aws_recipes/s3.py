"""Recipes of buckets and objects."""

from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.words import name, number, one_of, word
from toolgen.queries import Call

_CREATE = Do("s3.CreateBucket", {"Bucket": "{bucket}"}, "First I create the bucket {bucket}.")
_BUCKET = Call("s3.CreateBucket", {"Bucket": "{bucket}"})
_OTHER = Call("s3.CreateBucket", {"Bucket": "{other}"})
_STANDS = check("s3.HeadBucket", {"Bucket": "{bucket}"})
_OTHER_STANDS = check("s3.HeadBucket", {"Bucket": "{other}"})
_VERSIONED = check("s3.GetBucketVersioning", {"Bucket": "{bucket}"}, {"Status": "Enabled"})
_TAGGING = {"Bucket": "{bucket}", "Tagging": {"TagSet": [{"Key": "{key}", "Value": "{tag}"}]}}
_TAGGED = check("s3.GetBucketTagging", {"Bucket": "{bucket}"}, {"TagSet": [{"Key": "{key}", "Value": "{tag}"}]})
_VERSION = {"Bucket": "{bucket}", "VersioningConfiguration": {"Status": "Enabled"}}
_BLOCK = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# "ready", "draft" and the like in base64: an object's body is bytes.
_OBJECT = Call("s3.PutObject", {"Bucket": "{bucket}", "Key": "{file}", "Body": "ZHJhZnQ="})
_OTHER_OBJECT = Call("s3.PutObject", {"Bucket": "{bucket}", "Key": "{kept}", "Body": "cmVhZHk="})
_SLOTS = {"bucket": name(), "other": name()}
_FILE = name("_", after=".txt")
_KEY = one_of("team", "owner", "project", "stage")

RECIPES = (
    Recipe(
        "s3-create",
        _SLOTS,
        (
            "create a bucket called {bucket}",
            "make an S3 bucket with the name {bucket}",
            "set up the bucket {bucket}",
            "add a new bucket, {bucket}, to S3",
            "open a bucket named {bucket} for our files",
            "provide an S3 bucket {bucket}",
        ),
        (Do("s3.CreateBucket", {"Bucket": "{bucket}"}, "I create the bucket {bucket}."),),
        (_STANDS, _OTHER_STANDS),
        "The bucket {bucket} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "s3-version",
        _SLOTS,
        (
            "turn on versioning for the bucket {bucket}",
            "enable versions in the S3 bucket {bucket}",
            "let the bucket {bucket} keep all versions of its files",
            "switch versioning on in {bucket}",
            "make the bucket called {bucket} versioned",
            "have S3 keep old versions of what is in {bucket}",
        ),
        (Do("s3.PutBucketVersioning", _VERSION, "I turn on versioning in {bucket}."),),
        (_VERSIONED,),
        "The bucket {bucket} keeps versions now.",
        setup=(_BUCKET, _OTHER),
    ),
    Recipe(
        "s3-delete",
        _SLOTS,
        (
            "delete the bucket {bucket}",
            "remove the S3 bucket called {bucket}",
            "get rid of the empty bucket {bucket}",
            "drop {bucket} from our buckets",
            "throw the bucket {bucket} away",
        ),
        (Do("s3.DeleteBucket", {"Bucket": "{bucket}"}, "I delete the bucket {bucket}."),),
        (check("s3.GetBucketLocation", {"Bucket": "{bucket}"}, fails="NoSuchBucket"), _OTHER_STANDS),
        "The bucket {bucket} is gone.",
        setup=(_BUCKET, _OTHER),
    ),
    Recipe(
        "s3-tag",
        {**_SLOTS, "key": _KEY, "tag": word()},
        (
            "tag the bucket {bucket} with {key} {tag}",
            "put the tag {key}={tag} on the S3 bucket {bucket}",
            "give the bucket called {bucket} the tag {key} with the value {tag}",
            "label the bucket {bucket}: {key} is {tag}",
            "add a tag {key}: {tag} to the bucket {bucket}",
        ),
        (Do("s3.PutBucketTagging", _TAGGING, "I tag {bucket} with {key} {tag}."),),
        (_TAGGED,),
        "The bucket {bucket} has the tag {key}.",
        setup=(_BUCKET, _OTHER),
    ),
    Recipe(
        "s3-block",
        _SLOTS,
        (
            "block all public access to the bucket {bucket}",
            "make sure that nobody from outside gets at the S3 bucket {bucket}",
            "close the bucket {bucket} to the public",
            "turn on all four public access blocks of {bucket}",
            "keep the bucket called {bucket} private with a public access block",
        ),
        (
            Do(
                "s3.PutPublicAccessBlock",
                {"Bucket": "{bucket}", "PublicAccessBlockConfiguration": _BLOCK},
                "I block public access to {bucket}.",
            ),
        ),
        (check("s3.GetPublicAccessBlock", {"Bucket": "{bucket}"}, {"PublicAccessBlockConfiguration": _BLOCK}),),
        "The bucket {bucket} is closed to the public.",
        setup=(_BUCKET, _OTHER),
    ),
    Recipe(
        "s3-delete-object",
        {"bucket": name(), "file": _FILE, "kept": _FILE},
        (
            "delete {file} from the bucket {bucket}",
            "remove the object {file} in the S3 bucket {bucket}",
            "get rid of the file {file} in {bucket}",
            "take {file} out of the bucket called {bucket}",
            "erase the file {file} that lies in the bucket {bucket}",
        ),
        (Do("s3.DeleteObject", {"Bucket": "{bucket}", "Key": "{file}"}, "I delete {file} from {bucket}."),),
        (
            check("s3.ListObjectsV2", {"Bucket": "{bucket}"}, {"Contents": [{"Key": "{kept}"}]}),
            check("s3.ListObjectsV2", {"Bucket": "{bucket}"}, {"Contents": {"$not": [{"Key": "{file}"}]}}),
        ),
        "The file {file} is gone.",
        setup=(_BUCKET, _OBJECT, _OTHER_OBJECT),
    ),
    Recipe(
        "s3-create-version",
        {"bucket": name()},
        (
            "create a bucket {bucket} and turn on versioning for it",
            "make an S3 bucket called {bucket} that keeps versions",
            "set up the bucket {bucket} with versioning enabled",
            "add a versioned bucket named {bucket} to S3",
            "open a bucket {bucket}, then switch its versioning on",
            "provide the S3 bucket {bucket} and let it keep old versions",
        ),
        (_CREATE, Do("s3.PutBucketVersioning", _VERSION, "Now I turn on versioning in {bucket}.")),
        (_VERSIONED,),
        "The bucket {bucket} is there and keeps versions.",
    ),
    Recipe(
        "s3-create-tag",
        {"bucket": name(), "key": _KEY, "tag": word()},
        (
            "create a bucket {bucket} with the tag {key}={tag}",
            "make an S3 bucket called {bucket} and tag it: {key} is {tag}",
            "set up the bucket {bucket}, then give it the tag {key} {tag}",
            "add the bucket {bucket} to S3 and label it {key}: {tag}",
            "open a bucket named {bucket} that is tagged {key}={tag}",
        ),
        (_CREATE, Do("s3.PutBucketTagging", _TAGGING, "Now I tag {bucket} with {key} {tag}.")),
        (_TAGGED,),
        "The bucket {bucket} is there with its tag.",
    ),
    Recipe(
        "s3-expire",
        {**_SLOTS, "days": number(2, 90)},
        (
            "create a bucket {bucket} whose files are deleted after {days} days",
            "make an S3 bucket called {bucket} in which everything expires after {days} days",
            "set up the bucket {bucket} with a lifecycle of {days} days",
            "open a bucket {bucket}; what is in it shall expire after {days} days",
            "add the bucket {bucket} to S3 and let all objects go when they are {days} days old",
        ),
        (
            _CREATE,
            Do(
                "s3.PutBucketLifecycleConfiguration",
                {
                    "Bucket": "{bucket}",
                    "LifecycleConfiguration": {
                        "Rules": [
                            {
                                "ID": "expire",
                                "Status": "Enabled",
                                "Filter": {"Prefix": ""},
                                "Expiration": {"Days": "{days}"},
                            }
                        ]
                    },
                },
                "Now I let objects in {bucket} expire after {days} days.",
            ),
        ),
        (
            check(
                "s3.GetBucketLifecycleConfiguration",
                {"Bucket": "{bucket}"},
                {"Rules": [{"Status": "Enabled", "Expiration": {"Days": "{days}"}}]},
            ),
        ),
        "Files in {bucket} are deleted after {days} days.",
        setup=(_OTHER,),
    ),
    Recipe(
        "s3-copy",
        {**_SLOTS, "file": _FILE},
        (
            "create a bucket {other} and copy {file} from {bucket} into it",
            "make an S3 bucket called {other}; then copy the object {file} there from {bucket}",
            "set up the bucket {other} with a copy of {file} out of {bucket}",
            "open a new bucket {other} and bring a copy of {bucket}'s file {file} there",
            "copy the file {file} of the bucket {bucket} into a new bucket {other}",
        ),
        (
            Do("s3.CreateBucket", {"Bucket": "{other}"}, "First I create the bucket {other}."),
            Do(
                "s3.CopyObject",
                {"Bucket": "{other}", "Key": "{file}", "CopySource": "{bucket}/{file}"},
                "Now I copy {file} from {bucket} to {other}.",
            ),
        ),
        (
            check("s3.GetObject", {"Bucket": "{other}", "Key": "{file}"}, {"Body": "draft"}),
            check("s3.GetObject", {"Bucket": "{bucket}", "Key": "{file}"}, {"Body": "draft"}),
        ),
        "The bucket {other} has a copy of {file}.",
        setup=(_BUCKET, _OBJECT),
    ),
    Recipe(
        "s3-clear",
        {**_SLOTS, "file": _FILE},
        (
            "delete the bucket {bucket} with the only file in it, {file}",
            "remove {file} and then the S3 bucket {bucket} that it lies in",
            "empty the bucket {bucket}, which holds {file}, and delete it",
            "get rid of the bucket {bucket}; {file} has to go first",
            "drop the file {file} and its bucket {bucket}",
        ),
        (
            Do("s3.DeleteObject", {"Bucket": "{bucket}", "Key": "{file}"}, "First I delete {file} from {bucket}."),
            Do("s3.DeleteBucket", {"Bucket": "{bucket}"}, "Now I delete the bucket {bucket}."),
        ),
        (check("s3.GetBucketLocation", {"Bucket": "{bucket}"}, fails="NoSuchBucket"), _OTHER_STANDS),
        "The bucket {bucket} is gone.",
        setup=(_BUCKET, _OBJECT, _OTHER),
    ),
    Recipe(
        "s3-find",
        {**_SLOTS, "file": _FILE},
        (
            "find the only file in the bucket {bucket} and tell me its name",
            "tell me what the file in the S3 bucket {bucket} is called",
            "look into the bucket {bucket} and say which file is there",
            "list what is in {bucket} and give me the name of the file",
            "look up the name of the object in the bucket {bucket}",
        ),
        (Do("s3.ListObjectsV2", {"Bucket": "{bucket}"}, "I list what is in {bucket}."),),
        (_STANDS,),
        "The file is {file}.",
        setup=(_BUCKET, _OBJECT, _OTHER),
        told=("{file}",),
    ),
)
