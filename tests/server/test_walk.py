"""A small request stays easy to follow: it enters few files of the server."""

from __future__ import annotations

import pytest
import walk
from locations import RECORDED
from ports import free_ports

pytestmark = pytest.mark.server

MAX_FILES = {"REST": 21, "gRPC": 22}


def test_a_request_enters_few_files() -> None:
    """See benchmarks/walk.py."""
    model = RECORDED / "models" / "amazon_review"
    files = walk.child("serve", *map(str, free_ports(2)), str(model))

    assert {protocol: len(entered) <= MAX_FILES[protocol] for protocol, entered in files.items()} == {
        "REST": True,
        "gRPC": True,
    }, files
