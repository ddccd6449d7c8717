"""Recipes of tasks over AWS, one service a file; know what moto simulates. ``RECIPES`` has them all."""

from collections.abc import Mapping, Sequence

from toolgen.agent.tasks.aws_recipes import s3, sqs, ssm
from toolgen.agent.tasks.recipes import Recipe

RECIPES: Mapping[str, Sequence[Recipe]] = {
    "s3": s3.RECIPES,
    "sqs": sqs.RECIPES,
    "ssm": ssm.RECIPES,
}
"""By service."""
