"""`tfsctl metadata`: what a running model, or one on disk, says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tfsctl.cli import _options
from tfsctl.cli._connection import asks_a_server
from tfsctl.cli._target import Asked
from tfsctl.core.types import ModelMetadata, Signature
from tfsctl.errors import InvalidInput, NotFound


@asks_a_server
def metadata(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH", help="A model's directory, or one version's; without it a running model is asked."
        ),
    ] = None,
    *,
    asked: Asked,
    signature: _options.Signature = None,
    as_json: _options.Json = False,
) -> None:
    """Show a model's signatures: inputs and outputs with dtypes and shapes.

    Of the running model, over REST or gRPC; or, with PATH, of the model in a directory, with its TensorFlow version,
    size and operations as well. TensorFlow is not loaded for either.

    \b
    Examples:
      tfsctl metadata
      tfsctl metadata --model amazon_review --grpc --json
      tfsctl metadata ./amazon_review
    """
    from tfsctl.cli import _output, _signatures
    from tfsctl.core.inputs import choose_signature

    if path is None:
        facts, signatures = _of_server(asked)
    else:
        facts, signatures = _of_directory(path, asked)
    if signature is not None:
        only = choose_signature(ModelMetadata(facts["model"], facts["version"], signatures), signature)
        signatures = {only.name: only}
    if as_json:
        _output.answer_json(facts | {"signatures": _signatures.document(signatures)})
        return
    for name, value in facts.items():
        _output.answer(f"{name.replace('_', ' ')}: {value}")
    _output.answer_table(_signatures.COLUMNS, _signatures.rows(signatures.values()))


def _of_server(asked: Asked) -> tuple[dict[str, Any], Mapping[str, Signature]]:
    from tfsctl.cli._target import find_target
    from tfsctl.engines import registry

    target = find_target(asked, registry.running())
    with target.connect() as client:
        served = client.metadata(target.model)
    facts = {"model": served.name, "version": served.version, "address": client.address, "transport": client.transport}
    return facts, served.signatures


def _of_directory(path: Path, asked: Asked) -> tuple[dict[str, Any], Mapping[str, Signature]]:
    """A version directory, a model's base directory (its latest version, or the one asked for), or any SavedModel."""
    from tfsctl.core.model_dir import is_version_dir, list_versions, parse_version
    from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model

    if asked.label is not None:
        raise InvalidInput("labels are given by a server; a directory has none", hint="use --version N")
    directory = path.resolve()
    if (directory / SAVED_MODEL_FILE).is_file():
        name = directory.parent.name if is_version_dir(directory) else directory.name
        version = parse_version(directory.name)
    else:
        versions = list_versions(directory)
        fitting = [found for found in versions if asked.version in (None, found.version)]
        if not fitting:
            there = ", ".join(str(found.version) for found in versions) or "none"
            wanted = "version" if asked.version is None else f"version {asked.version}"
            raise NotFound(
                f"no {wanted} of a model in {path} (versions there: {there})", hint="tfsctl export SOURCE writes one"
            )
        name, version, directory = directory.name, fitting[-1].version, fitting[-1].path
    info = read_saved_model(directory)
    facts = {
        "model": asked.model or name,
        "version": version,
        "path": str(info.path),
        "tensorflow_version": info.tensorflow_version,
        "size_bytes": info.size_bytes,
        "op_count": len(info.ops),
    }
    return facts, info.signatures
