"""Errors that a user can mend. Knows nothing of what raises them.

Every message says what was found, what is allowed and how to mend it. The command line prints the message and exits
with code 2; anything that is not an ``InputError`` is a bug of ours and keeps its traceback.
"""

import importlib
from types import ModuleType


class InputError(ValueError):
    """The caller's input is unusable; the message says what, where and the cure."""


class DiskFullError(InputError):
    """A disk, or the user's share of it, has no room for what should be written; the message says what and where."""


class OutOfMemoryError(InputError):
    """A device has no room for what was asked of it; the message says what to change."""


class MissingPackageError(InputError, ImportError):
    """An optional package is not installed; the message carries the pip command that mends it."""


def require(package: str, *, purpose: str, pip_name: str | None = None) -> ModuleType:
    """Import an optional package or say how to install it.

    Args:
        package: Import name, such as ``"bm25s"``.
        purpose: What needs it, to complete the sentence "... needs the package X".
        pip_name: Name on the package index when it differs from the import name.

    Raises:
        MissingPackageError: The package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = pip_name or package
        raise MissingPackageError(
            f"{purpose} needs the package '{package}', which could not be imported ({error}). "
            f"Install it: pip install {name}"
        ) from error
