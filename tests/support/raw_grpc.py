"""gRPC calls whose bytes are chosen by the test, right or wrong: one HTTP/2 connection for each, through `h2`."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

from tfsctl.core import protos

PREDICT = "/tensorflow.serving.PredictionService/Predict"
TIMEOUT_S = 240.0
Header = tuple[bytes, bytes]


@dataclass
class Outcome:
    """What a call ended with: all headers and trailers by name, and the body; `reset` for a stream that was reset."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    is_reset: bool = False

    @property
    def result(self) -> int | str:
        """The gRPC status; without one the HTTP status as text, or `reset`."""
        if self.is_reset:
            return "reset"
        status = self.headers.get(b"grpc-status")
        return self.headers[b":status"].decode() if status is None else int(status)

    @property
    def message(self) -> str:
        """The message of the gRPC status."""
        return self.headers.get(b"grpc-message", b"").decode()


def framed(message: bytes, flag: int = 0) -> bytes:
    """A message in a gRPC frame."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def request(model: str = "half_plus_two", signature: str = "", **inputs: protos.TensorProto) -> bytes:
    """A serialized PredictRequest; one value for half_plus_two if no inputs are given."""
    message = protos.PredictRequest(model_spec={"name": model, "signature_name": signature})
    for name, tensor in inputs.items():
        message.inputs[name].CopyFrom(tensor)
    if not inputs:
        message.inputs["x"].CopyFrom(protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 1}]}, float_val=[1.0]))
    return message.SerializeToString()


def call(
    port: int,
    body: bytes | None,
    *,
    path: str = PREDICT,
    headers: Iterable[Header] = (),
    content_type: bytes = b"application/grpc",
    method: bytes = b"POST",
    trailers: Iterable[Header] = (),
) -> Outcome:
    """Send one call and wait for its end; without a body the stream ends with its headers."""
    config = h2.config.H2Configuration(
        header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    connection = h2.connection.H2Connection(config)
    head = [
        (b":method", method),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"test"),
        (b"content-type", content_type),
        (b"te", b"trailers"),
        *headers,
    ]
    trailers = list(trailers)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as link:
        connection.initiate_connection()
        connection.send_headers(1, head, end_stream=body is None)
        outcome = Outcome()
        unsent = body
        while True:
            if unsent is not None:
                unsent = _send(connection, unsent, end_stream=not trailers)
                if unsent is None and trailers:
                    connection.send_headers(1, trailers, end_stream=True)
            link.sendall(connection.data_to_send())
            data = link.recv(1 << 20)
            assert data, "the server closed the connection"
            for event in connection.receive_data(data):
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    outcome.headers.update(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    outcome.body += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.StreamReset):
                    outcome.is_reset = True
                    return outcome
                elif isinstance(event, h2.events.StreamEnded):
                    return outcome


def _send(connection: h2.connection.H2Connection, data: bytes, *, end_stream: bool) -> bytes | None:
    """Send as much as the windows allow; returns the rest, None at the end."""
    while data and (room := min(connection.local_flow_control_window(1), connection.max_outbound_frame_size)):
        connection.send_data(1, data[:room])
        data = data[room:]
    if data:
        return data
    if end_stream:
        connection.end_stream(1)
    return None
