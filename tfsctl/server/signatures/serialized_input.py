"""The examples of Classify, Regress and MultiInference requests, serialized one by one as TensorFlow takes them.

A message that holds many examples is freed in one call: 0.5 ms for each MB, during which no other thread runs. So those
of large requests are serialized while the request is read, and the messages that they come in are small.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

from tfsctl.core import protos
from tfsctl.core.arrays import PIECE_VALUES, pieces
from tfsctl.server.process.string_arrays import StringParts
from tfsctl.server.request_context import check_string_count
from tfsctl.server.status import invalid_argument

_WITH_CONTEXT = "example_list_with_context"


class SerializedExample(NamedTuple):
    """A large example, or a part of the context, that stays serialized."""

    data: bytes
    is_context: bool


class SerializedInput:
    """The examples and the context of several Input messages, which are the parts of one.

    The context is serialized, too: parts that follow each other are merged when they are parsed. To merge messages with
    a million features takes protobuf nine seconds.
    """

    def __init__(self, messages: Iterable[protos.Input | SerializedExample], *, nbytes: int | None = None) -> None:
        """Raises RESOURCE_EXHAUSTED if the examples take too much memory for a request of `nbytes` (default: no check)."""
        examples, context = StringParts(), list[bytes]()
        has_context = False
        for message in messages:
            if isinstance(message, SerializedExample):
                if message.is_context:
                    context.append(message.data)
                else:
                    examples.add([message.data])
                has_context |= message.is_context
                continue
            listed: Iterable[protos.Example] = message.example_list.examples
            if message.WhichOneof("kind") == _WITH_CONTEXT:
                has_context = True
                context.append(message.example_list_with_context.context.SerializeToString())
                listed = message.example_list_with_context.examples
            serialized = (example.SerializeToString() for example in listed)
            while part := list(islice(serialized, PIECE_VALUES)):
                examples.add(part)
                if nbytes is not None:
                    check_string_count(examples.size, nbytes)
        self._examples = examples.array()
        self._context = b"".join(context) if has_context else None

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self._examples)

    @property
    def context_bytes(self) -> int:
        """How many bytes the context takes once it is a part of each example."""
        return len(self._context or b"") * self.count

    def strings(self) -> np.ndarray:
        """The serialized examples. Features of the context come before those of each example.

        Raises INVALID_ARGUMENT if there are no examples.
        """
        if not self.count:
            raise invalid_argument("Input is empty.")
        if self._context is None:
            return self._examples
        strings = StringParts()
        for part in pieces(self._examples):
            strings.add([b"".join((self._context, example)) for example in part.tolist()])
        return strings.array()


def serialized_examples(sent: protos.Input | SerializedInput) -> np.ndarray:
    """The serialized examples of a request. Raises INVALID_ARGUMENT if there are none."""
    return (sent if isinstance(sent, SerializedInput) else SerializedInput([sent])).strings()


def few_examples(sent: protos.Input, limit: int) -> list[bytes] | None:
    """The serialized examples of an Input message; None if there are more than `limit`, none, or a context."""
    listed = sent.example_list.examples  # empty if the examples have a context
    return [example.SerializeToString() for example in listed] if 0 < len(listed) <= limit else None


def context_bytes(sent: protos.Input | SerializedInput) -> int:
    """How many bytes the context of an Input message takes once it is a part of each example."""
    if isinstance(sent, SerializedInput):
        return sent.context_bytes
    if sent.WhichOneof("kind") != _WITH_CONTEXT:
        return 0
    listed = sent.example_list_with_context
    return listed.context.ByteSize() * len(listed.examples)


def example_count(sent: protos.Input | SerializedInput) -> int:
    """The number of examples of an Input message."""
    if isinstance(sent, SerializedInput):
        return sent.count
    return len(sent.example_list.examples) + len(sent.example_list_with_context.examples)
