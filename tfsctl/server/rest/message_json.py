"""Writes the JSON bodies of status and metadata answers: protobuf messages, as the real server prints them.

They are indented by one space, have all fields, and int64 values as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfsctl.core import protos
from tfsctl.core.types import VersionStatus
from tfsctl.server.lifecycle.status_message import fill_status

if TYPE_CHECKING:
    from google.protobuf.message import Message


def status(statuses: Sequence[VersionStatus]) -> bytes:
    """The body of a GetModelStatus answer."""
    response = protos.GetModelStatusResponse()
    fill_status(response, statuses)
    return f"{_json(response)}\n".encode()


def metadata(name: str, version: int, definitions: Mapping[str, protos.SignatureDef]) -> bytes:
    """The body of a GetModelMetadata answer."""
    spec = protos.ModelSpec(name=name)
    spec.version.value = version
    signatures = protos.SignatureDefMap()
    for key, definition in definitions.items():
        signatures.signature_def[key].CopyFrom(definition)
    return f'{{\n"model_spec":{_json(spec)}\n,\n"metadata": {{"signature_def": {_json(signatures)}\n}}\n}}\n'.encode()


def _json(message: Message) -> str:
    from google.protobuf import json_format

    text: str = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
    )
    return text
