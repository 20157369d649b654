"""Parses large messages in pieces, so that other Python threads run in between.

A protobuf parser merges what it parses into a message. So a message is parsed as many small ones, each with some of its
fields; a large field is cut, too, if it is a message or packed numbers. The examples of Classify, Regress and
MultiInference are never in one message (see `serialized_input`).
Format: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tfsctl.core import protos
from tfsctl.core.wire_format import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, WireField, encode_varint, fields
from tfsctl.server.grpc import packed_varints
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.process.string_arrays import copy_in_pieces
from tfsctl.server.signatures.serialized_input import SerializedExample, SerializedInput
from tfsctl.server.status import invalid_argument

PIECE_BYTES = 64 * 1024
MAX_NAME_BYTES = 16 * 1024
"""Of the name of a model, a signature, an input or an output in a large request."""
_MAX_FIELDS = 20_000  # of a request: its inputs, its tasks, names of outputs
_MAX_DEPTH = 100  # of messages in messages, as in protobuf's parser
_RUN = 32  # after so many fields with the same number, the next ones are found in one step
_RUN_BYTES = 32 * 1024  # that one step looks at: less than a piece
_MAX_SCALARS = 100_000  # fields of one number each that are found one by one, in 0.1 s; the rest is one piece
_FIXED_BYTES = {FIXED32: 4, FIXED64: 8}
_WIDTHS = {
    **dict.fromkeys((FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32), 4),
    **dict.fromkeys((FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64), 8),
}
"""Bytes of packed numbers. The others are varints."""
_KEY, _VALUE, _MAX_ENTRY_FIELDS = 1, 2, 100  # of an entry of a map
_MessageT = TypeVar("_MessageT", bound=Message)


class ExamplesRequest:
    """A large Classify, Regress or MultiInference request.

    Attributes:
        message: the request without its examples.
        model_spec: that of a Classify or Regress request.
        tasks: those of a MultiInference request.
        input: the examples.
    """

    __slots__ = ("input", "message", "model_spec", "tasks")

    def __init__(self, empty: Message, raw: memoryview) -> None:
        """Parse a serialized request, whose type is that of an empty message. Raises DecodeError."""
        self.message: Any = empty
        self.input = SerializedInput(self._inputs(raw), nbytes=len(raw))
        self.model_spec: Any = getattr(empty, "model_spec", None)
        self.tasks: Any = getattr(empty, "tasks", ())

    def _inputs(self, raw: memoryview) -> Iterator[protos.Input | SerializedExample]:
        for field, data in _parts(raw, self.message.DESCRIPTOR):
            if field is None:
                part = type(self.message).FromString(bytes(data))
                yield part.input
                part.ClearField("input")
                self.message.MergeFrom(part)
                yield_to_loop()
            elif field.name == "input":
                yield from _inputs_of(data)
            else:
                _merge_field(self.message, field, data, depth=1)


def _inputs_of(raw: memoryview) -> Iterator[protos.Input | SerializedExample]:
    """The examples of a large Input message. Large ones are checked, but stay serialized."""
    for kind, listed in _parts(raw, protos.Input.DESCRIPTOR):
        if kind is None:
            yield protos.Input.FromString(bytes(listed))
            continue
        for field, data in _parts(listed, _type_of(kind)):
            if field is None:
                yield protos.Input.FromString(_length_delimited(kind.number, data))
                yield_to_loop()
            else:
                _check(data, _type_of(field), depth=3)
                yield SerializedExample(copy_in_pieces(data), is_context=field.name == "context")


def parse_request(message: Message, raw: bytes | memoryview) -> Message | ExamplesRequest:
    """Parse a serialized request into an empty message of its type.

    Raises DecodeError, and INVALID_ARGUMENT for far too many fields.
    """
    if len(raw) <= PIECE_BYTES:
        return parse_in_pieces(message, raw)
    data = memoryview(raw)
    check_field_count(data)
    field = message.DESCRIPTOR.fields_by_name.get("input")
    request: Any = message
    if (
        field is None
        or field.message_type is not protos.Input.DESCRIPTOR
        or not _has_one_kind_of_list(data, field.number)
    ):
        parse_in_pieces(message, data)
    else:
        request = ExamplesRequest(message, data)
    for part in (message, *getattr(message, "tasks", ())):
        if "model_spec" in part.DESCRIPTOR.fields_by_name:
            shorten_names(part.model_spec)
    return request


def check_field_count(data: memoryview) -> None:
    """Raise INVALID_ARGUMENT if a serialized request has far more fields than any client sends."""
    if any(count == _MAX_FIELDS for count, _ in enumerate(fields(data))):
        raise invalid_argument(f"A request of more than {_MAX_FIELDS} fields")


def shorten_names(spec: protos.ModelSpec) -> None:
    """Cut names that are far too long for a model. Looking them up would hold the event loop.

    Errors have at most the first kilobyte of a name, so they are the same.
    """
    for name in ("name", "signature_name", "version_label"):
        value = getattr(spec, name)
        if len(value) > MAX_NAME_BYTES:
            setattr(spec, name, value[:MAX_NAME_BYTES])


def _has_one_kind_of_list(data: memoryview, input_number: int) -> bool:
    """Whether the examples are all in one kind of list. Otherwise only those of the last kind count."""
    kinds: set[int] = set()
    for number, wire_type, _, start, end in fields(data):
        if number == input_number and wire_type == LENGTH_DELIMITED:
            kinds.update(field.number for field in fields(data, start, end))
    return len(kinds & {*protos.Input.DESCRIPTOR.fields_by_number}) <= 1


def parse_in_pieces(message: _MessageT, raw: bytes | memoryview) -> _MessageT:
    """Parse a serialized message into an empty one of its type. Raises DecodeError."""
    if len(raw) <= PIECE_BYTES:
        message.MergeFromString(bytes(raw))
    else:
        _merge(message, memoryview(raw), depth=0)
    return message


def _merge(message: Message, data: memoryview, depth: int) -> None:
    for field, part in _parts(data, cast("Descriptor", message.DESCRIPTOR), depth):
        if field is None:
            message.MergeFromString(bytes(part))
            yield_to_loop()
        else:
            _merge_field(message, field, part, depth + 1)


def _merge_field(message: Message, field: FieldDescriptor, data: memoryview, depth: int) -> None:
    """Merge a large field, which is a message, into the message that it is a field of."""
    inner: Any = getattr(message, field.name)
    if _type_of(field).GetOptions().map_entry:
        entry = list(islice(fields(data), _MAX_ENTRY_FIELDS + 1))
        if len(entry) > _MAX_ENTRY_FIELDS:
            raise DecodeError("an entry of a map with very many fields")
        if any(number not in (_KEY, _VALUE) or kind != LENGTH_DELIMITED for number, kind, _, _, _ in entry):
            _check(data, _type_of(field), depth)  # protobuf's parser drops entries with unknown fields
            return
        keys = b"".join([data[start:end] for number, _, start, _, end in entry if number == _KEY])
        found: Any = GetMessageClass(_type_of(field)).FromString(keys)
        if found.key in inner:
            del inner[found.key]  # the last entry counts
        inner = inner[found.key]
        values = [data[value:end] for number, _, _, value, end in entry if number == _VALUE]
    else:
        if _is_repeated(field):
            inner = inner.add()
        else:
            inner.SetInParent()
        values = [data]
    for value in values:
        _merge(inner, value, depth)


def _check(data: memoryview, message: Descriptor, depth: int) -> None:
    """Raise DecodeError if data is not a serialized message of this type."""
    for field, part in _parts(data, message, depth):
        if field is None:
            GetMessageClass(message).FromString(bytes(part))
            yield_to_loop()
        else:
            _check(part, _type_of(field), depth + 1)


class _Part(NamedTuple):
    """A part of a message: whole fields of about PIECE_BYTES, or else the content of one large field of a message type."""

    field: FieldDescriptor | None
    data: memoryview


def _parts(data: memoryview, message: Descriptor, depth: int = 0) -> Iterator[_Part]:
    """A serialized message of this type in parts. Large fields that the type does not have are left out."""
    if depth > _MAX_DEPTH:
        raise DecodeError("messages in messages, too deep")
    begun = end = 0
    for number, wire_type, start, value, end in _fields(data):
        if wire_type == LENGTH_DELIMITED and end - value > PIECE_BYTES:
            if start > begun:
                yield _Part(None, data[begun:start])
            begun = end
            field = message.fields_by_number.get(number)
            if field is None:
                continue
            if field.message_type is not None:
                yield _Part(field, data[value:end])
            elif _is_repeated(field) and field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
                yield from _packed_pieces(field, data[value:end])
            else:
                yield _Part(None, data[start:end])
        elif end - begun > PIECE_BYTES:
            yield _Part(None, data[begun:end])
            begun = end
    if end > begun:
        yield _Part(None, data[begun:end])


def _type_of(field: FieldDescriptor) -> Descriptor:
    return cast("Descriptor", field.message_type)  # None for numbers, strings and bytes


def _is_repeated(field: FieldDescriptor) -> bool:
    return field.default_value == []  # older versions of protobuf have no `is_repeated`, newer ones no `label`


def _packed_pieces(field: FieldDescriptor, packed: memoryview) -> Iterator[_Part]:
    """Packed numbers as several packed fields."""
    width = _WIDTHS.get(field.type)
    if width is None:
        pieces = packed_varints.pieces(packed, PIECE_BYTES)
    else:
        pieces = (packed[at : at + PIECE_BYTES] for at in range(0, len(packed), PIECE_BYTES))
    for piece in pieces:
        yield _Part(None, memoryview(_length_delimited(field.number, piece)))


def _length_delimited(number: int, content: memoryview) -> bytes:
    """A serialized field with this content."""
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(content)) + content


def _fields(data: memoryview) -> Iterator[WireField]:
    """The fields of a message. Many small ones with the same number that follow each other may come as one field."""
    at, size, scalars = 0, len(data), 0
    while at < size:
        last = run = 0
        for field in fields(data, at):
            yield field
            number, wire_type, start, value, at = field
            run = run + 1 if number == last else 0
            last = number
            if wire_type != LENGTH_DELIMITED:
                scalars += 1
                if scalars == _MAX_SCALARS:
                    yield WireField(0, VARINT, at, at, size)
                    return
            if run == _RUN:
                end = _run_end(data[at : at + _RUN_BYTES], bytes(data[start:value]), wire_type)
                yield WireField(number, wire_type, at, at, at + end)
                at += end
                break


def _run_end(data: memoryview, head: bytes, wire_type: int) -> int:
    """The length of the fields that data begins with and that have the same tag.

    `head` is that tag. Of a length-delimited field it is the tag and the length; such fields are only found if the tag is
    one byte and they have fewer than 128 bytes.
    """
    if wire_type == LENGTH_DELIMITED:
        return _short_fields_end(data, head[0]) if head[0] < 0x80 else 0
    values = np.frombuffer(data, np.uint8)
    if wire_type == VARINT:
        ends = np.flatnonzero(values < 0x80)[1::2] + 1  # the last bytes of a tag, of its value, of the next tag, …
    else:
        size = len(head) + _FIXED_BYTES[wire_type]
        ends = np.arange(size, len(values) + 1, size)
    starts = np.concatenate([[0], ends])[:-1]
    is_same = starts + len(head) < ends
    for index, byte in enumerate(head):
        is_same &= values[starts + index] == byte
    count = len(ends) if is_same.all() else int(is_same.argmin())
    return int(ends[count - 1]) if count else 0


def _short_fields_end(data: memoryview, tag: int) -> int:
    at, last = 0, len(data) - 1
    while at < last and data[at] == tag and (length := data[at + 1]) < 0x80 and at + 2 + length <= len(data):
        at += 2 + length
    return at
