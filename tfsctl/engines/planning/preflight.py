"""What is checked before anything starts: the model's directory, its name, the ports; one clear error a fault."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tfsctl.core.model_dir import VersionDir, is_version_dir, list_versions
from tfsctl.core.saved_model import SAVED_MODEL_FILE, SavedModelInfo, read_saved_model
from tfsctl.engines.planning import ports
from tfsctl.engines.registry.records import RunningServer
from tfsctl.errors import EngineError, InvalidInput, NotFound
from tfsctl.serving_config.serving_config import ModelConfig, VersionPolicy

# What is safe unquoted in a URL, a container's name, the image's entrypoint and a file name alike.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Found:
    """A model on disk that can be served: how to say so to a server, and what is there for it.

    `folders` are the versions that will be served now, highest first; `version` and `saved_model` are the highest's.
    `pinned` is whether PATH was one version, which is then the only one served.
    """

    model: ModelConfig
    version: int
    saved_model: SavedModelInfo
    folders: tuple[Path, ...]
    pinned: bool = False

    @property
    def versions(self) -> tuple[int, ...] | None:
        """The versions a server has to have to be ready; None where any will do, since a newer one may come."""
        policy = self.model.policy
        return policy.specific or (tuple(int(folder.name) for folder in self.folders) if policy.all_versions else None)


def find_model(path: Path, *, name: str | None = None) -> Found:
    """The model at `path`: a base directory, or one version directory, whose parent is then served, pinned to it.

    `name` is the directory's unless given. Raises NotFound, InvalidInput or ModelUnreadable.
    """
    path = Path(os.path.abspath(path))
    if path.is_file():
        fix = f"serve {_quoted(path.parent)}" if path.name == SAVED_MODEL_FILE else f"export {_quoted(path)}"
        raise InvalidInput(f"{path} is a file; what is served is the directory of an export", hint=f"tfsctl {fix}")
    pinned = is_version_dir(path)
    if pinned:
        served = VersionDir(int(path.resolve().name), path.resolve())
        base, policy = served.path.parent, VersionPolicy(specific=(served.version,))
    else:
        _highest(path)
        base, policy = path, VersionPolicy()
    return replace(find_configured(ModelConfig(checked_name(base, name), str(base), policy)), pinned=pinned)


def find_configured(model: ModelConfig) -> Found:
    """A model as it is configured. Raises NotFound for versions that are not there, InvalidInput, ModelUnreadable."""
    base = Path(model.base_path)
    _highest(base)
    on_disk = {found.version: found.path for found in list_versions(base)}
    missing = [version for version in model.policy.specific or () if version not in on_disk]
    if missing:
        there = ", ".join(map(str, on_disk))
        raise NotFound(f"{model.name} has no version {missing[0]}: {base} holds {there}")
    aspired = model.policy.aspired(list(on_disk))
    for label, version in model.labels.items():
        if version not in aspired:
            served = ", ".join(map(str, aspired))
            raise InvalidInput(
                f"the label {label} of {model.name} is for version {version}, which would not be served "
                f"(served: {served})",
                hint=f"versions={','.join(map(str, sorted({version, *aspired})))} serves it as well",
            )
    for version in aspired[1:]:
        if not (on_disk[version] / SAVED_MODEL_FILE).is_file():
            raise NotFound(f"no {SAVED_MODEL_FILE} in {on_disk[version]}")
    newest = aspired[0]
    info = read_saved_model(on_disk[newest])
    return Found(model, newest, info, tuple(on_disk[version] for version in aspired))


def _highest(base: Path) -> VersionDir:
    versions = list_versions(base)
    if versions:
        return versions[-1]
    if (base / SAVED_MODEL_FILE).is_file():
        raise InvalidInput(
            f"{base} holds a SavedModel itself, and {base.name!r} is no version number",
            hint=f"tfsctl export {_quoted(base)} makes a version of it that can be served",
        )
    below = next((child for child in sorted(base.iterdir()) if child.is_dir() and list_versions(child)), None)
    export = f"tfsctl export SOURCE --to {_quoted(base.parent)} --name {_quoted(base.name)}"
    hint = f"tfsctl serve {_quoted(below)}" if below else export
    raise NotFound(f"no version of a model in {base}: it has no directory with a number for a name", hint=hint)


def _quoted(path: Path | str) -> str:
    """A path in a command line to paste."""
    return shlex.quote(str(path))


def checked_name(base: Path, name: str | None) -> str:
    """The name a model at `base` is served by: `name`, else the directory's. Raises InvalidInput for one that is none."""
    wanted = base.name if name is None else name
    if _NAME.fullmatch(wanted):
        return wanted
    fitting = re.sub(r"[^A-Za-z0-9_.-]+", "_", wanted).strip("_.-") or "model"
    raise InvalidInput(
        f"a model cannot be named {wanted!r}: letters, digits, `_`, `.` and `-` make a name", hint=f"--name {fitting}"
    )


def check_free(name: str, host: str, wanted: Iterable[int], running: Iterable[RunningServer]) -> None:
    """Refuse a server name or a port that is in use. Raises EngineError, which says by whom if it is one of ours."""
    running = list(running)
    for server in running:
        if server.name == name:
            raise EngineError(
                f"a server named {name} runs already, at {server.url} ({server.engine})",
                hint=f"tfsctl stop {name}, or --name ANOTHER_NAME",
            )
    asked = [port for port in wanted if port]
    if len(set(asked)) < len(asked):
        raise InvalidInput(f"REST and gRPC cannot share port {asked[0]}", hint="--grpc-port 0 takes a free one")
    for port in asked:
        if not ports.is_taken(host, port):
            continue
        user = next((s for s in running if port in (s.rest_port, s.grpc_port)), None)
        by = f" by the server {user.name} ({user.engine})" if user else ""
        stop = f"tfsctl stop {user.name}, or " if user else ""
        raise EngineError(
            f"port {port} of {host} is in use{by}", hint=f"{stop}--rest-port 0 --grpc-port 0 take free ones"
        )
