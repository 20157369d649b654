"""What a server is asked to be, before anything of it was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.engines.planning.launch_spec import ContainerOptions, EngineName
from tfsctl.serving_config.serving_config import Tls


@dataclass(frozen=True, slots=True)
class Request:
    """What a server is asked to be, as it was typed. A port of 0 is a free one.

    The models are those of `paths` (a directory of versions, or one version), of `models` (`NAME=PATH,…`, see
    model_arguments) and of `config_file`, a `--model_config_file` of TensorFlow Serving. `name` is the model's if there
    is one, else the server's. `batching_parameters` are `NAME=VALUE` of BatchingParameters. `server_flags` are passed
    to the server as they are.
    """

    paths: tuple[Path, ...] = ()
    models: tuple[str, ...] = ()
    config_file: Path | None = None
    name: str | None = None
    engine: EngineName | Literal["auto"] = "auto"
    host: str = "127.0.0.1"
    rest_port: int = DEFAULT_REST_PORT
    grpc_port: int = DEFAULT_GRPC_PORT
    batching: bool = False
    batching_file: Path | None = None
    batching_parameters: tuple[str, ...] = ()
    metrics: bool = False
    warmup: bool = True
    tls: Tls | None = None
    environment: tuple[tuple[str, str | None], ...] = ()
    server_flags: tuple[str, ...] = ()
    container: ContainerOptions = field(default_factory=ContainerOptions)
