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
            "provision a fresh ECR repository named {repository}",
            "start an image repository that is called {repository}",
            "spin up {repository} as a new repository for container images",
            "get us an additional image repository with the name {repository}",
            "see to it that there is an ECR repository {repository}; it does not exist yet",
            "establish {repository} as one more container repository of ours",
            "prepare a place for images: an ECR repository named {repository}",
            "have a plain image repository created that bears the name {repository}",
            "register the new repository {repository} with Amazon ECR",
            "build an image repository, and call it {repository}",
            "provide an ECR repository {repository}",
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
            "throw the image repository {repository} away",
            "destroy the ECR repository {repository}",
            "tear down the image repository {repository}, which holds nothing",
            "scrap the container repository named {repository}, since nobody pushes to it",
            "discard {repository}, an image repository that we no longer need",
            "retire the ECR repository {repository} for good",
            "clean up by deleting our empty image repository called {repository}",
            "see to it that the container repository {repository} ceases to exist",
            "erase the repository {repository} from ECR",
            "dispose of the old image repository {repository}",
            "take down the ECR repository {repository}; all others stay",
            "make the unused container repository {repository} disappear",
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
            "enable scan on push for the image repository {repository}",
            "activate the scanning of pushed images in the ECR repository {repository}",
            "switch image scanning on push on in the container repository {repository}",
            "set scanOnPush to true for the repository {repository}",
            "update the image repository {repository}: pushed images must be scanned",
            "change the ECR repository {repository} so that it scans each image on push",
            "see to it that the repository {repository} scans images as soon as they are pushed",
            "start scanning what is pushed to the container repository {repository}",
            "make the image repository {repository} one that scans on push",
            "apply scanning on push to the existing ECR repository {repository}",
            "give the repository {repository} an image scanning configuration that scans on push",
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
            "set the image tags of the repository {repository} to immutable",
            "change the ECR repository {repository} so that its tags cannot be moved",
            "lock the image tags in the container repository {repository}",
            "prevent tags from being overwritten in the image repository {repository}",
            "update the repository {repository}: the tag mutability must be IMMUTABLE",
            "turn on tag immutability for the image repository {repository}",
            "see to it that no image tag in the ECR repository {repository} can change",
            "enable immutable tags in the container repository {repository}",
            "switch the tag mutability of the image repository {repository} from mutable to immutable",
            "protect the tags in the ECR repository {repository} by making them immutable",
            "have the repository {repository} refuse any push that would replace an image tag",
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
            "create a container repository {repository} and tag it with {key} {tag}",
            "make an ECR repository {repository} that has the tag {key}={tag}",
            "set up the image repository {repository}, labelled {key}: {tag}",
            "open an image repository named {repository} and give it the tag {key} with the value {tag}",
            "add the repository {repository} to ECR, then the tag {key}={tag} to the repository",
            "provision a new ECR repository {repository} and attach the tag {key} = {tag} to it",
            "spin up {repository} as an image repository whose tag {key} reads {tag}",
            "get us another container repository, {repository}, tagged with {key} {tag}",
            "establish an image repository named {repository}, marked {key}={tag} by a tag",
            "build the ECR repository {repository} and assign {tag} to its tag {key}",
            "prepare a fresh image repository called {repository}; its {key} tag is {tag}",
            "see to it that a new ECR repository {repository} exists and carries the tag {key}: {tag}",
            "start a container repository with the name {repository}, and note {tag} under the tag key {key}",
            "register the new repository {repository} with Amazon ECR, then apply the tag {key} with value {tag}",
            "have an image repository {repository} created that is labelled {key}: {tag}",
            "provide the ECR repository {repository} together with a tag, key {key}, value {tag}",
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
            "find the ECR repository {repository} and put the tag {key}={tag} on it",
            "look up the image repository {repository} and label it {key}: {tag}",
            "let the repository {repository} in ECR have a tag {key}, which is {tag}",
            "tag the existing ECR repository {repository} with {key} {tag}",
            "give our image repository {repository} the tag {key} with the value {tag}",
            "attach the tag {key} = {tag} to the image repository {repository}",
            "assign {tag} to the tag {key} of the ECR repository {repository}",
            "set the tag {key} on our container repository {repository} to {tag}",
            "apply a tag to the image repository named {repository}, namely {key}: {tag}",
            "record by a tag that the {key} of the ECR repository {repository} is {tag}",
            "add a tag {key} that reads {tag} to the container repository {repository}",
            "see to it that the ECR repository {repository} gets tagged, key {key}, value {tag}",
            "note {tag} under the tag key {key} on the existing image repository {repository}",
            "classify the container repository {repository} by tagging it {key}={tag}",
            "mark {repository} in ECR as {key} {tag} by a tag",
            "equip the image repository {repository} with a tag: {key}, {tag}",
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
