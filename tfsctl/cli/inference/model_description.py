"""Describe a model for `metadata` and `sample`: a served model, or a model in a directory."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfsctl.cli.inference.served_models import models_at, version_directory
from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.cli.options.target import Target, find_target
from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.core.types import Signature
from tfsctl.core.version_files.manifest import with_samples
from tfsctl.errors import InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Facts by name, in the order in which they are printed, the signatures, and the directory (None if not at hand)."""

    facts: Mapping[str, Any]
    signatures: Mapping[str, Signature]
    directory: Path | None = None


def describe_model(options: ServerOptions, path: Path | None) -> ModelDescription:
    """Describe the model in a directory, or the served model if `path` is None. For `tfsctl metadata`.

    Raises InvalidInput if the command line has a directory and the address of a server.
    """
    if path is None:
        return describe_served(options)
    if options.typed_address is not None:
        raise InvalidInput(
            f"the argument {path} names a directory, and {options.typed_address} chooses a server",
            hint=f"for the running model write --model {shlex.quote(path.name)}; for the directory remove {options.typed_address}",
        )
    try:
        return describe_directory(path, options)
    except NotFound as error:
        if not path.exists() and _is_running(str(path)):
            error.hint = f"--model {shlex.quote(str(path))} chooses the running model"
        raise


def _is_running(model: str) -> bool:
    """Whether a server that tfsctl started serves a model."""
    from tfsctl.engines.registry import records

    return any(model in server.models for server in records.running())


def describe_named(
    options: ServerOptions, text: str, base: Path | None, *, command: str = "metadata"
) -> ModelDescription:
    """Describe the model that `text` names: a directory, a version (of `base`, or of the server), or NAME[@VERSION].

    A bare name is that of a running model if the command line has the address of a server, even if there is a directory
    of that name. `command` is the tfsctl command that hints name.
    """
    from tfsctl.core.model_dir import parse_version, without_scheme

    version = parse_version(text)
    if base is not None:
        if version is None:
            raise InvalidInput(f"{base} has no version {text}", hint="use version numbers, or remove PATH")
        return describe_directory(base, replace(options, version=version))
    if Path(text).exists() and ("/" in text or options.typed_address is None):
        return describe_directory(Path(text), options, command=command)
    if "/" in text:
        without_scheme(text)  # raises the error for a URL
        raise NotFound(f"no such directory: {text}", hint=similar_path_hint(text, only_directories=True))
    return describe_served(options.with_model(text) if version is None else replace(options, version=version))


def describe_served(options: ServerOptions) -> ModelDescription:
    """Describe the model that the options choose. Raises what `find_target` and the client raise."""
    from tfsctl.engines.registry import records

    target = find_target(options, records.running())
    with target.connect() as client:
        served = client.metadata(target.model)
    facts = {
        "model": served.name,
        "version": served.version,
        "address": client.address,
        "transport": client.transport,
        "labels": _labels(target),
    }
    directory = version_directory(target, served)
    return ModelDescription(facts, with_samples(served.signatures, lambda: directory), directory)


def _labels(target: Target) -> Mapping[str, int] | None:
    """The version labels of a model; None if tfsctl did not start its server, because no API returns them."""
    return next((dict(model.labels) for model in models_at(target) if model.name == target.model.name), None)


def describe_directory(path: Path, options: ServerOptions, *, command: str = "metadata") -> ModelDescription:
    """Describe a version directory, a model's base directory (its latest version, or --version), or any SavedModel.

    Raises NotFound or ModelUnreadable if there is no such model.
    """
    from tfsctl.core.model_dir import is_version_dir, list_versions, parse_version
    from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
    from tfsctl.core.version_files.fingerprint import read_fingerprint
    from tfsctl.core.version_files.warmup_requests import count_warmup_requests
    from tfsctl.engines.model_paths import is_file_error, local_path, require_versions

    if options.label is not None:
        raise InvalidInput("--label needs a running model: directories have no labels", hint="use --version N")
    directory = local_path(path).resolve()
    if directory.is_file():
        raise is_file_error(directory, command=command)
    if (directory / SAVED_MODEL_FILE).is_file():
        name = directory.parent.name if is_version_dir(directory) else directory.name
        version = parse_version(directory.name)
        if options.version not in (None, version):
            raise InvalidInput(
                f"{path} is one version, and not version {options.version}",
                hint=f"remove --version, or give the directory of all versions: {shlex.quote(str(directory.parent))}",
            )
    else:
        versions = list_versions(directory)
        matching = [found for found in versions if options.version in (None, found.version)]
        if not matching:
            require_versions(directory, command=command)
            there = ", ".join(str(found.version) for found in versions)
            raise NotFound(
                f"no version {options.version} of a model in {path} (existing versions: {there})",
                hint=f"choose an existing version, such as {versions[-1].version}",
            )
        name, version, directory = directory.name, matching[-1].version, matching[-1].path
    info = read_saved_model(directory)
    facts = {
        "model": options.model or name,
        "version": version,
        "path": str(info.path),
        "tensorflow_version": info.tensorflow_version,
        "size_bytes": info.size_bytes,
        "op_count": len(info.ops),
        "ops": sorted(info.ops),
        "warmup_requests": count_warmup_requests(directory),
        "fingerprint": read_fingerprint(directory),
    }
    return ModelDescription(facts, with_samples(info.signatures, lambda: directory), directory)
