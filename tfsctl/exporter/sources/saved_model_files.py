"""Copies SavedModels, and reads the `method_name` of their signatures, which TensorFlow drops when it loads a model.

A copy always has a binary `saved_model.pb`: TensorFlow Serving also loads `saved_model.pbtxt`, but few other tools do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tfsctl.core import protos
from tfsctl.core.inference import METHOD_NAMES
from tfsctl.core.model_dir import copy_directory
from tfsctl.core.saved_model import SAVED_MODEL_FILE, SERVE_TAG, read_meta_graph, tags_hint
from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.sources.model_source import SAVED_MODEL_TEXT_FILE


def copy_saved_model(source: Path, directory: Path) -> None:
    """Copy a SavedModel into an existing, empty directory.

    Raises TfsctlError for a file that cannot be copied, ExportError if the text file is not valid.
    """
    copy_directory(source, directory)
    directory.chmod(0o755)
    text_file = directory / SAVED_MODEL_TEXT_FILE
    if not text_file.is_file():
        return
    if not (directory / SAVED_MODEL_FILE).is_file():
        parsed = _parse(text_file.read_bytes(), source / SAVED_MODEL_TEXT_FILE)
        (directory / SAVED_MODEL_FILE).write_bytes(parsed.SerializeToString(deterministic=True))
    text_file.unlink()


def check_saved_model(source: Path) -> None:
    """Raise InvalidInput if no graph is tagged `serve` alone: servers load no other. Raises as `read_meta_graph` does."""
    tags = read_meta_graph(source).meta_info_def.tags
    if list(tags) != [SERVE_TAG]:
        raise InvalidInput(
            f"{source} has no graph tagged {SERVE_TAG!r} alone, which servers load: its tags are {', '.join(tags)}",
            hint=tags_hint(source, tags),
        )


def with_method_names(signatures: Iterable[ExportSignature], source: Path) -> tuple[ExportSignature, ...]:
    """The signatures of a SavedModel that TensorFlow loaded, with `method_name` as in its file for classify and regress.

    Raises ExportError, or as `read_meta_graph` does.
    """
    text_file = source / SAVED_MODEL_TEXT_FILE
    if (source / SAVED_MODEL_FILE).is_file():
        definitions = read_meta_graph(source).signature_def
    else:
        graphs = _parse(text_file.read_bytes(), text_file).meta_graphs
        definitions = next(graph for graph in graphs if SERVE_TAG in graph.meta_info_def.tags).signature_def
    return tuple(
        replace(one, method_name=definitions[one.name].method_name)
        if one.name in definitions and definitions[one.name].method_name in METHOD_NAMES.values()
        else one
        for one in signatures
    )


def _parse(text: bytes, file: Path) -> protos.SavedModel:
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, protos.SavedModel(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ExportError(f"{file} is not a SavedModel: {error}") from error
