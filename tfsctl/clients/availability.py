"""Find out whether a model is ready: which of its versions is AVAILABLE, and the error if there is none."""

from __future__ import annotations

from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.diagnosis.explanations import explain
from tfsctl.errors import ModelUnreadable, NotReadyInTime


def available_version(client: ServingClient, model: ModelRef) -> tuple[str, int | None]:
    """Return the name of a model, and its highest AVAILABLE version.

    Raises NotReadyInTime if no version is AVAILABLE yet, and ModelUnreadable if all versions have failed to load.
    """
    if model.label is not None:  # a label always belongs to an AVAILABLE version
        served = client.metadata(model)
        return served.name, served.version
    versions = client.status(model)
    for version in versions:
        if version.state == "AVAILABLE":
            return model.name, version.version
    if versions and all(version.state == "END" and version.error_code != "OK" for version in versions):
        raise _not_loaded(model, versions[0])
    states = ", ".join(f"version {version.version} is {version.state}" for version in versions) or "it has no version"
    raise NotReadyInTime(states)


def _not_loaded(model: ModelRef, version: VersionStatus) -> ModelUnreadable:
    error = ModelUnreadable(
        f"{model.name} version {version.version} could not be loaded ({version.error_code}): {version.error_message}",
        hint="check the files with: tfsctl metadata PATH",
    )
    if known := explain(version.error_message):
        error.cause, error.hint = known.cause, known.hint
    return error
