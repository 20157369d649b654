"""Send a request to the version whose metadata was fetched, even if the server has loaded a newer one since."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tfsctl.cli.inference.served_models import with_samples
from tfsctl.cli.options.target import Target
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import ModelMetadata, ModelRef
from tfsctl.errors import NotFound

T = TypeVar("T")


def fetch_metadata(client: ServingClient, model: ModelRef) -> ModelMetadata:
    """The metadata of a model. Raises what the client raises.

    If there is no such label, but a file of that name, the hint names the option for files of class names.
    """
    try:
        return client.metadata(model)
    except NotFound as error:
        if model.label is not None and os.path.isfile(model.label):
            error.hint = (
                f"--labels {shlex.quote(model.label)} names the classes; --label chooses a version by its label"
            )
        raise


def request_pinned_version(client: ServingClient, target: Target, send: Callable[[ModelMetadata, ModelRef], T]) -> T:
    """Fetch the model's metadata, and return what `send` returns for them and for exactly that version.

    If that version was unloaded between the two requests, and the user did not name it, the metadata are fetched again
    and the request is sent once more, to the model as the user named it. A captured request (--show, --dry-run) names
    the model as the user did, because it is for later use. Raises what the client and `send` raise.
    """
    model = target.model
    served = fetch_metadata(client, model)
    if target.server is not None:  # tfsctl started it, so the directory of the version may be readable
        served = with_samples(target, served)
    if target.connection.capture_requests:
        return send(served, model)
    exact = model if served.version is None else replace(model, version=served.version, label=None)
    try:
        return send(served, exact)
    except NotFound:
        if exact == model:
            raise
        newer = client.metadata(model)
        if newer.version == served.version:
            raise
        return send(newer, model)
