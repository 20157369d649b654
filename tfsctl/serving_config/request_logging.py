"""Request logging of a model: the `logging_config` of its entry in a ModelServerConfig, and our additions to it.

Only the embedded server logs requests. Format: tensorflow_serving/config/logging_config.proto and
log_collector_config.proto. What those messages have no fields for is a google.protobuf.Struct in `custom_logging_config`,
with the names of the fields of RequestLogging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tfsctl.core import protos
from tfsctl.errors import InvalidInput

_TYPES = ("", "tfrecord")
_STANDARD = ("filename_prefix", "sampling_rate")
_LISTS = ("drop", "hash")


@dataclass(frozen=True, slots=True)
class RequestLogging:
    """How the requests of one model are logged.

    - `filename_prefix`: an absolute path; the names of the files begin with it
    - `sampling_rate`: the share of the requests that is logged, 0 to 1
    - `answers`: log the responses as well
    - `index`: write an index: one JSON line per request
    - `drop`, `hash`: inputs (or features of tf.Examples) to remove, or to replace by a keyed hash
    - `max_file_bytes`: the size at which the next file is begun
    - `max_total_bytes`: the size at which logging ends; 0: no limit

    The field names are a file format: records of servers have them.
    """

    filename_prefix: str
    sampling_rate: float
    answers: bool = True
    index: bool = False
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    max_file_bytes: int = 1 << 28
    max_total_bytes: int = 0


def logging_from_document(document: Mapping[str, Any] | None) -> RequestLogging | None:
    """The value that `dataclasses.asdict` converted to `document`."""
    if document is None:
        return None
    return RequestLogging(**{**document, **{name: tuple(document[name]) for name in _LISTS}})


def logging_from_proto(entry: protos.ModelConfig) -> RequestLogging | None:
    """The request logging of a ModelConfig message, None without a `logging_config`. Raises InvalidInput."""
    if not entry.HasField("logging_config"):
        return None
    config = entry.logging_config
    collector, about = config.log_collector_config, f"The logging_config of model {entry.name}"
    if collector.type not in _TYPES:
        raise InvalidInput(f"{about} has log_collector_config.type {collector.type!r}; only 'tfrecord' is supported")
    if not Path(collector.filename_prefix).is_absolute():
        raise InvalidInput(
            f"{about} needs an absolute path as log_collector_config.filename_prefix; got {collector.filename_prefix!r}"
        )
    rate = config.sampling_config.sampling_rate
    if not 0 <= rate <= 1:
        raise InvalidInput(f"{about} has sampling_rate {rate:g}; it goes from 0 to 1")
    return RequestLogging(collector.filename_prefix, rate, **_additions(entry, about))


def _additions(entry: protos.ModelConfig, about: str) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.struct_pb2 import Struct

    config = entry.logging_config
    if not config.HasField("custom_logging_config"):
        return {}
    struct = Struct()
    if not config.custom_logging_config.Unpack(struct):
        raise InvalidInput(f"{about} has a custom_logging_config that is not a google.protobuf.Struct")
    found: dict[str, Any] = {}
    defaults = {field.name: field.default for field in fields(RequestLogging) if field.name not in _STANDARD}
    for name, value in MessageToDict(struct).items():
        kind = type(defaults.get(name))
        is_list = name in _LISTS and isinstance(value, list) and all(isinstance(one, str) for one in value)
        is_size = kind is int and isinstance(value, float) and value >= 0 and value.is_integer()
        if not (is_list or is_size or (kind is bool and isinstance(value, bool))):
            raise InvalidInput(f"{about} has {name}: {value!r} in its custom_logging_config, which is not supported")
        found[name] = tuple(value) if is_list else int(value) if is_size else value
    return found


def set_logging(entry: protos.ModelConfig, logging: RequestLogging | None) -> None:
    """Give an entry of a ModelServerConfig this request logging, replacing its previous one."""
    from google.protobuf.struct_pb2 import Struct

    entry.ClearField("logging_config")
    if logging is None:
        return
    config = entry.logging_config
    config.sampling_config.sampling_rate = logging.sampling_rate
    config.log_collector_config.type = "tfrecord"
    config.log_collector_config.filename_prefix = logging.filename_prefix
    changed: dict[str, Any] = {}
    for field in fields(RequestLogging):
        value = getattr(logging, field.name)
        if field.name not in _STANDARD and value != field.default:
            changed[field.name] = list(value) if field.name in _LISTS else value
    if changed:
        struct = Struct()
        struct.update(changed)
        config.custom_logging_config.Pack(struct)
