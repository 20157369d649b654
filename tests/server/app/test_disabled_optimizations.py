"""--disable_request_optimizations: requests are parsed and run one by one, with the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from model_servers import Served, running_flags
from raw_grpc import call, framed, request
from recorded_cases import MODELS
from rest_requests import rest

from tfsctl.server.http import hpack_cache
from tfsctl.server.http.hpack_cache import HeaderBlockReader


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without caches and replicas."""
    flags = ["--model_name=half_plus_two", f"--model_base_path={MODELS / 'half_plus_two'}"]
    with running_flags([*flags, "--disable_request_optimizations"], tmp_path_factory.mktemp("plain")) as running:
        yield running


@pytest.mark.server
def test_repeated_requests_are_answered(server: Served) -> None:
    """Equal requests over REST and gRPC get the right answer each time."""
    for _ in range(3):
        assert rest(server, "POST", "/v1/models/half_plus_two:predict", b'{"instances": [1.0]}')[0] == 200
        assert call(server.grpc_port, framed(request())).result == 0


def test_header_blocks_are_decoded_each_time() -> None:
    """The reader of header blocks keeps none of them."""
    block = bytes.fromhex("838684010f7777772e6578616d706c652e636f6d")  # like RFC 7541, C.3.1, but not indexed
    reader = HeaderBlockReader(1024, 10, cache_heads=False)
    before = hpack_cache._cached_head.cache_info()
    for _ in range(3):
        assert reader.read(block).method == "POST"
    assert hpack_cache._cached_head.cache_info() == before
    assert not reader._cache
    caching = HeaderBlockReader(1024, 10)
    assert caching.read(block).method == "POST"
    assert caching._cache
