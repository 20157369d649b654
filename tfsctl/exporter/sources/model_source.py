"""Parses SOURCE of the command line: a file or directory that can be exported, with the kind of its contents."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfsctl.core.model_dir import MAX_VERSION, list_versions, parse_version, without_scheme
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.errors import ExportError, InvalidInput, NotFound
from tfsctl.exporter.sources.export_options import KEYS_HINT, ExportOptions
from tfsctl.exporter.sources.foreign_files import foreign_format_error

SourceKind = Literal["python", "keras", "saved_model", "embeddings", "vocabulary"]

SAVED_MODEL_TEXT_FILE = "saved_model.pbtxt"
SAVED_MODEL_FILES = (SAVED_MODEL_FILE, SAVED_MODEL_TEXT_FILE)
WEIGHTS_SUFFIX = ".weights.h5"
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
SUPPORTED_SOURCES = (
    "a Python file (model.py or model.py:attribute), a .keras or .h5 file, a SavedModel directory, vectors (.npy, .npz, "
    ".csv) or a vocabulary (.txt)"
)
_ARRAY_SUFFIXES, _TABLE_SUFFIXES = (".npy", ".npz"), (".csv", ".tsv")

_PYTHON = re.compile(r"(?P<path>.+\.py)(?::(?P<attribute>\w+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The origin of a model. `attribute` is the name after the colon in `file.py:attribute`."""

    kind: SourceKind
    path: Path
    attribute: str | None = None
    options: ExportOptions = field(default_factory=ExportOptions)

    @property
    def default_name(self) -> str:
        """The default model name: the stem of the file, or the folder that contains a numbered version."""
        path = self.path.resolve()
        if self.kind != "saved_model":
            return path.stem
        return path.parent.name if parse_version(path.name) is not None else path.name

    def sha256(self) -> str:
        """The SHA-256 of the file; of a directory, that of its files' SHA-256s and paths. Raises ExportError."""
        try:
            if self.path.is_file():
                return _sha256(self.path)
            files = sorted(file for file in self.path.rglob("*") if file.is_file())
            lines = "".join(f"{_sha256(file)}  {file.relative_to(self.path).as_posix()}\n" for file in files)
        except OSError as error:
            raise ExportError(f"cannot read {error.filename or self.path}: {error.strerror}") from error
        return hashlib.sha256(lines.encode()).hexdigest()


def parse_source(text: str, options: ExportOptions = ExportOptions()) -> ModelSource:  # noqa: B008 - immutable
    """Parse SOURCE. The options give the kind of a file with an ambiguous suffix.

    Raises NotFound if there is no such file, InvalidInput if it cannot be exported.
    """
    python = _PYTHON.fullmatch(text)
    path = without_scheme(python["path"] if python else text)
    if not path.exists():
        raise NotFound(
            f"no such file or directory: {path}", hint=similar_path_hint(path) or f"SOURCE is {SUPPORTED_SOURCES}"
        )
    if python and path.is_file():
        return ModelSource("python", path, python["attribute"])
    if path.is_file() and path.name in SAVED_MODEL_FILES:
        return ModelSource("saved_model", path.parent)
    if path.is_file() and path.suffix in KERAS_SUFFIXES and not path.name.endswith(WEIGHTS_SUFFIX):
        return ModelSource("keras", path)
    if path.is_dir() and (found := _saved_model(path)):
        return found
    if path.is_file() and (kind := _kind_of_table(path, options)):
        return ModelSource(kind, path)
    error = foreign_format_error(path)
    if error is not None:
        raise error
    if path.is_dir():
        raise InvalidInput(
            f"no {SAVED_MODEL_FILE} in {path}: it is not a SavedModel directory", hint=f"SOURCE is {SUPPORTED_SOURCES}"
        )
    raise InvalidInput(f"tfsctl cannot export {path}", hint=f"SOURCE is {SUPPORTED_SOURCES}")


def _kind_of_table(path: Path, options: ExportOptions) -> SourceKind | None:
    """Whether a file holds embeddings or a vocabulary; None if neither. Raises InvalidInput for unknown contents."""
    if options.kind is not None:
        return options.kind
    if path.suffix == ".npy" and options.keys is None:
        raise InvalidInput(f"{path} has no keys for its vectors", hint=KEYS_HINT)
    if path.suffix in _ARRAY_SUFFIXES or options.keys is not None:
        return "embeddings"
    if path.suffix == ".txt":
        return "vocabulary"
    if path.suffix in _TABLE_SUFFIXES:
        raise InvalidInput(
            f"{path} may hold vectors or something else",
            hint="--as embeddings if its first column holds keys and the others vectors, or --keys KEYS.txt for vectors",
        )
    return None


def _saved_model(path: Path) -> ModelSource | None:
    if _has_saved_model(path):
        return ModelSource("saved_model", path)
    versions = [found for found in list_versions(path) if _has_saved_model(found.path)]
    if versions:
        raise InvalidInput(
            f"{path} holds the versions {', '.join(str(found.version) for found in versions)}; export one of them",
            hint=f"tfsctl export {versions[-1].path}",
        )
    return None


def _has_saved_model(path: Path) -> bool:
    return any((path / name).is_file() for name in SAVED_MODEL_FILES)


def check_version(version: int | None) -> int | None:
    """Return `version` if TensorFlow Serving accepts it as a version; raises InvalidInput if not."""
    if version is None or 0 < version <= MAX_VERSION:
        return version
    raise InvalidInput(f"{version} cannot be a version: it is a whole number from 1 to {MAX_VERSION}")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
