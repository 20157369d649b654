"""The options of `tfsctl serve`, before anything was checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.engines.launch_spec import ContainerOptions, EngineName
from tfsctl.serving_config.serving_config import TlsFiles


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The models to serve and the options of the server, as given by the user. Port 0 means any free port.

    The models are given by

    - `paths`: directories of versions, or of one version
    - `models`: arguments of --model (see `model_arguments`)
    - `config_file`: a model config file of TensorFlow Serving

    `name` is the name of the model if there is only one, and of the server. `batching_parameters` are NAME=VALUE with
    the fields of BatchingParameters. `server_flags` are passed to the server unchanged.
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
    tls: TlsFiles | None = None
    environment: tuple[tuple[str, str | None], ...] = ()
    server_flags: tuple[str, ...] = ()
    front: bool = False
    container: ContainerOptions = field(default_factory=ContainerOptions)
