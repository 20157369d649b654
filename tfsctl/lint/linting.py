"""Lints a path: detects the kind of file, and runs the checks for that kind.

>>> from tfsctl.lint.linting import lint
>>> lint("models.config").findings  # doctest: +SKIP
"""

from __future__ import annotations

import difflib
import re
import shlex
from pathlib import Path
from typing import get_args

from tfsctl.core.model_dir import list_versions, without_scheme
from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.core.types import Signature
from tfsctl.engines.model_paths import SOURCE_SUFFIXES
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.lint.finding import FileKind, Finding, LintReport
from tfsctl.lint.model_config import lint_model_config
from tfsctl.lint.model_directory import is_saved_model, lint_directory
from tfsctl.lint.saved_model import SAVED_MODEL_TEXT_FILE
from tfsctl.lint.server_files import lint_batching, lint_monitoring, lint_tls
from tfsctl.lint.text_fields import parse_fields
from tfsctl.lint.text_proto import BYTE_ORDER_MARK
from tfsctl.serving_config import messages

KINDS: tuple[FileKind, ...] = get_args(FileKind)
_JSON_KEY = re.compile(r'"(\w+)"\s*:')
_FIRST_FIELD = re.compile(r"^\s*(\w+)", re.MULTILINE)


def lint(path: str | Path, *, kind: FileKind | None = None, model: Path | None = None) -> LintReport:
    """Check a model's directory or a config file.

    - `kind`: the kind of the file (default: detected from its fields).
    - `model`: for batching parameters, the directory of a model that is served with them.

    Raises NotFound if there is no such path, InvalidInput if its kind cannot be detected.
    """
    path = without_scheme(path)
    if not path.exists():
        raise NotFound(f"no such file or directory: {path}", hint=similar_path_hint(path))
    if path.is_file() and path.name in (SAVED_MODEL_FILE, SAVED_MODEL_TEXT_FILE):
        path = path.parent
    if path.is_dir() and kind not in (None, "model"):
        raise InvalidInput(f"{path} is a directory, and --kind {kind} is a file", hint="remove --kind")
    try:
        kind = kind or ("model" if path.is_dir() else kind_of(path))
        if model is not None and kind != "batching":
            raise InvalidInput(f"--model is for batching parameters, and {path} is of the kind {kind}")
        return LintReport(str(path), kind, tuple(_findings(path, kind, model)))
    except OSError as error:
        raise InvalidInput(f"cannot read {error.filename or path}: {error.strerror}") from error


def _findings(path: Path, kind: FileKind, model: Path | None) -> list[Finding]:
    if kind == "model":
        if not path.is_dir():
            raise InvalidInput(f"{path} is a file, and a model is a directory", hint="remove --kind")
        return lint_directory(path)
    if kind == "model-config":
        found = lint_model_config(path)
    elif kind == "batching":
        found = lint_batching(path, () if model is None else _signatures(model))
    else:
        found = lint_monitoring(path) if kind == "monitoring" else lint_tls(path)
    return sorted(found, key=lambda finding: (finding.line or 0, finding.column or 0))


def _signatures(model: Path) -> tuple[Signature, ...]:
    """The signatures of a model: of its latest version if it is a base directory."""
    if not is_saved_model(model):
        versions = list_versions(model)
        if not versions:
            raise NotFound(f"no version of a model in {model}", hint=f"tfsctl lint {model}")
        model = versions[-1].path
    return tuple(read_saved_model(model).signatures.values())


def kind_of(path: Path) -> FileKind:
    """The kind of a config file, by the names of its fields. Raises InvalidInput if they fit none; OSError."""
    if path.suffix in SOURCE_SUFFIXES:
        raise InvalidInput(
            f"{path} is the source of a model, not a config file",
            hint=f"tfsctl export {shlex.quote(str(path))} exports the model",
        )
    text = path.read_bytes().decode("utf-8", "replace").removeprefix(BYTE_ORDER_MARK)
    fields = parse_fields(text)
    if text.lstrip().startswith("{"):
        names = set(_JSON_KEY.findall(text))
    elif fields is not None:
        names = {field.name for field in fields.fields}
    else:
        names = set(_FIRST_FIELD.findall(text))
    known: dict[FileKind, set[str]] = {
        "model-config": {"model_config_list", "custom_model_config"},
        "batching": set(messages.BatchingParameters.DESCRIPTOR.fields_by_name),
        "monitoring": set(messages.MonitoringConfig.DESCRIPTOR.fields_by_name),
        "tls": set(messages.SSLConfig.DESCRIPTOR.fields_by_name),
    }
    scores = {kind: sum(_resembles(name, wanted) for name in names) for kind, wanted in known.items()}
    best = max(scores, key=lambda kind: scores[kind])
    if not scores[best]:
        raise InvalidInput(
            f"cannot tell what kind of file {path} is: it has no field of a config file",
            hint=f"add --kind {'|'.join(kind for kind in KINDS if kind != 'model')}",
        )
    return best


def _resembles(name: str, wanted: set[str]) -> float:
    if name in wanted:
        return 2.0
    close = difflib.get_close_matches(name, wanted, n=1, cutoff=0.8)
    return 1.0 if close else 0.0
