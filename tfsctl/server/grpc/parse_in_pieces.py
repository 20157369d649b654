"""Parses large messages in pieces, so that other Python threads run in between.

A protobuf parser merges what it parses into a message. So a message is parsed as many small ones, each with some of its
fields. The examples of Classify, Regress and MultiInference are never in one message (see `serialized_input`).
Format: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from tfsctl.core import protos
from tfsctl.core.wire_format import LENGTH_DELIMITED, encode_varint, fields
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.signatures.serialized_input import SerializedInput

PIECE_BYTES = 64 * 1024
_INPUT, _EXAMPLE_LISTS = 2, (1, 2)  # example_list and example_list_with_context of `input`
_EXAMPLES = ((_INPUT,), _EXAMPLE_LISTS)
_LARGE_FIELDS = {
    **dict.fromkeys(("ClassificationRequest", "RegressionRequest", "MultiInferenceRequest"), _EXAMPLES),
    "ReloadConfigRequest": ((1,), (1,)),  # config.model_config_list
}
"""Fields of messages that are cut too, by their numbers at each level."""
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
        self.input = SerializedInput(self._inputs(raw))
        self.model_spec: Any = getattr(empty, "model_spec", None)
        self.tasks: Any = getattr(empty, "tasks", ())

    def _inputs(self, raw: memoryview) -> Iterator[protos.Input]:
        for piece in _pieces(raw, *_EXAMPLES):
            part = type(self.message).FromString(piece)
            yield part.input
            part.ClearField("input")
            self.message.MergeFrom(part)
            yield_to_loop()


def parse_request(message: Message, raw: bytes | memoryview) -> Message | ExamplesRequest:
    """Parse a serialized request into an empty message of its type. Raises DecodeError."""
    if len(raw) > PIECE_BYTES and _LARGE_FIELDS.get(message.DESCRIPTOR.name) is _EXAMPLES:
        data = memoryview(raw)
        if _has_one_kind_of_list(data):
            return ExamplesRequest(message, data)
    return parse_in_pieces(message, raw)


def _has_one_kind_of_list(data: memoryview) -> bool:
    """Whether the examples are all in one kind of list. Otherwise only those of the last kind count."""
    kinds: set[int] = set()
    for number, wire_type, _, start, end in fields(data):
        if number == _INPUT and wire_type == LENGTH_DELIMITED:
            kinds.update(field.number for field in fields(data, start, end))
    return len(kinds & {*_EXAMPLE_LISTS}) <= 1


def parse_in_pieces(request: _MessageT, raw: bytes | memoryview) -> _MessageT:
    """Parse a serialized message into an empty one of its type. Raises DecodeError."""
    if len(raw) <= PIECE_BYTES:
        request.MergeFromString(bytes(raw))
    else:
        for piece in _pieces(memoryview(raw), *_LARGE_FIELDS.get(request.DESCRIPTOR.name, ())):
            request.MergeFromString(piece)
            yield_to_loop()
    return request


def _pieces(data: memoryview, divided: tuple[int, ...] = (), *deeper: tuple[int, ...]) -> Iterator[bytes]:
    """A serialized message as several ones, cut between fields. Large fields with the `divided` numbers are cut too."""
    begun = end = 0
    for number, wire_type, start, value, end in fields(data):
        if wire_type == LENGTH_DELIMITED and end - value > PIECE_BYTES and number in divided:
            yield bytes(data[begun:start])
            tag = encode_varint(number << 3 | LENGTH_DELIMITED)
            for piece in _pieces(data[value:end], *deeper):
                yield tag + encode_varint(len(piece)) + piece
            begun = end
        elif end - begun > PIECE_BYTES:
            yield bytes(data[begun:end])
            begun = end
    yield bytes(data[begun:end])
