"""What to serve, said once: models, ports and polling as a value, rendered to TensorFlow Serving's flags and files.

Flags: tensorflow_serving/model_servers/main.cc. File: tensorflow_serving/config/model_server_config.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tfsctl.core import protos
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.errors import InvalidInput
from tfsctl.serving_config import text_protos

PLATFORM = "tensorflow"
MODELS_FILE, BATCHING_FILE, MONITORING_FILE, TLS_FILE = (
    "models.config",
    "batching.config",
    "monitoring.config",
    "ssl.config",
)
_TYPE_UNSPECIFIED, _TYPE_TENSORFLOW = 0, 1  # ModelType of model_server_config.proto


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions on disk are served: `specific` ones if given, else all if `all_versions`, else the `latest` n."""

    latest: int = 1
    all_versions: bool = False
    specific: tuple[int, ...] | None = None

    def aspired(self, on_disk: Sequence[int]) -> list[int]:
        """The versions to serve out of those on disk (ascending), highest first, as TensorFlow Serving chooses them."""
        highest_first = sorted(set(on_disk), reverse=True)
        if self.specific is not None:
            return [v for v in highest_first if v in self.specific]
        return highest_first if self.all_versions else highest_first[: self.latest]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve. `base_path` excludes the version directory; `labels` maps a label to a version."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files that secure gRPC: the server's certificate and key, and the authority (`ca`) that clients must have."""

    certificate: str
    key: str
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """Everything a model server is told. Port 0 means a free port to tfsctl; TensorFlow Serving reads it as off.

    `batching` is None (off) or the text of a BatchingParameters message, empty for the server's own choice. `metrics`
    is whether Prometheus may scrape it. `more_flags` are passed on as they are.
    """

    models: tuple[ModelConfig, ...]
    grpc_port: int = DEFAULT_GRPC_PORT
    rest_port: int = DEFAULT_REST_PORT
    file_system_poll_wait_seconds: float | None = None
    batching: str | None = None
    metrics: bool = False
    tls: Tls | None = None
    more_flags: tuple[str, ...] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ServingConfig:
        """The config that `dataclasses.asdict` made `document` of, also by way of JSON."""
        models = tuple(_model_from_document(model) for model in document["models"])
        tls = document["tls"] and Tls(**document["tls"])
        rest = {"models": models, "tls": tls, "more_flags": tuple(document["more_flags"])}
        return cls(**{**document, **rest})

    @property
    def needs_config_file(self) -> bool:
        """Whether the models cannot be said with --model_name and --model_base_path alone."""
        return len(self.models) != 1 or self.models[0].policy != VersionPolicy() or bool(self.models[0].labels)

    def files(self) -> dict[str, str]:
        """The text protos its flags refer to, by file name. Raises InvalidInput for a TLS file that cannot be read."""
        texts: dict[str, str] = {}
        if self.needs_config_file:
            texts[MODELS_FILE] = model_config_text(self.models)
        if self.batching:
            texts[BATCHING_FILE] = self.batching
        if self.metrics:
            texts[MONITORING_FILE] = text_protos.monitoring_text()
        if self.tls is not None:
            texts[TLS_FILE] = text_protos.ssl_text(self.tls.certificate, self.tls.key, self.tls.ca)
        return texts

    def flags(self, folder: str = "") -> list[str]:
        """The `tensorflow_model_server` flags; `folder` is where `files` were written, if there are any."""
        flags = [f"--port={self.grpc_port}", f"--rest_api_port={self.rest_port}"]
        if not self.needs_config_file:
            (model,) = self.models
            flags += [f"--model_name={model.name}", f"--model_base_path={model.base_path}"]
        return flags + self.option_flags(folder)

    def option_flags(self, folder: str = "") -> list[str]:
        """The flags besides ports, name and base path: those a container's entrypoint lacks."""
        flags = [f"--model_config_file={folder}/{MODELS_FILE}"] if self.needs_config_file else []
        if any(model.labels for model in self.models):
            # Without it a label is refused at start: no version is available yet.
            flags.append("--allow_version_labels_for_unavailable_models=true")
        if self.file_system_poll_wait_seconds is not None:
            flags.append(f"--file_system_poll_wait_seconds={self.file_system_poll_wait_seconds:g}")
        if self.batching is not None:
            flags.append("--enable_batching=true")
        if self.batching:
            flags.append(f"--batching_parameters_file={folder}/{BATCHING_FILE}")
        if self.metrics:
            flags.append(f"--monitoring_config_file={folder}/{MONITORING_FILE}")
        if self.tls is not None:
            flags.append(f"--ssl_config_file={folder}/{TLS_FILE}")
        return [*flags, *self.more_flags]


def asks_for_request_logging(message: protos.ModelServerConfig) -> bool:
    """Whether a ModelServerConfig has a model's requests logged, which no public build of TensorFlow Serving can do."""
    return any(entry.HasField("logging_config") for entry in message.model_config_list.config)


def _model_from_document(document: Mapping[str, Any]) -> ModelConfig:
    policy = document["policy"]
    specific = None if policy["specific"] is None else tuple(policy["specific"])
    return ModelConfig(**{**document, "policy": VersionPolicy(**{**policy, "specific": specific})})


def model_config_text(models: Sequence[ModelConfig]) -> str:
    """The models as the text proto `--model_config_file` takes."""
    from google.protobuf import text_format

    message = protos.ModelServerConfig()
    for model in models:
        entry = message.model_config_list.config.add(
            name=model.name, base_path=model.base_path, model_platform=PLATFORM
        )
        policy = model.policy
        if policy.specific is not None:
            entry.model_version_policy.specific.SetInParent()
            entry.model_version_policy.specific.versions.extend(policy.specific)
        elif policy.all_versions:
            entry.model_version_policy.all.SetInParent()
        elif policy.latest != 1:
            entry.model_version_policy.latest.num_versions = policy.latest
        entry.version_labels.update(model.labels)
    text: str = text_format.MessageToString(message)
    return text


def models_from_proto(
    message: protos.ModelServerConfig,
    *,
    platforms: Mapping[str, str] = MappingProxyType({}),
) -> tuple[ModelConfig, ...]:
    """The models of a ModelServerConfig message, checked by TensorFlow Serving's rules and in its words.

    `platforms` are those of the models served already: they may not change. Raises InvalidInput for a name listed
    twice, a path that is not absolute, or a platform that is not TensorFlow.
    """
    entries = message.model_config_list.config
    names: set[str] = set()
    for entry in entries:
        if entry.name in names:
            raise InvalidInput(f"Illegal to list model {entry.name} multiple times in config list")
        names.add(entry.name)
    for entry in entries:
        check_base_path(entry.name, entry.base_path)
    for entry in entries:
        platform = _platform(entry)
        if platform != platforms.get(entry.name, platform):
            raise InvalidInput(
                f"Illegal to change a model's platform. For model {entry.name} platform was {platforms[entry.name]} "
                f"and new platform requested is {platform}"
            )
        if platform != PLATFORM:
            raise InvalidInput(f"Model {entry.name} requests unsupported platform {platform}")
    return tuple(ModelConfig(e.name, e.base_path, _policy(e), dict(e.version_labels)) for e in entries)


def _platform(entry: protos.ModelConfig) -> str:
    """The platform of a ModelConfig message, which an older field may give by a number."""
    if entry.model_type and entry.model_platform:
        raise InvalidInput(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
            f"model name is {entry.name}"
        )
    if entry.model_type not in (_TYPE_UNSPECIFIED, _TYPE_TENSORFLOW):
        raise InvalidInput(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
    if not entry.model_platform and not entry.model_type:
        raise InvalidInput(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {entry.name}"
        )
    platform: str = entry.model_platform or PLATFORM
    return platform


def check_base_path(name: str, base_path: str) -> None:
    """Refuse a base path that is not absolute, in TensorFlow Serving's words (InvalidInput)."""
    if not Path(base_path).is_absolute() and "://" not in base_path:
        raise InvalidInput(f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}")


def _policy(entry: protos.ModelConfig) -> VersionPolicy:
    choice = entry.model_version_policy.WhichOneof("policy_choice")
    if choice == "specific":
        return VersionPolicy(specific=tuple(entry.model_version_policy.specific.versions))
    if choice == "all":
        return VersionPolicy(all_versions=True)
    return VersionPolicy(latest=entry.model_version_policy.latest.num_versions or 1)
