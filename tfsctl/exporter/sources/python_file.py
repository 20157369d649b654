"""Runs a user's Python file and takes the model from it.

The file defines `model`, or a function `build_model()` that returns the model; `file.py:name` names another object or
function. The file may define `samples`, real inputs for the model (see `tfsctl.exporter.samples`).
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TextIO

from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text

MODEL = "model"
BUILD_MODEL = "build_model"
SAMPLES = "samples"
# Words of files that read their command line.
_COMMAND_LINE_READERS = ("argv", "argparse", "absl", "click", "typer", "docopt", "fire")
_own_streams: list[TextIO] = []  # kept, as `sys.__stdout__` is: a wrapper of their buffer must not find it closed


@contextlib.contextmanager
def run_file(file: Path, arguments: Sequence[str] = (), *, wanted: Sequence[str] = ()) -> Iterator[ModuleType]:
    """Run `file` as a module.

    During the block, its folder is on `sys.path`, so that it can import its siblings, also with relative imports.
    `sys.argv` is the file and `arguments`. The module is `__main__` too, because pickles of a script look for their classes
    there. The file may end with `sys.exit(0)` if it has defined one of the names `wanted`.

    Raises ExportError with file and line if the file is not valid Python or raises an exception.
    """
    file = file.resolve()
    working_directory, old_arguments, old_path = os.getcwd(), sys.argv, sys.path[:]
    before, old_main = set(sys.modules), sys.modules["__main__"]
    module = ModuleType(f"tfsctl_source_{file.stem}")
    module.__file__ = str(file)
    package, parent = _package(file)
    module.__package__ = package
    sys.modules[module.__name__] = sys.modules["__main__"] = module  # dataclasses and pickle look up classes there
    sys.path.insert(0, str(file.parent))
    sys.path.append(str(parent))
    sys.argv = [str(file), *arguments]
    try:
        with _streams_kept():
            _execute(file, module, wanted)
        yield module
    finally:
        os.chdir(working_directory)
        sys.argv = old_arguments
        sys.path[:] = old_path
        sys.modules["__main__"] = old_main
        sys.modules.pop(module.__name__, None)
        for name in [name for name in list(sys.modules) if _is_new_sibling(name, before, file.parent, package)]:
            del sys.modules[name]  # another source may have a sibling with the same name


def _package(file: Path) -> tuple[str, Path]:
    """The package of a file for its relative imports, and the folder that contains the outermost package."""
    parts, folder = [file.parent.name], file.parent
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
        parts.insert(0, folder.name)
    return ".".join(parts), folder.parent


def find_model(
    module: ModuleType,
    attribute: str | None,
    *,
    is_model: Callable[[object], bool],
    keywords: Mapping[str, object] | None = None,
) -> object:
    """The model that a module defines; a function is called with `keywords` to build it.

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
    if is_model(found):
        return found
    if not callable(found):
        _refuse_several_or_none(found, f"{file}: `{name}` is", is_model)
        return found
    keywords = keywords or {}
    _refuse_arguments(found, file, name, keywords)
    try:
        with _streams_kept():
            built = found(**keywords)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also a SystemExit, and classes of the user's
        raise ExportError(
            f"{error_text.source_location(error, file)}: {name}() failed: {error_text.one_line(error)}",
            hint=_hint_for(error, file),
        ) from error
    _refuse_several_or_none(built, f"{file}: {name}() returned", is_model)
    return built


def _refuse_several_or_none(value: object, subject: str, is_model: Callable[[object], bool]) -> None:
    """Raise InvalidInput if a value is None, a list or a tuple: functions may return a model with its history."""
    if value is None:
        raise InvalidInput(f"{subject} None, and not a model")
    if not isinstance(value, (list, tuple)):
        return
    kind, kinds = type(value).__name__, ", ".join(type(one).__name__ for one in value)
    models = [type(one).__name__ for one in value if is_model(one)]
    raise InvalidInput(
        f"{subject} a {kind} ({kinds}), and not a model" if value else f"{subject} an empty {kind}, and not a model",
        hint=f"give the {models[0]} alone, without the {kind}"
        if len(models) == 1
        else "give one model, or a dict of models by the names of their signatures",
    )


def _execute(file: Path, module: ModuleType, wanted: Sequence[str]) -> None:
    try:
        code = compile(file.read_bytes(), str(file), "exec")
        exec(code, module.__dict__)  # noqa: S102 - running the user's file is what was asked for
    except SyntaxError as error:
        raise ExportError(f"{error_text.source_location(error, file)}: {error_text.one_line(error)}") from error
    except ModuleNotFoundError as error:
        hint = f"install the package that provides {error.name} for {sys.executable}, the Python that tfsctl runs on"
        raise ExportError(
            f"{error_text.source_location(error, file)}: {error_text.one_line(error)}", hint=hint
        ) from error
    except SystemExit as error:
        if error.code in (None, 0) and any(hasattr(module, name) for name in wanted):
            return
        raise ExportError(
            f"{error_text.source_location(error, file)}: the file exited with {error_text.one_line(error)}",
            hint=_hint_for_exit(error, file, wanted),
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a class of the user's may be no Exception
        raise ExportError(
            f"{error_text.source_location(error, file)}: {error_text.one_line(error)}", hint=_hint_for(error, file)
        ) from error


def _hint_for_exit(error: SystemExit, file: Path, wanted: Sequence[str]) -> str:
    """The hint for a file that ended before it defined a model; empty if its own text has to say what is wrong."""
    if error.code in (None, 0):
        return f"define `{wanted[0]}` before the file exits" if wanted else ""
    code = file.read_text(encoding="utf-8", errors="replace")
    if any(word in code for word in _COMMAND_LINE_READERS):
        return "--arg NAME=VALUE passes --NAME=VALUE to the file, and --arg VALUE passes VALUE"
    return ""


def _hint_for(error: BaseException, file: Path) -> str:
    if type(error).__name__ == "UnparsedFlagAccessError":
        return "call absl.flags.FLAGS(sys.argv) in the file, before it reads a flag"
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    if isinstance(missing, str) and not os.path.isabs(missing) and (file.parent / missing).exists():
        return (
            f"{missing} is in the folder of the file: cd {shlex.quote(str(file.parent))}, and run tfsctl export there"
        )
    return ""


@contextlib.contextmanager
def _streams_kept() -> Iterator[None]:
    """Undo what a user's code does to `sys.stdout` and `sys.stderr`.

    It may replace, wrap, detach and close them. So it gets streams of its own for the same descriptors.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_own_stream, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def _own_stream(stream: TextIO) -> TextIO:
    """Another stream for the descriptor of a stream; the stream itself if it has none, as in a notebook."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        descriptor = stream.fileno()
    except OSError:
        return stream
    stream.flush()
    encoding, errors = stream.encoding, stream.errors
    own = open(descriptor, "w", 1, encoding, errors, closefd=False)  # noqa: SIM115 - until the process ends
    _own_streams.append(own)
    return own


def _is_new_sibling(name: str, before: set[str], folder: Path, package: str) -> bool:
    """Whether a module was imported from the folder of a file, or as a part of the file's package."""
    first = name.partition(".")[0]
    if first in before:
        return False
    if first == package.partition(".")[0]:
        return True
    origin = getattr(sys.modules.get(first), "__file__", None)
    if origin is None:
        return False
    path = Path(origin)
    return folder in (path.parent, path.parent.parent if path.name == "__init__.py" else None)


def _refuse_arguments(function: Callable[..., object], file: Path, name: str, keywords: Mapping[str, object]) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in variadic]
    missing = [parameter for parameter in required if parameter not in keywords]
    if missing:
        raise InvalidInput(
            f"{file}: {name}() requires arguments: {', '.join(missing)}",
            hint=f"if {name}() is the model itself, write @tf.function(input_signature=[...]) above it"
            if name == MODEL
            else " ".join(f"--arg {parameter}=VALUE" for parameter in missing),
        )


def _suggestion(module: ModuleType, is_model: Callable[[object], bool]) -> str:
    models = [name for name, value in vars(module).items() if not name.startswith("_") and is_model(value)]
    if models:
        return f"tfsctl export {module.__file__}:{models[0]}"
    if _has_main_guard(Path(str(module.__file__))):
        return (
            "tfsctl does not run the code under `if __name__ == '__main__'`: "
            f"move it to a function `{BUILD_MODEL}` that returns the model"
        )
    return f"define `{MODEL}`, or a function `{BUILD_MODEL}` that returns it, or name another: file.py:attribute"


def _has_main_guard(file: Path) -> bool:
    tests = (node.test for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.If))
    return any("__name__" in ast.unparse(test) for test in tests)
