"""The models that tfsctl started a server with: their directories, and the labels of their versions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core.types import ModelMetadata
from tfsctl.errors import TfsctlError

if TYPE_CHECKING:
    from tfsctl.cli.options.target import Target
    from tfsctl.engines.server_record import ServerRecord
    from tfsctl.serving_config.model_config import ModelConfig


def version_directory(target: Target, served: ModelMetadata) -> Path | None:
    """The directory of a served version; None if tfsctl did not start the server, or the directory is gone."""
    from tfsctl.core.model_dir import list_versions

    for model in models_at(target):
        if model.name == served.name:
            with suppress(TfsctlError, OSError):
                versions = {found.version: found.path for found in list_versions(Path(model.base_path))}
                return versions.get(max(versions) if served.version is None else served.version)
    return None


def with_samples(target: Target, served: ModelMetadata) -> ModelMetadata:
    """The metadata with sample rows for examples, if the directory of the version can be read."""
    from tfsctl.core.version_files.manifest import with_samples

    return replace(served, signatures=with_samples(served.signatures, lambda: version_directory(target, served)))


def models_at(target: Target) -> Sequence[ModelConfig]:
    """The models of a target's server, which may have been restarted since it was found; none if tfsctl did not start it."""
    from tfsctl.engines.registry import records

    servers = [] if target.server is None else [one for one in records.running() if one.name == target.server]
    return models_of(servers[0]) if servers else ()


def models_of(server: ServerRecord) -> Sequence[ModelConfig]:
    """The models of a running server; none if its record, written by another version of tfsctl, cannot be read."""
    from tfsctl.engines.registry import records
    from tfsctl.serving_config.model_config import model_from_document

    document = records.launch_document(server)
    try:
        return () if document is None else tuple(map(model_from_document, document["config"]["models"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()
