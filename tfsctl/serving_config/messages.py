"""Messages of TensorFlow Serving's text files that the tensorflow-serving-api package lacks, and a parser for them.

Fields: tensorflow_serving/servables/tensorflow/session_bundle_config.proto, config/monitoring_config.proto and
config/ssl_config.proto. The messages have their own descriptor pool, so that generated modules can be loaded too.

    from tfsctl.serving_config import messages
    message = messages.parse_text(messages.BatchingParameters(), text, source=path)
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message


MessageT = TypeVar("MessageT", bound="Message")
_BYTE_ORDER_MARK = "\ufeff"
_FILE = "tfsctl/config_messages.proto"
_PACKAGE = "tensorflow.serving"
_WRAPPERS = ".google.protobuf."

# Message -> its fields in the order of their numbers: (name, type); [type] is a repeated field.
_MESSAGES = {
    "BatchingParameters": (
        ("max_batch_size", "Int64Value"),
        ("batch_timeout_micros", "Int64Value"),
        ("max_enqueued_batches", "Int64Value"),
        ("num_batch_threads", "Int64Value"),
        ("thread_pool_name", "StringValue"),
        ("allowed_batch_sizes", "[int64]"),
        ("pad_variable_length_inputs", "bool"),
        ("enable_large_batch_splitting", "BoolValue"),
        ("max_execution_batch_size", "Int64Value"),
    ),
    "PrometheusConfig": (("enable", "bool"), ("path", "string")),
    "MonitoringConfig": (("prometheus_config", "PrometheusConfig"),),
    "SSLConfig": (
        ("server_key", "string"),
        ("server_cert", "string"),
        ("custom_ca", "string"),
        ("client_verify", "bool"),
    ),
}


_AS_TEXT_HINT = "write it as a text protobuf: name: value, and name { ... } for a message"
_YAML = re.compile(r"(?:---|[ \t]*#.*|\s)*\w+:[ \t]*(?:#.*)?\n[ \t]*[\w-]")
_HAS_BRACE = re.compile(r"[{}<>]")
# Errors of the parser -> what to change.
_HINTS = (
    (re.compile(r"should not have multiple"), "write it once, with all of its fields between one { and its }"),
    (re.compile(r"Expected string but found: '[\u201c\u201d\u2018\u2019]"), 'write straight quotation marks: "NAME"'),
    (re.compile(r"Expected string but found"), 'write text in quotation marks: "NAME"'),
    (re.compile(r"Couldn't parse integer"), "write the number without quotation marks"),
    (re.compile(r"Expected identifier or number, got /"), "a comment begins with #"),
    (re.compile(r'Expected "}"'), "a { has no }: add it"),
    (re.compile(r"Expected identifier or number, got }"), "a } has no {: remove it"),
)


def parse_text(message: MessageT, text: str, *, source: str) -> MessageT:
    """Parse protobuf text into `message` and return it. Raises InvalidInput with `source`, line and column."""
    from google.protobuf import struct_pb2, text_format  # noqa: F401 - an Any of the text may hold a Struct

    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        what = f"{source} is not a {message.DESCRIPTOR.full_name}"
        if text.startswith(_BYTE_ORDER_MARK):
            raise InvalidInput(
                f"{what}: it begins with a byte order mark (U+FEFF)", hint="save it as UTF-8 without a byte order mark"
            ) from error
        if (as_text := _from_json(message, text)) is not None:
            raise InvalidInput(f"{what}: it is JSON, and must be a text protobuf", hint=as_text) from error
        if _YAML.match(text) and not _HAS_BRACE.search(text):
            raise InvalidInput(f"{what}: it is YAML, and must be a text protobuf", hint=_AS_TEXT_HINT) from error
        hint = next((hint for pattern, hint in _HINTS if pattern.search(str(error))), "")
        raise InvalidInput(f"{what}: {error}", hint=hint) from error
    except RecursionError:  # an Any of the text may hold messages of any depth
        raise InvalidInput(
            f"{source} is not a {message.DESCRIPTOR.full_name}: its messages are nested too deep"
        ) from None


def _from_json(message: Message, text: str) -> str | None:
    """A hint with the text protobuf for the content of a JSON document; None if the text is not JSON."""
    import json

    from google.protobuf import json_format, text_format

    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            return None
        parsed = json_format.ParseDict(document, type(message)())
    except (json_format.ParseError, RecursionError):
        return _AS_TEXT_HINT
    except ValueError:
        return None
    return f"the same as a text protobuf: {text_format.MessageToString(parsed, as_one_line=True)}"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - these messages have no stub
    if name not in _MESSAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from google.protobuf import message_factory

    message = message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    globals()[name] = message
    return message


@cache
def _pool() -> DescriptorPool:
    from google.protobuf import descriptor_pb2, descriptor_pool, wrappers_pb2

    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3", dependency=[wrappers.name])
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(wrappers)
    pool.Add(file)
    return pool


def _add_field(message: DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if kind.startswith("[") else field.LABEL_OPTIONAL
    scalar = {"int64": field.TYPE_INT64, "bool": field.TYPE_BOOL, "string": field.TYPE_STRING}.get(kind.strip("[]"))
    if scalar is not None:
        field.type = scalar
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}" if kind in _MESSAGES else _WRAPPERS + kind
