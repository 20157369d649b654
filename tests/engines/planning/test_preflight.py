"""The checks before a server starts: its name and its ports must be free."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tfsctl.engines.planning.preflight import check_environment, check_free
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import EngineError, InvalidInput


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 with a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_error_for_a_taken_port_names_our_server(taken: int) -> None:
    """If one of our servers has the port, the hint stops that server."""
    ours = ServerRecord("other", "binary", "127.0.0.1", 1, taken, ("other",), 1, None, 0.0, None)
    check_free("new", "127.0.0.1", [0, 0], [ours])

    with pytest.raises(EngineError, match=f"^port {taken} of 127.0.0.1 is in use$") as stranger:
        check_free("new", "127.0.0.1", [taken, 0], [])
    assert stranger.value.hint == "--rest-port 0 --grpc-port 0 take free ports"
    with pytest.raises(EngineError, match=rf"^port {taken} .* is in use by the server other \(binary\)$") as known:
        check_free("new", "127.0.0.1", [0, taken], [ours])
    assert known.value.hint.startswith("tfsctl stop other, or ")


def test_a_taken_name_is_refused() -> None:
    """The error has the address of the server with that name."""
    ours = ServerRecord("echo", "embedded", "127.0.0.1", 8501, 8500, ("echo",), 1, None, 0.0, None)
    with pytest.raises(
        EngineError, match=r"^a server named echo is already running, at http://127.0.0.1:8501 \(embedded\)$"
    ):
        check_free("echo", "127.0.0.1", [0, 0], [ours])


def test_rest_and_grpc_cannot_share_a_port() -> None:
    """TensorFlow Serving would start without REST and say nothing."""
    with pytest.raises(InvalidInput, match="cannot share port 9000"):
        check_free("echo", "127.0.0.1", [9000, 9000], [])


def test_variables_that_are_copied_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty value is a value."""
    monkeypatch.setenv("EMPTY", "")
    check_environment((("EMPTY", None), ("UNSET", "given")))

    monkeypatch.delenv("UNSET", raising=False)
    with pytest.raises(InvalidInput, match="uses the environment variable UNSET, which is not set") as refused:
        check_environment((("EMPTY", None), ("UNSET", None)))
    assert refused.value.hint == "export UNSET=VALUE, or --env UNSET=VALUE"
