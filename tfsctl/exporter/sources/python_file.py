"""Runs a user's Python file and takes the model from it.

The file defines `model`, or a function `build_model()` that returns the model; `file.py:name` names another object or
function. The file may define `samples`, real inputs for the model (see `tfsctl.exporter.samples`).
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text

MODEL = "model"
BUILD_MODEL = "build_model"
SAMPLES = "samples"


@contextlib.contextmanager
def run_file(file: Path) -> Iterator[ModuleType]:
    """Run `file` as a module.

    During the block its folder is on `sys.path`, so that it can import its siblings, and `sys.argv` is `[FILE]`.

    Raises ExportError with file and line if the file is not valid Python or raises an exception.
    """
    file = file.resolve()
    folder, working_directory, arguments = str(file.parent), os.getcwd(), sys.argv
    before = set(sys.modules)
    module = ModuleType(f"tfsctl_source_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses and pickle look up classes there
    sys.path.insert(0, folder)
    sys.argv = [str(file)]
    try:
        _execute(file, module)
        yield module
    finally:
        os.chdir(working_directory)
        sys.argv = arguments
        with contextlib.suppress(ValueError):  # the file removed it
            sys.path.remove(folder)
        sys.modules.pop(module.__name__, None)
        for name in [name for name in sys.modules if name not in before and _is_sibling(name, file.parent)]:
            del sys.modules[name]  # another source may have a sibling with the same name


def find_model(module: ModuleType, attribute: str | None, *, is_model: Callable[[object], bool]) -> object:
    """The model that a module defines; a function is called to build it.

    Raises InvalidInput if there is no model or the function requires arguments, ExportError if the function fails.
    """
    file = Path(str(module.__file__))
    name = attribute or next((name for name in (MODEL, BUILD_MODEL) if hasattr(module, name)), None)
    if name is None:
        raise InvalidInput(
            f"{file} defines neither `{MODEL}` nor `{BUILD_MODEL}()`", hint=_suggestion(module, is_model)
        )
    if not hasattr(module, name):
        raise InvalidInput(f"{file} does not define `{name}`", hint=_suggestion(module, is_model))
    found: object = getattr(module, name)
    if is_model(found) or not callable(found):
        return found
    _refuse_arguments(found, file, name)
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ExportError(
            f"{error_text.source_location(error, file)}: {name}() failed: {error_text.one_line(error)}"
        ) from error


def _execute(file: Path, module: ModuleType) -> None:
    try:
        code = compile(file.read_bytes(), str(file), "exec")
        exec(code, module.__dict__)  # noqa: S102 - running the user's file is what was asked for
    except SyntaxError as error:
        raise ExportError(f"{error_text.source_location(error, file)}: {error_text.one_line(error)}") from error
    except ModuleNotFoundError as error:
        hint = f"install what has {error.name} for {sys.executable}, the Python that tfsctl runs on"
        raise ExportError(
            f"{error_text.source_location(error, file)}: {error_text.one_line(error)}", hint=hint
        ) from error
    except (Exception, SystemExit) as error:
        raise ExportError(f"{error_text.source_location(error, file)}: {error_text.one_line(error)}") from error


def _is_sibling(name: str, folder: Path) -> bool:
    top = sys.modules.get(name.partition(".")[0])
    origin = getattr(top, "__file__", None)
    if top is None or origin is None:
        return False
    path = Path(origin)
    return folder in (path.parent, path.parent.parent if path.name == "__init__.py" else None)


def _refuse_arguments(function: Callable[..., object], file: Path, name: str) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in variadic]
    if wanted:
        raise InvalidInput(
            f"{file}: {name}() wants arguments ({', '.join(wanted)}); tfsctl calls it with none",
            hint="give them defaults, or define `model`",
        )


def _suggestion(module: ModuleType, is_model: Callable[[object], bool]) -> str:
    models = [name for name, value in vars(module).items() if not name.startswith("_") and is_model(value)]
    if models:
        return f"tfsctl export {module.__file__}:{models[0]}"
    return f"define `{MODEL}`, or a function `{BUILD_MODEL}` that returns it, or name another: file.py:attribute"
