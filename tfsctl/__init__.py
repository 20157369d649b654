"""Export, serve and query TensorFlow models from Python.

    with tfsctl.connect() as client:  # the model server that runs on this machine
        client.predict("This movie is great! :D")

Names are imported on first use, so that `import tfsctl` is fast.
"""

TYPE_CHECKING = False  # type checkers assume True; importing `typing` would take longer than the rest of this module

if TYPE_CHECKING:
    from tfsctl.api.async_client import AsyncClient
    from tfsctl.api.client import Client
    from tfsctl.api.commands.comparing import compare
    from tfsctl.api.commands.exporting import export
    from tfsctl.api.commands.labels import label, promote, rollback
    from tfsctl.api.commands.recordings import Recording, record, replay, skew
    from tfsctl.api.commands.rollouts import ABTest, Rollout, ab, canary, find_rollout
    from tfsctl.api.commands.shadows import Shadow, shadow
    from tfsctl.api.connecting import connect, connect_async
    from tfsctl.api.predictions import Predictions
    from tfsctl.api.serving import Serving, front, serve
    from tfsctl.core.inference import ScoredClass
    from tfsctl.core.types import ModelMetadata, Signature, TensorSpec, VersionStatus
    from tfsctl.errors import (
        AnswerTooLarge,
        DockerError,
        EngineError,
        ExportError,
        InvalidInput,
        ModelUnreadable,
        NotBlessed,
        NotFound,
        NotReadyInTime,
        ProgramFailed,
        RequestRejected,
        RolloutError,
        ServerUnreachable,
        TfsctlError,
        VersionTakenError,
    )
    from tfsctl.exporter.exported import ExportedModel
    from tfsctl.exporter.pipeline import export_model
    from tfsctl.exporter.sources.export_options import ExportOptions
    from tfsctl.rollout.comparison.result import Comparison
    from tfsctl.rollout.inventory import ModelVersion
    from tfsctl.rollout.labels.label_changes import LabelChange

    __version__: str

_MODULES = {
    "ABTest": "tfsctl.api.commands.rollouts",
    "AnswerTooLarge": "tfsctl.errors",
    "AsyncClient": "tfsctl.api.async_client",
    "Client": "tfsctl.api.client",
    "Comparison": "tfsctl.rollout.comparison.result",
    "DockerError": "tfsctl.errors",
    "EngineError": "tfsctl.errors",
    "ExportError": "tfsctl.errors",
    "ExportOptions": "tfsctl.exporter.sources.export_options",
    "ExportedModel": "tfsctl.exporter.exported",
    "InvalidInput": "tfsctl.errors",
    "LabelChange": "tfsctl.rollout.labels.label_changes",
    "ModelMetadata": "tfsctl.core.types",
    "ModelUnreadable": "tfsctl.errors",
    "ModelVersion": "tfsctl.rollout.inventory",
    "NotBlessed": "tfsctl.errors",
    "NotFound": "tfsctl.errors",
    "NotReadyInTime": "tfsctl.errors",
    "Predictions": "tfsctl.api.predictions",
    "ProgramFailed": "tfsctl.errors",
    "Recording": "tfsctl.api.commands.recordings",
    "RequestRejected": "tfsctl.errors",
    "Rollout": "tfsctl.api.commands.rollouts",
    "RolloutError": "tfsctl.errors",
    "ScoredClass": "tfsctl.core.inference",
    "ServerUnreachable": "tfsctl.errors",
    "Serving": "tfsctl.api.serving",
    "Shadow": "tfsctl.api.commands.shadows",
    "Signature": "tfsctl.core.types",
    "TensorSpec": "tfsctl.core.types",
    "TfsctlError": "tfsctl.errors",
    "VersionStatus": "tfsctl.core.types",
    "VersionTakenError": "tfsctl.errors",
    "ab": "tfsctl.api.commands.rollouts",
    "canary": "tfsctl.api.commands.rollouts",
    "compare": "tfsctl.api.commands.comparing",
    "connect": "tfsctl.api.connecting",
    "connect_async": "tfsctl.api.connecting",
    "export": "tfsctl.api.commands.exporting",
    "export_model": "tfsctl.exporter.pipeline",
    "find_rollout": "tfsctl.api.commands.rollouts",
    "front": "tfsctl.api.serving",
    "label": "tfsctl.api.commands.labels",
    "promote": "tfsctl.api.commands.labels",
    "record": "tfsctl.api.commands.recordings",
    "replay": "tfsctl.api.commands.recordings",
    "rollback": "tfsctl.api.commands.labels",
    "serve": "tfsctl.api.serving",
    "shadow": "tfsctl.api.commands.shadows",
    "skew": "tfsctl.api.commands.recordings",
}

__all__ = [
    "ABTest",
    "AnswerTooLarge",
    "AsyncClient",
    "Client",
    "Comparison",
    "DockerError",
    "EngineError",
    "ExportError",
    "ExportOptions",
    "ExportedModel",
    "InvalidInput",
    "LabelChange",
    "ModelMetadata",
    "ModelUnreadable",
    "ModelVersion",
    "NotBlessed",
    "NotFound",
    "NotReadyInTime",
    "Predictions",
    "ProgramFailed",
    "Recording",
    "RequestRejected",
    "Rollout",
    "RolloutError",
    "ScoredClass",
    "ServerUnreachable",
    "Serving",
    "Shadow",
    "Signature",
    "TensorSpec",
    "TfsctlError",
    "VersionStatus",
    "VersionTakenError",
    "__version__",
    "ab",
    "canary",
    "compare",
    "connect",
    "connect_async",
    "export",
    "export_model",
    "find_rollout",
    "front",
    "label",
    "promote",
    "record",
    "replay",
    "rollback",
    "serve",
    "shadow",
    "skew",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("tfsctl")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
