"""Packed varints are read and written as protobuf does it."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tfsctl.core import protos
from tfsctl.core.wire_format import encode_varint
from tfsctl.server.grpc import packed_varints


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=30))
def test_numbers_of_any_size(numbers: list[int]) -> None:
    """Protobuf's own encoding is the reference."""
    packed = b"".join(map(encode_varint, numbers))

    assert packed_varints.encode(np.array(numbers, np.uint64)) == packed
    assert packed_varints.decode(packed).tolist() == numbers


@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_by_protobuf(packed: bytes) -> None:
    """Whatever protobuf reads is read alike, with more zeros than a number needs, too; damage is an error for both."""
    message = b"\x8a\x01" + encode_varint(len(packed)) + packed  # field 17, uint64_val
    try:
        expected = list(protos.TensorProto.FromString(message).uint64_val)
    except DecodeError:
        expected = None
    try:
        found = packed_varints.decode(packed).tolist()
    except DecodeError:
        found = None
    if expected is not None:
        assert found == expected
    elif found is not None:  # protobuf refuses bits beyond the 64th in some versions
        assert max(map(len, packed.split(b"\0"))) >= 10


def test_a_number_must_end() -> None:
    """Within its field, after at most ten bytes."""
    with pytest.raises(DecodeError):
        packed_varints.decode(b"\x01\x80")
    with pytest.raises(DecodeError):
        packed_varints.decode(b"\x80" * 10 + b"\x01")
