"""Checks before a server starts: free name and ports, variables that are set, and signatures that no server can run."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tfsctl.core.graphs.signature_graph import PYTHON_OPS, signature_graph
from tfsctl.core.saved_model import SavedModelInfo, read_meta_graph, read_saved_model
from tfsctl.engines import ports
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import EngineError, InvalidInput


def check_environment(environment: Iterable[tuple[str, str | None]]) -> None:
    """Raise InvalidInput for a variable that is copied from our environment and is not set there."""
    for name, value in environment:
        if value is None and name not in os.environ:
            raise InvalidInput(
                f"--env {name} uses the environment variable {name}, which is not set",
                hint=f"export {name}=VALUE, or --env {name}=VALUE",
            )


def model_notes(model: ModelOnDisk) -> list[str]:
    """Notes about signatures that no model server can answer, in any version that will be served."""
    notes: list[str] = []
    for folder in model.folders:
        info = model.saved_model if folder == model.folders[0] else read_saved_model(folder)
        about = model.name if len(model.folders) == 1 else f"{model.name} version {folder.name}"
        notes += [f"{about}: {why}" for why in _python_notes(info)]
        notes += [f"{about}: signature {name} cannot be queried: {why}" for name, why in _not_dense(info).items()]
    return notes


def unanswerable(info: SavedModelInfo) -> set[str]:
    """The signatures that no model server can answer: they call Python, or have tensors that no request can hold."""
    return _not_dense(info).keys() | _calling_python(info).keys()


def _python_notes(info: SavedModelInfo) -> list[str]:
    python_ops = sorted(info.ops & PYTHON_OPS)
    if not python_ops:
        return []
    calls = _calling_python(info)
    if not calls:
        return [f"the graph has Python code ({', '.join(python_ops)}), which no signature calls"]
    return [
        f"{'the initialization' if name.startswith('__') else f'signature {name}'} calls Python code ({', '.join(ops)}), "
        "and a model server has no Python, so it will fail. Use TensorFlow operations instead, and export again"
        for name, ops in calls.items()
    ]


def _calling_python(info: SavedModelInfo) -> dict[str, list[str]]:
    """The signatures that call Python, with the operations that do."""
    if not info.ops & PYTHON_OPS:
        return {}
    graph = read_meta_graph(info.path)
    found = {name: signature_graph(graph, name).python_ops for name in sorted(graph.signature_def)}
    return {name: ops for name, ops in found.items() if ops}


def _not_dense(info: SavedModelInfo) -> dict[str, str]:
    """The signatures with a sparse or composite tensor, which predict requests and responses cannot hold."""
    return {
        name: f"{kind} {spec.name} is a {spec.encoding} tensor, and requests hold dense tensors only"
        for name, signature in info.signatures.items()
        for kind, specs in (("output", signature.outputs), ("input", signature.inputs))
        for spec in specs
        if spec.encoding != "dense"
    }


def check_free(name: str, host: str, wanted_ports: Iterable[int], running: Iterable[ServerRecord]) -> None:
    """Raise EngineError if the name or a port is in use, naming the server of ours that uses it.

    Port 0 (any free port) is not checked. Raises InvalidInput if one port is wanted twice.
    """
    running = list(running)
    for server in running:
        if server.name == name:
            raise EngineError(
                f"a server named {name} is already running, at {server.url} ({server.engine})",
                hint=f"tfsctl stop {name}, or --name ANOTHER_NAME",
            )
    fixed = [port for port in wanted_ports if port]
    if len(set(fixed)) < len(fixed):
        raise InvalidInput(f"REST and gRPC cannot share port {fixed[0]}", hint="--grpc-port 0 takes a free port")
    for port in fixed:
        if not ports.is_taken(host, port):
            continue
        user = next((s for s in running if port in (s.rest_port, s.grpc_port)), None)
        by = f" by the server {user.name} ({user.engine})" if user else ""
        stop = f"tfsctl stop {user.name}, or " if user else ""
        raise EngineError(
            f"port {port} of {host} is in use{by}", hint=f"{stop}--rest-port 0 --grpc-port 0 take free ports"
        )
