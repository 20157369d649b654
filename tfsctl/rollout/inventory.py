"""The versions of a model on disk with their states on servers, and the models below a directory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from tfsctl.core import model_dir
from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.core.version_files.blessings import Blessing, read_blessings
from tfsctl.core.version_files.fingerprint import read_fingerprint
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import fleet
from tfsctl.engines.registry.served_versions import models_in
from tfsctl.engines.registry.tracked_server import RUNNING, TrackedServer
from tfsctl.errors import EngineError, InvalidInput, ModelUnreadable, NotFound, TfsctlError
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.text_protos import METRICS_PATH

STATUS_TIMEOUT_S = 2.0
_MAX_DEPTH = 6  # folders below the one that is searched
_REQUEST_COUNT = re.compile(
    r'^:tensorflow:serving:request_count\{model_name="(?P<model>(?:[^"\\]|\\.)*)",\s*status="(?P<status>\w+)"\} (?P<count>\d+)',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class ServedBy:
    """The state of a version on one server, and its labels there."""

    server: str
    model: str
    state: str
    labels: tuple[str, ...] = ()
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version, on disk, on servers, or both.

    - `path`: None if it is not on disk; then the facts from the disk are unset
    - `created`: ISO 8601, from the manifest, or the time when the directory was changed; `age_s`: in seconds
    - `fingerprint`: TensorFlow's hashes of the model; None without `fingerprint.pb`
    - `problem`: why it cannot be read, otherwise empty
    """

    version: int
    path: Path | None = None
    created: str | None = None
    age_s: float | None = None
    size_bytes: int | None = None
    signatures: tuple[str, ...] = ()
    fingerprint: str | None = None
    has_manifest: bool = False
    blessing: Blessing | None = None
    problem: str = ""
    served_by: tuple[ServedBy, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerOfModel:
    """A server that serves a model.

    - `requests`: by status, how many requests it has answered; None if it has no metrics (`serve --metrics`)
    - `error`: why it did not report the states, otherwise empty
    """

    server: str
    model: str
    address: str
    labels: Mapping[str, int]
    requests: Mapping[str, int] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ModelInventory:
    """A model: its directory (None if it is elsewhere), its versions, lowest first, and its servers."""

    name: str
    base: Path | None
    versions: tuple[ModelVersion, ...]
    servers: tuple[ServerOfModel, ...] = field(default=())


def inventory_of(target: str | None) -> list[ModelInventory]:
    """The model of a directory, or of a name; if `target` is None, every model that a server of tfsctl serves.

    Raises NotFound if there is none, InvalidInput for the directory of one version.
    """
    servers = fleet.servers()
    if target is not None and (os.sep in target or os.path.isdir(target)):
        base = model_dir.without_scheme(target)
        found = model_dir.list_versions(base)
        if not found and (base / SAVED_MODEL_FILE).is_file():
            raise InvalidInput(f"{base} is one version", hint=f"tfsctl versions {base.resolve().parent}")
        if not found:
            raise NotFound(f"{base} has no versions of a model", hint=f"tfsctl models {base} lists those below")
        return [_inventory(base, servers)]
    places: dict[Path | str, None] = {}  # an ordered set: the directory of a model, or its name if that is unknown
    for server in servers:
        for model in _models(server):
            if server.state == RUNNING and target in (None, model.name):
                places[Path(model.base_path).resolve() if model.base_path else model.name] = None
    if not places:
        what = "no server runs that tfsctl started" if target is None else f"no running server serves {target!r}"
        raise NotFound(
            what + ("" if target is None else ", and there is no such directory"),
            hint="tfsctl versions PATH lists those of a directory; tfsctl models finds directories",
        )
    return [
        _inventory(place, servers) if isinstance(place, Path) else _remote_inventory(place, servers) for place in places
    ]


def versions_at(address: str, name: str, statuses: Sequence[VersionStatus]) -> tuple[ModelVersion, ...]:
    """The versions of a model of the server at `address`, which reports `statuses`, lowest first.

    Versions on disk and labels are known if tfsctl started the server.
    """
    host, _, port = address.rpartition(":")
    for server in fleet.servers():
        record = server.record
        is_there = host in (record.host, "localhost") and port in (str(record.rest_port), str(record.grpc_port))
        model = next((one for one in _models(server) if one.name == name), None)
        if is_there and model is not None and server.state == RUNNING:
            about = ServerOfModel(record.name, name, address, model.labels)
            base = Path(model.base_path) if model.base_path else None
            return _combined(name, base, _all_on_disk(base), [(about, _states(about, statuses))]).versions
    return _combined(
        name, None, {}, [((about := ServerOfModel(address, name, address, {})), _states(about, statuses))]
    ).versions


def directory_of(target: str) -> Path:
    """The directory of a model that is given by its path, or by the name of a model that a server serves.

    Raises NotFound.
    """
    if os.sep in target or os.path.isdir(target):
        base = model_dir.without_scheme(target)
        if not base.is_dir():
            raise NotFound(f"there is no directory {target}", hint=similar_path_hint(base, only_directories=True))
        return base
    known = inventory_of(target)[0].base
    if known is None:
        raise NotFound(
            f"the directory of the versions of {target} is unknown", hint="give the directory instead of the name"
        )
    return known


def find_models(folder: Path) -> Iterator[ModelInventory]:
    """The model directories below a folder, and the folder itself if it is one. Symbolic links are not followed.

    Raises NotFound if there is no such folder.
    """
    folder = model_dir.without_scheme(folder)
    if not folder.is_dir():
        raise NotFound(f"there is no directory {folder}", hint=similar_path_hint(folder, only_directories=True))
    servers = fleet.servers()
    for path, folders, _ in os.walk(folder):
        base = Path(path)
        depth = len(base.relative_to(folder).parts)
        versions = [one for one in folders if model_dir.parse_version(one) is not None]
        if any((base / one / SAVED_MODEL_FILE).is_file() for one in versions):
            yield _inventory(base, servers, with_states=False)
            folders[:] = [one for one in folders if one not in versions]
        skipped = [one for one in folders if one.startswith(".") or (base / one / SAVED_MODEL_FILE).is_file()]
        folders[:] = [] if depth >= _MAX_DEPTH else sorted(set(folders) - set(skipped))


def _inventory(base: Path, servers: Sequence[TrackedServer], *, with_states: bool = True) -> ModelInventory:
    versions = _all_on_disk(base)
    reports = [
        _report(server, model, with_states=with_states)
        for server in servers
        if server.state == RUNNING
        for model in models_in(server, base)
    ]
    return _combined(base.resolve().name, base, versions, reports)


def _remote_inventory(name: str, servers: Sequence[TrackedServer]) -> ModelInventory:
    """A model whose directory is not known, with the servers that serve it."""
    found = [(server, model) for server in servers if server.state == RUNNING for model in _models(server)]
    reports = [_report(server, model) for server, model in found if model.name == name]
    return _combined(name, None, {}, reports)


def _combined(
    name: str,
    base: Path | None,
    versions: Mapping[int, ModelVersion],
    reports: Sequence[tuple[ServerOfModel, Mapping[int, ServedBy]]],
) -> ModelInventory:
    # A version that is neither on disk nor loaded (END) is not listed.
    known = {*versions, *(version for _, states in reports for version, one in states.items() if one.state != "END")}
    combined = []
    for version in sorted(known):
        served = tuple(states[version] for _, states in reports if version in states)
        combined.append(replace(versions.get(version, ModelVersion(version)), served_by=served))
    return ModelInventory(name, base, tuple(combined), tuple(server for server, _ in reports))


def _models(server: TrackedServer) -> list[ModelConfig]:
    try:
        return list(LaunchSpec.of_server(server.record.name, server.launch).config.models)
    except EngineError:
        return [ModelConfig(name, "") for name in server.record.models]


def _all_on_disk(base: Path | None) -> dict[int, ModelVersion]:
    found = [] if base is None or not base.is_dir() else model_dir.list_versions(base)
    return {one.version: _on_disk(one.version, one.path) for one in found}


def _on_disk(version: int, path: Path) -> ModelVersion:
    """The facts of a version directory."""
    manifest: object = None
    with suppress(OSError, RecursionError, ValueError):
        manifest = json.loads((path / MANIFEST_FILE).read_bytes())
    created = manifest.get("created") if isinstance(manifest, dict) else None
    try:
        time = datetime.fromisoformat(str(created).replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        time = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    signatures: tuple[str, ...] = ()
    fingerprint, problem = None, ""
    try:
        signatures, fingerprint = tuple(read_saved_model(path).signatures), read_fingerprint(path)
    except (ModelUnreadable, NotFound) as error:
        problem = error.message
    blessings = read_blessings(path)
    return ModelVersion(
        version,
        path,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        age_s=max(0.0, (datetime.now(timezone.utc) - time).total_seconds()),
        size_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        signatures=signatures,
        fingerprint=fingerprint,
        has_manifest=isinstance(manifest, dict),
        blessing=blessings[-1] if blessings else None,
        problem=problem,
    )


def _report(
    server: TrackedServer, model: ModelConfig, *, with_states: bool = True
) -> tuple[ServerOfModel, dict[int, ServedBy]]:
    """The report of a server on a model and its versions."""
    from tfsctl.clients.rest import RestClient

    record = server.record
    about = ServerOfModel(record.name, model.name, record.url, model.labels)
    if not with_states:
        return about, {}
    requests: dict[str, int] | None = None
    try:
        with RestClient(record.host, record.rest_port, timeout_s=STATUS_TIMEOUT_S) as client:
            statuses = client.status(ModelRef(model.name))
            page = client.metrics_page(METRICS_PATH, about=ModelRef(model.name))
    except TfsctlError as error:
        return replace(about, error=error.message), {}
    if page is not None:
        requests = _request_counts(page, model.name)
    return replace(about, requests=requests), _states(about, statuses)


def _states(server: ServerOfModel, statuses: Sequence[VersionStatus]) -> dict[int, ServedBy]:
    return {
        status.version: ServedBy(
            server.server,
            server.model,
            status.state,
            tuple(label for label, version in server.labels.items() if version == status.version),
            status.error_message,
        )
        for status in statuses
    }


def _request_counts(page: str, model: str) -> dict[str, int]:
    """By status, the requests of a model. TensorFlow Serving does not count them by version."""
    return {found["status"]: int(found["count"]) for found in _REQUEST_COUNT.finditer(page) if found["model"] == model}
