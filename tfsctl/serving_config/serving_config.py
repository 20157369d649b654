"""The configuration of a model server: models, ports and options, and its conversion to flags and files.

Flags: tensorflow_serving/model_servers/main.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.serving_config import text_protos
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy, model_config_text, model_from_document
from tfsctl.serving_config.model_name import valid_name

MODELS_FILE, BATCHING_FILE, MONITORING_FILE, TLS_FILE = (
    "models.config",
    "batching.config",
    "monitoring.config",
    "ssl.config",
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for gRPC over TLS: the server's certificate and key, and the CA (`ca`) of client certificates.

    Clients need a certificate only if `ca` is given.
    """

    certificate: str
    key: str
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """The complete configuration of a model server.

    - `grpc_port`, `rest_port`: 0 means any free port here, and "off" to TensorFlow Serving
    - `batching`: None (off) or the text of a BatchingParameters message, empty for the server's defaults
    - `metrics`: serve metrics for Prometheus
    - `more_flags`: passed on unchanged

    The field names are a file format: records of servers have them.
    """

    models: tuple[ModelConfig, ...]
    grpc_port: int = DEFAULT_GRPC_PORT
    rest_port: int = DEFAULT_REST_PORT
    file_system_poll_wait_seconds: float | None = None
    batching: str | None = None
    metrics: bool = False
    tls: TlsFiles | None = None
    more_flags: tuple[str, ...] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ServingConfig:
        """Read what `dataclasses.asdict` returned, also after a conversion to JSON and back."""
        models = tuple(model_from_document(model) for model in document["models"])
        tls = document["tls"] and TlsFiles(**document["tls"])
        rest = {"models": models, "tls": tls, "more_flags": tuple(document["more_flags"])}
        return cls(**{**document, **rest})

    @property
    def needs_config_file(self) -> bool:
        """Whether --model_name and --model_base_path cannot express the models."""
        if len(self.models) != 1:
            return True
        (model,) = self.models
        # The entrypoint of TensorFlow Serving's image does not quote MODEL_NAME.
        return (
            model.policy != VersionPolicy()
            or bool(model.labels or model.logging)
            or valid_name(model.name) != model.name
        )

    def files(self) -> dict[str, str]:
        """The text protos that `flags` refer to, by file name. Raises InvalidInput for a TLS file that cannot be read."""
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
        """The flags of `tensorflow_model_server`. `folder` is where `files` were written."""
        flags = [f"--port={self.grpc_port}", f"--rest_api_port={self.rest_port}"]
        if not self.needs_config_file:
            (model,) = self.models
            flags += [f"--model_name={model.name}", f"--model_base_path={model.base_path}"]
        return flags + self.option_flags(folder)

    def option_flags(self, folder: str = "") -> list[str]:
        """The flags except ports, name and base path, which the entrypoint of a container sets."""
        flags = [f"--model_config_file={folder}/{MODELS_FILE}"] if self.needs_config_file else []
        if any(model.labels for model in self.models):
            # Otherwise the server refuses labels at start, when no version is available yet.
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
