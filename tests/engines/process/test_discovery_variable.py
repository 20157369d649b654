"""The environment variable of server processes: servers of an earlier version must still be recognised."""

from __future__ import annotations

import json

from tfsctl.engines import state_dir
from tfsctl.engines.launch_spec import ContainerOptions, LaunchSpec
from tfsctl.engines.process import discovery_variable
from tfsctl.engines.server_record import ServerRecord
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy
from tfsctl.serving_config.serving_config import ServingConfig

RECORD = ServerRecord("m", "embedded", "127.0.0.1", 8501, 8500, ("m",), None, None, 5.0, "/m.log")
# As version 0.1 wrote it.
MODEL = {
    "name": "m",
    "base_path": "/m",
    "labels": {"stable": 3},
    "policy": {"latest": 1, "all_versions": False, "specific": [3]},
}
LAUNCH = {
    "name": "m",
    "config": {
        "models": [MODEL],
        "grpc_port": 8500,
        "rest_port": 8501,
        "file_system_poll_wait_seconds": None,
        "batching": None,
        "metrics": True,
        "tls": None,
        "more_flags": ["--a=b"],
    },
    "host": "127.0.0.1",
    "environment": [["A", None]],
    "container": {
        "image": "i:1",
        "pull": "missing",
        "platform": None,
        "user": None,
        "gpus": "all",
        "memory": None,
        "docker_arguments": ["--cpus=2"],
        "writable_root": False,
        "new_privileges": False,
        "cap_add": [],
        "unlabelled": False,
    },
}
SERVER = {
    "name": "m",
    "engine": "embedded",
    "host": "127.0.0.1",
    "rest_port": 8501,
    "grpc_port": 8500,
    "models": ["m"],
    "pid": None,
    "container": None,
    "started_at": 5.0,
    "log_path": "/m.log",
}


def test_the_variable_of_an_earlier_version_is_read() -> None:
    """Its keys are a format, and so are those of the launch document."""
    value = json.dumps({"state": str(state_dir.base()), "server": SERVER, "launch": LAUNCH})
    parsed = discovery_variable.parse(value, pid=7)

    assert parsed is not None
    record, launch = parsed
    assert (record.name, record.pid, record.models, launch) == ("m", 7, ("m",), LAUNCH)
    config = ServingConfig(
        (ModelConfig("m", "/m", VersionPolicy(specific=(3,)), {"stable": 3}),), metrics=True, more_flags=("--a=b",)
    )
    container = ContainerOptions("i:1", gpus="all", docker_arguments=("--cpus=2",))
    assert LaunchSpec.from_document(LAUNCH) == LaunchSpec("m", config, "127.0.0.1", (("A", None),), container)


def test_the_format_has_not_changed() -> None:
    """An earlier version reads it too, except for options that it does not know."""
    written = json.loads(discovery_variable.build(RECORD, LAUNCH)[discovery_variable.VARIABLE])
    assert written == {"state": str(state_dir.base()), "server": SERVER, "launch": LAUNCH}
    assert json.loads(json.dumps(LaunchSpec.from_document(LAUNCH).to_document())) == LAUNCH


def test_other_servers_are_ignored() -> None:
    """Those of another state directory, and values that another version wrote."""
    assert discovery_variable.parse(json.dumps({"state": "/other", "server": SERVER, "launch": LAUNCH}), pid=7) is None
    assert discovery_variable.parse('{"state": 1}', pid=7) is None
    assert discovery_variable.parse("[]", pid=7) is None
