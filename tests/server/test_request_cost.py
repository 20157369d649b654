"""The CPU time of a request, as a multiple of that of a constant answer on the same transport.

CPU time of the server processes is compared, not wall time, so other work on the machine hardly matters. The bounds are
about three times what was measured when they were set: they catch a lost fast path, not a few percent. Beside busy
processes a request costs up to twice as much, since fewer requests arrive at once. `benchmarks/quick.py`
measures the same, and `benchmarks/matrix.py` the rest.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from matrix import Cell, Server
from quick import CONNECTIONS, constant_server, cost_us, encoded, model_server

pytestmark = pytest.mark.server

ATTEMPTS, SECONDS = 4, 0.5


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """The constant answer, and the same model with merged rows and without."""
    with (
        constant_server(tmp_path_factory.mktemp("constant")) as constant,
        model_server(tmp_path_factory.mktemp("merged"), "on") as merged,
        model_server(tmp_path_factory.mktemp("single"), "off") as single,
    ):
        yield {"constant": constant, "merged": merged, "single": single}


@pytest.mark.parametrize(
    ("protocol", "workload", "bounds"),
    [
        ("grpc", "text", {"merged": 16, "single": 18}),
        ("grpc", "floats", {"merged": 18, "single": 36}),
        ("rest", "text", {"merged": 20, "single": 24}),
        ("rest", "floats", {"merged": 70, "single": 70}),
    ],
)
def test_a_request_costs_a_bounded_multiple_of_a_constant_answer(
    servers: dict[str, Server], tmp_path: Path, protocol: str, workload: str, bounds: dict[str, float]
) -> None:
    """In CPU time, with merged rows and without; the best of some attempts counts."""
    file = tmp_path / "requests.pickle"
    file.write_bytes(pickle.dumps(encoded(protocol, workload)))
    ratios: dict[str, list[float]] = {merging: [] for merging in bounds}
    left = set(bounds)
    for _ in range(ATTEMPTS):
        constant_us = cost_us(Cell(workload, protocol, CONNECTIONS, "constant"), servers["constant"], file, SECONDS)
        for merging in sorted(left):
            cell = Cell(workload, protocol, CONNECTIONS, merging)
            ratios[merging].append(cost_us(cell, servers[merging], file, SECONDS) / constant_us)
        left = {merging for merging in left if min(ratios[merging]) > bounds[merging]}
        if not left:
            break
    assert not left, ratios
