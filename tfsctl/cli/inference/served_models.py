"""The models that tfsctl started a server with: their directories, and the labels of their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfsctl.engines.server_record import ServerRecord
    from tfsctl.serving_config.model_config import ModelConfig


def models_of(server: ServerRecord) -> Sequence[ModelConfig]:
    """The models of a running server; none if its record, written by another version of tfsctl, cannot be read."""
    from tfsctl.engines.launch_spec import LaunchSpec
    from tfsctl.engines.registry import records

    document = records.launch_document(server)
    try:
        return () if document is None else LaunchSpec.from_document(document).config.models
    except (KeyError, TypeError, ValueError):
        return ()
