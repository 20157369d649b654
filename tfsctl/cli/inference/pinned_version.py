"""Ask the version that told its signature, whatever is loaded meanwhile; if it is gone by then, the one that came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tfsctl.cli.options.target import Target
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import ModelMetadata, ModelRef
from tfsctl.errors import NotFound

T = TypeVar("T")


def ask_pinned(client: ServingClient, target: Target, ask: Callable[[ModelMetadata, ModelRef], T]) -> T:
    """What `ask` returns for the model's metadata and the very version it is of.

    A version that was not asked for by number may be unloaded between the two requests: then the metadata are asked for
    again, and the model as it was named, once. A request that is only shown names the model as it was named, too: it is
    for use at other times. Raises what the client and `ask` do.
    """
    model = target.model
    served = client.metadata(model)
    if target.connection.capture_requests:
        return ask(served, model)
    exact = model if served.version is None else replace(model, version=served.version, label=None)
    try:
        return ask(served, exact)
    except NotFound:
        if exact == model:
            raise
        newer = client.metadata(model)
        if newer.version == served.version:
            raise
        return ask(newer, model)
