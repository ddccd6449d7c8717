"""Recipes of repositories of images."""

from toolgen.agent.tasks.patterns import got
from toolgen.agent.tasks.recipes import Do, Recipe, check
from toolgen.agent.tasks.task import Check
from toolgen.agent.tasks.words import name, one_of, word
from toolgen.queries import Call

_CALLED = {"repositoryName": "{repository}"}
_REPOSITORY = Call("ecr.CreateRepository", _CALLED)
_OTHER = Call("ecr.CreateRepository", {"repositoryName": "{other}"})
_SLOTS = {"repository": name("/"), "other": name("/")}
_OTHER_STANDS = check("ecr.DescribeRepositories", {"repositoryNames": ["{other}"]})
_TAGGED = _SLOTS | {"key": one_of("team", "owner", "stage"), "tag": word()}
_TAG = Do(
    "ecr.TagResource",
    {"resourceArn": "{arn}", "tags": [{"Key": "{key}", "Value": "{tag}"}]},
    "I tag {arn} with {key} {tag}.",
)
_HAS_TAG = check(
    "ecr.ListTagsForResource",
    {"resourceArn": "arn:aws:ecr:us-east-1:123456789012:repository/{repository}"},
    {"tags": [{"Key": "{key}", "Value": "{tag}"}]},
)


def _is(**holds: object) -> Check:
    return check("ecr.DescribeRepositories", {"repositoryNames": ["{repository}"]}, {"repositories": [holds]})


RECIPES = (
    Recipe(
        "ecr-create",
        _SLOTS,
        (
            "create an image repository called {repository}",
            "make an ECR repository with the name {repository}",
            "set up the container repository {repository}",
            "add a new repository, {repository}, to ECR",
            "open a repository named {repository} for our images",
        ),
        (Do("ecr.CreateRepository", _CALLED, "I create the repository {repository}."),),
        (_is(**_CALLED), _OTHER_STANDS),
        "The repository {repository} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "ecr-delete",
        _SLOTS,
        (
            "delete the image repository {repository}",
            "remove the ECR repository called {repository}",
            "get rid of the container repository {repository}",
            "drop {repository} from our repositories in ECR",
            "throw the repository {repository} away",
        ),
        (Do("ecr.DeleteRepository", _CALLED, "I delete the repository {repository}."),),
        (
            check(
                "ecr.DescribeRepositories", {"repositoryNames": ["{repository}"]}, fails="RepositoryNotFoundException"
            ),
            _OTHER_STANDS,
        ),
        "The repository {repository} is gone.",
        setup=(_REPOSITORY, _OTHER),
    ),
    Recipe(
        "ecr-scan",
        _SLOTS,
        (
            "scan images on push in the repository {repository}",
            "turn on scanning on push for the ECR repository {repository}",
            "let every image that is pushed to {repository} be scanned",
            "configure {repository} in ECR with scanOnPush",
            "have the repository {repository} check its images when they are pushed",
        ),
        (
            Do(
                "ecr.PutImageScanningConfiguration",
                {**_CALLED, "imageScanningConfiguration": {"scanOnPush": True}},
                "I turn on scanning in {repository}.",
            ),
        ),
        (_is(imageScanningConfiguration={"scanOnPush": True}),),
        "Images in {repository} are scanned.",
        setup=(_REPOSITORY, _OTHER),
    ),
    Recipe(
        "ecr-fix",
        _SLOTS,
        (
            "make the tags in the repository {repository} immutable",
            "set the tag mutability of the ECR repository {repository} to IMMUTABLE",
            "forbid that image tags in {repository} are overwritten",
            "let nobody change a tag in the repository {repository} any more",
            "configure {repository} in ECR with immutable image tags",
        ),
        (
            Do(
                "ecr.PutImageTagMutability",
                {**_CALLED, "imageTagMutability": "IMMUTABLE"},
                "I make the tags in {repository} immutable.",
            ),
        ),
        (_is(imageTagMutability="IMMUTABLE"),),
        "Tags in {repository} are immutable.",
        setup=(_REPOSITORY, _OTHER),
    ),
    Recipe(
        "ecr-create-tag",
        _TAGGED,
        (
            "create a repository {repository} and tag it with {key} {tag}",
            "make an ECR repository {repository} that has the tag {key}={tag}",
            "set up the image repository {repository}, labelled {key}: {tag}",
            "open a repository named {repository} and give it the tag {key} with the value {tag}",
            "add the repository {repository} to ECR, then the tag {key}={tag} to the repository",
        ),
        (Do("ecr.CreateRepository", _CALLED, "First I create the repository {repository}."), _TAG),
        (_HAS_TAG,),
        "The repository {repository} is there with its tag.",
        setup=(_OTHER,),
        refs={"arn": got(1, "repository", "repositoryArn")},
    ),
    Recipe(
        "ecr-find-tag",
        _TAGGED,
        (
            "tag the existing repository {repository} with {key} {tag}",
            "find the ECR repository {repository} and put the tag {key}={tag} on it",
            "look up the image repository {repository} and label it {key}: {tag}",
            "give our repository {repository} the tag {key} with the value {tag}",
            "let the repository {repository} in ECR have a tag {key}, which is {tag}",
        ),
        (
            Do("ecr.DescribeRepositories", {"repositoryNames": ["{repository}"]}, "I need the ARN of {repository}."),
            _TAG,
        ),
        (_HAS_TAG,),
        "The repository {repository} has the tag {key}.",
        setup=(_REPOSITORY, _OTHER),
        refs={"arn": got(1, "repositories", 0, "repositoryArn")},
    ),
)
