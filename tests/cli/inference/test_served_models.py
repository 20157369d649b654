"""The models of the servers that tfsctl started."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from tfsctl.cli.inference.served_models import models_at, version_directory
from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.cli.options.target import find_target
from tfsctl.core.types import ModelMetadata
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig


def test_models_come_from_the_record_of_the_server(tmp_path: Path) -> None:
    """The record is not used for another server, at the same ports of another host."""
    for version in ("1", "2"):
        (tmp_path / "m" / version).mkdir(parents=True)
        (tmp_path / "m" / version / "saved_model.pb").touch()
    models = (ModelConfig("m", str(tmp_path / "m"), labels={"best": 1}), ModelConfig("other", "/models/other"))
    record = ServerRecord(
        "s", "embedded", "127.0.0.1", 9501, 9500, ("m", "other"), os.getpid(), None, time.time(), None
    )
    launch = LaunchSpec("s", ServingConfig(models), "127.0.0.1").to_document()
    records.register(record, launch=launch)
    here = find_target(ServerOptions("m", "localhost", 9501), records.running())
    assert [(model.name, dict(model.labels)) for model in models_at(here)] == [("m", {"best": 1}), ("other", {})]
    assert version_directory(here, ModelMetadata("m", 1, {})) == tmp_path / "m" / "1"
    assert version_directory(here, ModelMetadata("m", None, {})) == tmp_path / "m" / "2"
    assert version_directory(here, ModelMetadata("other", 1, {})) is None

    elsewhere = find_target(ServerOptions("m", "far", 9501), records.running())
    assert (elsewhere.rest_port, models_at(elsewhere)) == (9501, ())

    records.unregister(record)
    assert models_at(here) == ()
    records.register(replace(record, rest_port=9601), launch=launch)  # it was restarted
    assert [model.name for model in models_at(here)] == ["m", "other"]
    records.unregister(record)
    records.register(record, launch={"of": "another tfsctl"})
    assert models_at(here) == ()
