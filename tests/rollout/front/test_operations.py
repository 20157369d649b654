"""Finding the front of a model, and the hints for a model without a front."""

from __future__ import annotations

import pytest

from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import NotFound
from tfsctl.rollout.front.operations import find_front


def server(name: str, *models: str, is_front: bool) -> TrackedServer:
    """A running server."""
    record = ServerRecord(name, "embedded", "127.0.0.1", 1, 2, models, 3, None, 0.0, None)
    return TrackedServer(record, launch={"front": is_front})


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (
            "house",
            "no front serves house; they serve half, review",
            "tfsctl front town puts one in front of the server of house",
        ),
        ("hafl", "no front serves hafl; they serve half, review", "did you mean half?"),
        (
            "shop",
            "no front serves shop; they serve half, review",
            "shop is the name of a front: name its model, such as half",
        ),
        (
            "zzz",
            "no front serves zzz; they serve half, review",
            "tfsctl front NAME puts one in front of a running server; ",
        ),
    ],
)
def test_a_model_without_a_front(model: str, message: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of another server, a typo, the name of a front, and a name that nothing has."""
    servers = [server("shop", "half", "review", is_front=True), server("town", "house", is_front=False)]
    monkeypatch.setattr("tfsctl.engines.registry.records.list_servers", lambda: servers)

    assert find_front("half") is find_front(None) is servers[0]
    with pytest.raises(NotFound) as refused:
        find_front(model)
    assert refused.value.message == message
    assert refused.value.hint.startswith(hint)
