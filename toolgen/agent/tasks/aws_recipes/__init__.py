"""Recipes of tasks over AWS, one service a file; know what moto simulates. ``RECIPES`` has them all."""

from collections.abc import Mapping, Sequence

from toolgen.agent.tasks.aws_recipes import (
    cognito,
    dynamodb,
    ecr,
    events,
    iam,
    kinesis,
    kms,
    logs,
    route53,
    s3,
    secretsmanager,
    sns,
    sqs,
    ssm,
    stepfunctions,
)
from toolgen.agent.tasks.recipes import Recipe

RECIPES: Mapping[str, Sequence[Recipe]] = {
    "cognito-idp": cognito.RECIPES,
    "dynamodb": dynamodb.RECIPES,
    "ecr": ecr.RECIPES,
    "events": events.RECIPES,
    "iam": iam.RECIPES,
    "kinesis": kinesis.RECIPES,
    "kms": kms.RECIPES,
    "logs": logs.RECIPES,
    "route53": route53.RECIPES,
    "s3": s3.RECIPES,
    "secretsmanager": secretsmanager.RECIPES,
    "sns": sns.RECIPES,
    "sqs": sqs.RECIPES,
    "ssm": ssm.RECIPES,
    "stepfunctions": stepfunctions.RECIPES,
}
"""By service."""
