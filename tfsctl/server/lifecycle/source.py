"""The file-system source: finds the versions of each model on disk and selects those its version policy wants."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from tfsctl.core.model_dir import parse_version
from tfsctl.serving_config.model_config import ModelConfig

log = logging.getLogger(__name__)


def aspired_versions(model: ModelConfig) -> dict[int, Path] | None:
    """The versions of a model that should be served, with their directories; None if the base path does not exist.

    Rules and log lines are those of file_system_storage_path_source.cc: directories whose name is not a number are
    ignored, and a base path without versions unloads the model.
    """
    try:
        names = [entry.name for entry in os.scandir(model.base_path) if _is_directory(entry)]
    except OSError as error:
        log.error(  # noqa: TRY400 - one line as in the real server, not a traceback each second
            "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path %s for "
            "servable %s with error %s",
            model.base_path,
            model.name,
            _unknown_scheme(model.base_path) or error.strerror,
        )
        return None
    on_disk = _by_version(names)
    if not on_disk:
        log.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a "
            "number (eg. '/1/')?",
            model.name,
            model.base_path,
        )
    for missing in sorted(set(model.policy.specific or ()) - on_disk.keys()):
        log.warning("Version %d of servable %s, which was requested to be served, was not found", missing, model.name)
    return {version: Path(model.base_path, on_disk[version]) for version in model.policy.aspired(list(on_disk))}


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory. False for a loop of symbolic links, so that the other versions are still found."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _unknown_scheme(base_path: str) -> str:
    """TensorFlow's error for a URL of a file system that its build lacks, such as s3; "" for any other path."""
    scheme, separator, _ = base_path.partition("://")
    if not separator:
        return ""
    return f"UNIMPLEMENTED: File system scheme '{scheme}' not implemented (file: '{base_path}')"


def _by_version(names: Iterable[str]) -> dict[int, str]:
    """Directory names by version number. If several mean one version (`1`, `0001`), the last by name counts."""
    found: dict[int, str] = {}
    for name in sorted(names):
        version = parse_version(name)
        if version is None:
            continue
        if version in found:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version,
                name,
                found[version],
            )
        found[version] = name
    return found
