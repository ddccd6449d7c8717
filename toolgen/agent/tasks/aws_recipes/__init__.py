"""Recipes of tasks over AWS, one service a file; know what moto simulates. ``RECIPES`` has them all."""

from collections.abc import Mapping, Sequence

from toolgen.agent.tasks.aws_recipes import cognito, dynamodb, iam, kms, s3, secretsmanager, sns, sqs, ssm
from toolgen.agent.tasks.recipes import Recipe

RECIPES: Mapping[str, Sequence[Recipe]] = {
    "cognito-idp": cognito.RECIPES,
    "dynamodb": dynamodb.RECIPES,
    "iam": iam.RECIPES,
    "kms": kms.RECIPES,
    "s3": s3.RECIPES,
    "secretsmanager": secretsmanager.RECIPES,
    "sns": sns.RECIPES,
    "sqs": sqs.RECIPES,
    "ssm": ssm.RECIPES,
}
"""By service."""
