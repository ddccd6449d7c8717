"""Runs Python functions in a worker's process, named by ``module:function``. Knows functions and how they go wrong; the
process itself is watched from outside."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from toolgen.agent.environment import Status
from toolgen.agent.environments.serving import Channel, Reply, limit_memory, observed, serve
from toolgen.errors import InputError
from toolgen.sources.callables import BadArgumentsError, ToolFunction, result_text, tool_function


class _Server:
    def __init__(self) -> None:
        self._functions: dict[str, ToolFunction] = {}

    def answer(self, request: Mapping[str, Any]) -> Reply:
        pid = os.getpid()
        reply = self._loaded(request["load"]) if "load" in request else self._called(**request["call"])
        if os.getpid() != pid:
            # A function has forked, and this is the fork that came back too.
            os._exit(0)
        return reply

    def _loaded(self, paths: Sequence[str]) -> Reply:
        try:
            self._functions = {path: _load(path) for path in paths}
        except InputError as error:
            return {"wrong": str(error)}
        return {"tools": [function.tool.to_record() for function in self._functions.values()]}

    def _called(self, path: str, arguments: str, most: int) -> Reply:
        function = self._functions[path]
        try:
            args, kwargs = function.read(arguments)
        except BadArgumentsError as error:
            return observed(Status.BAD_ARGUMENTS, f"{path}: {error}.", most)
        try:
            result = function.function(*args, **kwargs)
        except MemoryError:
            raise
        except Exception as error:
            return observed(Status.FAILED, _said(error), most)
        except BaseException as error:
            return observed(Status.CRASHED, f"{path}: it wanted to end its process ({_said(error)})", most)
        try:
            return observed(Status.OK, result_text(result), most)
        except MemoryError:
            raise
        except Exception as error:
            return observed(Status.MALFORMED, f"{path}: its result is no JSON ({_said(error)})", most)


def _load(path: str) -> ToolFunction:
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name.isidentifier()):
        raise InputError(f"{path!r} names no function. Write module:function, such as shop.orders:cancel_order.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(f"The module of {path} cannot be imported: {_said(error)}. Mend or rename it.") from error
    if not hasattr(module, name):
        raise InputError(f"The module {module_name} has no {name!r}. Name a function that it has.")
    return tool_function(getattr(module, name), path)


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:
        return type(error).__name__


def main() -> None:
    """Serve the process that started this one."""
    limit_memory(int(sys.argv[1]))
    channel = Channel()
    # A fork that lives on would keep the pipe open behind a process that is gone.
    os.register_at_fork(after_in_child=channel.close)
    serve(channel, _Server().answer)


if __name__ == "__main__":
    main()
