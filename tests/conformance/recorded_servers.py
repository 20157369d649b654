"""The servers the cases were recorded from: their flags and configuration files, to start one of ours like them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from locations import RECORDED
from model_servers import Served, running_flags
from recorded_cases import MODELS

FLAGS = {
    "A": (
        "--model_config_file={CONF}/models.config",
        "--monitoring_config_file={CONF}/monitoring.config",
        "--allow_version_labels_for_unavailable_models=true",
    ),
    "B": (
        "--model_config_file={CONF}/models2.config",
        "--enable_batching",
        "--batching_parameters_file={CONF}/batching.config",
    ),
    "Bpad": (
        "--model_config_file={CONF}/models2.config",
        "--enable_batching",
        "--batching_parameters_file={CONF}/batching_pad.config",
    ),
    "C": (
        "--model_config_file={CONF}/models2.config",
        "--enable_signature_method_name_check",
        "--rest_api_enable_cors_support",
        "--rest_api_timeout_in_ms=100",
        "--enable_grpc_healthcheck_service",
    ),
    "D": ("--model_config_file={CONF}/models2.config", "--enable_serialization_as_tensor_content"),
    "R": (
        "--model_config_file={CONF}/models.config",
        "--max_num_load_retries=0",
        "--allow_version_labels_for_unavailable_models=true",
    ),
}


def write_configuration(folder: Path) -> None:
    """Write the recorded configuration files into `folder`, with the folder of the models in place of `{MODELS}`."""
    for source in RECORDED.glob("*.config"):
        text = source.read_text(encoding="utf-8")
        (folder / source.name).write_text(text.replace("{MODELS}", str(MODELS)), encoding="utf-8")


@contextmanager
def running_like(name: str, workspace: Path) -> Iterator[Served]:
    """Run our server as the recorded server of that name was run, while the block lasts."""
    write_configuration(workspace)
    with running_flags([flag.replace("{CONF}", str(workspace)) for flag in FLAGS[name]], workspace) as server:
        yield server
