"""The models to serve: a value, its text proto for --model_config_file, and the same from a parsed message.

Format: tensorflow_serving/config/model_server_config.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tfsctl.core import protos
from tfsctl.errors import InvalidInput
from tfsctl.serving_config.request_logging import (
    RequestLogging,
    logging_from_document,
    logging_from_proto,
    set_logging,
)

PLATFORM = "tensorflow"
_TYPE_UNSPECIFIED, _TYPE_TENSORFLOW = 0, 1  # ModelType of model_server_config.proto


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions on disk are served: the `specific` ones if given, all if `all_versions`, otherwise the `latest` n."""

    latest: int = 1
    all_versions: bool = False
    specific: tuple[int, ...] | None = None

    def aspired(self, on_disk: Sequence[int]) -> list[int]:
        """The versions to serve out of those on disk, highest first. The same choice as TensorFlow Serving makes."""
        highest_first = sorted(set(on_disk), reverse=True)
        if self.specific is not None:
            return [v for v in highest_first if v in self.specific]
        return highest_first if self.all_versions else highest_first[: self.latest]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve. `base_path` is the directory of the version directories; `labels` maps labels to versions.

    `logging` is how its requests are logged, None if they are not.

    The field names are a file format: `ServingConfig.from_document` reads them from the records of servers.
    """

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    logging: RequestLogging | None = None


def model_from_document(document: Mapping[str, Any]) -> ModelConfig:
    """The model that `dataclasses.asdict` converted to `document`."""
    policy = document["policy"]
    specific = None if policy["specific"] is None else tuple(policy["specific"])
    logging = logging_from_document(document.get("logging"))
    return ModelConfig(**{**document, "policy": VersionPolicy(**{**policy, "specific": specific}), "logging": logging})


def model_config_text(models: Sequence[ModelConfig]) -> str:
    """The models as a text proto for --model_config_file."""
    from google.protobuf import text_format

    text: str = text_format.MessageToString(model_config_proto(models))
    return text


def model_config_proto(models: Sequence[ModelConfig]) -> protos.ModelServerConfig:
    """The models as a ModelServerConfig message."""
    message = protos.ModelServerConfig()
    for model in models:
        entry = message.model_config_list.config.add(
            name=model.name, base_path=model.base_path, model_platform=PLATFORM
        )
        set_versions(entry, model)
        set_logging(entry, model.logging)
    return message


def set_versions(entry: protos.ModelConfig, model: ModelConfig) -> None:
    """Give an entry of a ModelServerConfig the version policy and the labels of `model`, replacing its previous ones."""
    entry.ClearField("model_version_policy")
    entry.ClearField("version_labels")
    policy = model.policy
    if policy.specific is not None:
        entry.model_version_policy.specific.SetInParent()
        entry.model_version_policy.specific.versions.extend(policy.specific)
    elif policy.all_versions:
        entry.model_version_policy.all.SetInParent()
    elif policy.latest != 1:
        entry.model_version_policy.latest.num_versions = policy.latest
    entry.version_labels.update(model.labels)


def models_from_proto(
    message: protos.ModelServerConfig,
    *,
    platforms: Mapping[str, str] = MappingProxyType({}),
) -> tuple[ModelConfig, ...]:
    """The models of a ModelServerConfig message. Checks TensorFlow Serving's rules and uses its error messages.

    `platforms` maps the models that are served now to their platforms, which may not change. Raises InvalidInput for a
    name that is listed twice, a path that is not absolute, a platform other than TensorFlow, or an invalid `logging_config`.
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
    return tuple(
        ModelConfig(e.name, e.base_path, _policy(e), dict(e.version_labels), logging_from_proto(e)) for e in entries
    )


def _platform(entry: protos.ModelConfig) -> str:
    """The platform of a ModelConfig message. It may be in the deprecated field `model_type`."""
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
    """Raise InvalidInput, with TensorFlow Serving's message, for a base path that is not absolute."""
    if not Path(base_path).is_absolute() and "://" not in base_path:
        raise InvalidInput(f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}")


def _policy(entry: protos.ModelConfig) -> VersionPolicy:
    choice = entry.model_version_policy.WhichOneof("policy_choice")
    if choice == "specific":
        return VersionPolicy(specific=tuple(entry.model_version_policy.specific.versions))
    if choice == "all":
        return VersionPolicy(all_versions=True)
    return VersionPolicy(latest=entry.model_version_policy.latest.num_versions or 1)
