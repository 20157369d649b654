"""Parses large messages in pieces, so that other Python threads run in between.

A protobuf parser merges what it parses into a message. So a message is parsed as many small ones, each with some of its
fields. Format: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from google.protobuf.message import Message

from tfsctl.core.wire_format import LENGTH_DELIMITED, encode_varint, fields

PIECE_BYTES = 64 * 1024
_INPUT = ((2,), (1, 2))  # the examples are in example_list or example_list_with_context of `input`
_LARGE_FIELDS = {
    "ClassificationRequest": _INPUT,
    "RegressionRequest": _INPUT,
    "MultiInferenceRequest": _INPUT,
    "ReloadConfigRequest": ((1,), (1,)),  # config.model_config_list
}
"""Fields of messages that are cut too, by their numbers at each level."""
_MessageT = TypeVar("_MessageT", bound=Message)


def parse_in_pieces(request: _MessageT, raw: bytes | memoryview) -> _MessageT:
    """Parse a serialized message into an empty one of its type. Raises DecodeError."""
    if len(raw) <= PIECE_BYTES:
        request.MergeFromString(bytes(raw))
    else:
        for piece in _pieces(memoryview(raw), *_LARGE_FIELDS.get(request.DESCRIPTOR.name, ())):
            request.MergeFromString(piece)
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
