"""A model whose labels can be changed: of a server that tfsctl started, or of any server that reads a config file."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tfsctl.clients.connection import DEFAULT_CONNECTION, Connection
from tfsctl.clients.grpc import GrpcClient
from tfsctl.core import protos
from tfsctl.core.types import DEFAULT_GRPC_PORT, ModelRef, VersionStatus
from tfsctl.engines import state_dir
from tfsctl.engines.docker.container_spec import config_inside
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import records, server_log
from tfsctl.engines.registry.server_choice import grpc_tls
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.errors import InvalidInput, NotFound, RolloutError
from tfsctl.rollout.labels.config_file import write_in_place
from tfsctl.serving_config import messages
from tfsctl.serving_config.model_config import (
    ModelConfig,
    model_config_proto,
    model_config_text,
    models_from_proto,
    set_versions,
)
from tfsctl.serving_config.serving_config import MODELS_FILE, ServingConfig

RPC_TIMEOUT_S = 30.0


class ManagedModel(Protocol):
    """The interface of a server whose labels can be changed.

    `key` identifies the server and the model; `server` is the server's name for messages. `target` is the model on a
    command line, with the options that choose its server.
    """

    key: str
    server: str
    name: str
    target: str

    @property
    def base(self) -> Path | None:
        """The directory of the model on this machine; None if it is elsewhere."""

    def locked(self, on_wait: Callable[[], None]) -> AbstractContextManager[None]:
        """A context manager: no other command changes the labels of this server during the block."""

    def config(self) -> ModelConfig:
        """The configuration that the server got last, and gets again when it restarts."""

    def save(self, config: ModelConfig) -> None:
        """Store the configuration for the next start of the server."""

    def reload(self, config: ModelConfig) -> None:
        """Tell the server to use the configuration."""

    def statuses(self) -> tuple[VersionStatus, ...]:
        """The state of each version."""

    def load_failures(self) -> Mapping[int, str]:
        """By version, the reason in the server's log why it could not be loaded."""

    def restart_note(self) -> str:
        """A note on a restart that would not keep the labels; empty if there is nothing to say."""


class TrackedServerModel:
    """A model of a server that tfsctl started."""

    def __init__(
        self,
        server: TrackedServer,
        name: str,
        connection: Connection = DEFAULT_CONNECTION,
        *,
        is_only_server: bool = True,
    ) -> None:
        """`is_only_server`: no other running server has the model.

        Raises EngineError if the command line of the server is unknown.
        """
        self.is_front = server.is_front
        self._tracked, self._record, self._connection = server, server.record, connection
        self.server, self.name = self._record.name, name
        self.key = f"{self._record.name}/{name}"
        self.target = shlex.quote(name) + ("" if is_only_server else f" --server {shlex.quote(self.server)}")
        self._spec()

    @cached_property
    def _client(self) -> GrpcClient:
        connection = replace(self._connection, tls=grpc_tls(self._record, self._connection.tls))
        return GrpcClient(self._record.host, self._record.grpc_port, timeout_s=RPC_TIMEOUT_S, connection=connection)

    def _spec(self) -> LaunchSpec:
        return LaunchSpec.of_server(self.server, records.launch_document(self._record))

    @property
    def base(self) -> Path | None:
        """The directory of the model."""
        return Path(self.config().base_path)

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of the labels of this server."""
        with state_dir.lock(f"{self.server}.labels", on_wait=on_wait):
            yield

    def config(self) -> ModelConfig:
        """The model in the record of the server."""
        return next(model for model in self._spec().config.models if model.name == self.name)

    def save(self, config: ModelConfig) -> None:
        """Write the config file of the server, and its record."""
        spec = self._changed(config)
        text = model_config_text(self._as_seen_by_server(spec).models)
        state_dir.rewrite_config_files(MODELS_FILE, text, server=self.server)
        records.update_launch(self._record, spec.to_document())

    def reload(self, config: ModelConfig) -> None:
        """Send the configuration of all models of the server."""
        message = model_config_proto(self._as_seen_by_server(self._changed(config)).models)
        self._client.reload_config(message, about=ModelRef(self.name))

    def _changed(self, config: ModelConfig) -> LaunchSpec:
        spec = self._spec()
        models = tuple(config if model.name == self.name else model for model in spec.config.models)
        return replace(spec, config=replace(spec.config, models=models))

    def _as_seen_by_server(self, spec: LaunchSpec) -> ServingConfig:
        """The configuration with the paths that the server sees."""
        return config_inside(spec.config) if self._record.container is not None else spec.config

    def statuses(self) -> tuple[VersionStatus, ...]:
        """The state of each version."""
        return self._client.status(ModelRef(self.name))

    def load_failures(self) -> Mapping[int, str]:
        """The reasons in the log."""
        found = server_log.recent_load_failures(self._tracked)
        return {version: why for (model, version), why in found.items() if model == self.name}

    def restart_note(self) -> str:
        """A container that Docker restarts has the arguments of its first start."""
        if self._record.container is None or state_dir.written_config_files(MODELS_FILE, server=self.server):
            return ""
        if self._spec().container.restart in (None, "no"):
            return ""
        return (
            f"{self.server} was started without labels: if Docker restarts the container, it serves the latest version "
            f"without labels. tfsctl restart {self.server} makes the labels permanent"
        )


class ConfigFileModel:
    """A model of any server, which reads the model config file `file` when it starts."""

    def __init__(self, file: Path, name: str, client: GrpcClient) -> None:
        """Raises NotFound or InvalidInput if the file does not list the model."""
        self._file, self._client = file, client
        self.server, self.name = client.address, name
        self.key = f"{file.resolve()}/{name}"
        place = "" if client.address == f"localhost:{DEFAULT_GRPC_PORT}" else _address_options(client.address)
        self.target = f"{shlex.quote(name)} --config {shlex.quote(str(file))}{place}"
        digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:24]
        self._copy = state_dir.base() / "changes" / f"{digest}.config"  # exists while the file is being written
        self.config()

    @property
    def base(self) -> Path | None:
        """The base path in the file, if it is a directory of this machine."""
        base = Path(self.config().base_path)
        return base if base.is_dir() else None

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Lock the file itself, which works for all users of this machine."""
        descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            state_dir.lock_exclusively(descriptor, on_wait)
            yield
        finally:
            os.close(descriptor)

    def _message(self) -> protos.ModelServerConfig:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise NotFound(f"there is no file {self._file}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot read {self._file}: {error}") from error
        try:
            return messages.parse_text(protos.ModelServerConfig(), text, source=str(self._file))
        except InvalidInput:
            if not self._copy.exists():
                raise
        # A command was killed while it wrote the file.
        text = self._copy.read_text(encoding="utf-8")
        return messages.parse_text(protos.ModelServerConfig(), text, source=str(self._file))

    def _changed(self, config: ModelConfig) -> protos.ModelServerConfig:
        message = self._message()
        for entry in message.model_config_list.config:
            if entry.name == self.name:
                set_versions(entry, config)
        return message

    def config(self) -> ModelConfig:
        """The model in the config file."""
        models = models_from_proto(self._message())
        found = next((model for model in models if model.name == self.name), None)
        if found is None:
            listed = ", ".join(model.name for model in models) or "none"
            raise NotFound(f"{self._file} has no model {self.name} (models: {listed})")
        return found

    def save(self, config: ModelConfig) -> None:
        """Write the file, unless it says so already. Comments in it are lost."""
        from google.protobuf import text_format

        if self.config() == config and not self._copy.exists():
            return
        text = text_format.MessageToString(self._changed(config))
        state_dir.subfolder(self._copy.parent.name)
        state_dir.write_atomically(self._copy, text)
        before = self._file.read_bytes()
        try:
            write_in_place(self._file, text)
        except RolloutError:
            if self._file.read_bytes() == before:
                self._copy.unlink()  # the file is as it was
            raise
        self._copy.unlink()

    def reload(self, config: ModelConfig) -> None:
        """Send the content of the file."""
        self._client.reload_config(self._changed(config), about=ModelRef(self.name))

    def statuses(self) -> tuple[VersionStatus, ...]:
        """The state of each version."""
        return self._client.status(ModelRef(self.name))

    def load_failures(self) -> Mapping[int, str]:
        """Nothing: tfsctl cannot read the log of this server."""
        return {}

    def restart_note(self) -> str:
        """Nothing: the server reads the file again when it starts."""
        return ""


def _address_options(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f" --host {shlex.quote(host.strip('[]'))} --port {port}"
