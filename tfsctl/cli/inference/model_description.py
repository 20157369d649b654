"""A model as it describes itself: one that runs, or one in a directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsctl.cli.options.target import Asked, Target
from tfsctl.core.types import Signature
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.engines.registry.records import RunningServer


@dataclass(frozen=True, slots=True)
class Description:
    """Facts by name, as they are printed and as `--json` has them; and the signatures."""

    facts: Mapping[str, Any]
    signatures: Mapping[str, Signature]


def describe(asked: Asked, path: Path | None) -> Description:
    """The model of a directory, or without one the model that runs. Raises as either does."""
    return of_server(asked) if path is None else of_directory(path, asked)


def describe_either(asked: Asked, text: str, base: Path | None) -> Description:
    """The model that one word names: a directory, a version (of `base`, else of the server), or NAME[@VERSION]."""
    from tfsctl.cli.options.target import named

    if base is not None:
        if not text.isdecimal():
            raise InvalidInput(f"{text} is no version of {base}", hint="name versions by number, or leave out PATH")
        return of_directory(base, replace(asked, version=int(text)))
    if Path(text).exists():
        return of_directory(Path(text), asked)
    if "/" in text:
        raise NotFound(f"no such directory: {text}")
    return of_server(replace(asked, version=int(text)) if text.isdecimal() else named(asked, text))


def of_server(asked: Asked) -> Description:
    """The model that the options name. Raises as `find_target` and the client do."""
    from tfsctl.cli.options.target import find_target
    from tfsctl.engines.registry import records

    running = records.running()
    target = find_target(asked, running)
    with target.connect() as client:
        served = client.metadata(target.model)
    facts = {
        "model": served.name,
        "version": served.version,
        "address": client.address,
        "transport": client.transport,
        "labels": _labels(target, running),
    }
    return Description(facts, served.signatures)


def _labels(target: Target, running: list[RunningServer]) -> Mapping[str, int] | None:
    """The labels of a model whose server tfsctl started; None where nobody knows: TensorFlow Serving does not tell."""
    from tfsctl.engines.planning.launch_spec import Launch
    from tfsctl.engines.registry import records

    ports = (target.host, target.rest_port, target.grpc_port)
    server = next((one for one in running if (one.host, one.rest_port, one.grpc_port) == ports), None)
    document = None if server is None else records.launch_of(server)
    if document is None:
        return None
    models = Launch.from_document(document).config.models
    return next((dict(model.labels) for model in models if model.name == target.model.name), None)


def of_directory(path: Path, asked: Asked) -> Description:
    """A version directory, a model's base directory (its latest version, or the one asked for), or any SavedModel.

    Raises NotFound and ModelUnreadable for what is none.
    """
    from tfsctl.core.model_dir import is_version_dir, list_versions, parse_version
    from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
    from tfsctl.core.version_files import count_warmup_requests, read_singleprint

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
        "ops": sorted(info.ops),
        "warmup_requests": count_warmup_requests(directory),
        "fingerprint": read_singleprint(directory),
    }
    return Description(facts, info.signatures)
