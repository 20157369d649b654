"""`AsyncClient`: calls run at the same time, the event loop goes on, and cancelling returns at once."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from model_servers import Served
from waiting import PATIENCE_S

import tfsctl
from tfsctl.api.async_client import AsyncClient
from tfsctl.api.client import Client
from tfsctl.core.types import ModelMetadata, ModelRef, Prediction, Signature, TensorSpec

X = Signature("s", (TensorSpec("x", "float32", (None,)),), (TensorSpec("x", "float32", (None,)),))


class GatedServer:
    """A ServingClient whose predictions wait until the gate is open. It counts those that have begun."""

    address, transport = "gated:1", "grpc"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = 0

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """One signature that returns its input."""
        return ModelMetadata(model.name, 1, {"s": X})

    def predict(self, model: ModelRef, inputs: Any, **_options: Any) -> Prediction:
        """Wait for the gate."""
        self.begun += 1
        assert self.gate.wait(PATIENCE_S)
        return Prediction(dict(inputs), model.name)

    def close(self) -> None:
        """Let all calls go."""
        self.gate.set()


def gated_client(server: GatedServer, at_once: int) -> AsyncClient:
    """A client of that server."""
    return AsyncClient(Client(lambda: cast("Any", server), ModelRef("m")), at_once=at_once)


async def until_begun(server: GatedServer, count: int) -> None:
    """Wait until this number of predictions has begun."""
    deadline = time.monotonic() + PATIENCE_S
    while server.begun < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def test_calls_run_at_the_same_time() -> None:
    """At most `at_once` of them; the others queue, and a cancelled one in the queue is never sent."""

    async def run() -> None:
        server = GatedServer()
        async with gated_client(server, 3) as client:
            calls = [asyncio.create_task(client.predict(float(n))) for n in range(5)]
            await until_begun(server, 3)
            for _ in range(10):
                await asyncio.sleep(0.001)
            assert server.begun == 3
            calls[4].cancel()
            server.gate.set()
            assert [(await call)["x"].tolist() for call in calls[:4]] == [[0.0], [1.0], [2.0], [3.0]]
            with pytest.raises(asyncio.CancelledError):
                await calls[4]
            assert server.begun == 4

    asyncio.run(run())


def test_cancelled_calls_make_room() -> None:
    """A server that hangs keeps no later call from being sent."""

    async def run() -> None:
        server = GatedServer()
        async with gated_client(server, 2) as client:
            for round_number in range(1, 4):
                calls = [asyncio.create_task(client.predict(1.0)) for _ in range(2)]
                await until_begun(server, 2 * round_number)
                for call in calls:
                    call.cancel()
                assert all(
                    isinstance(one, asyncio.CancelledError)
                    for one in await asyncio.gather(*calls, return_exceptions=True)
                )
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.predict(1.0), 0.01)
            server.gate.set()
            assert (await client.predict(2.0))["x"].tolist() == [2.0]

    asyncio.run(run())


def test_cancelling_many_rows_stops_sending() -> None:
    """No further rows are read."""

    async def run() -> None:
        server = GatedServer()
        server.gate.set()
        read = 0

        def rows() -> Iterator[float]:
            nonlocal read
            while True:
                read += 1
                yield 1.0

        async with gated_client(server, 2) as client:
            call = asyncio.create_task(client.predict_many(rows(), batch_size=1, concurrency=1))
            await until_begun(server, 3)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            deadline = time.monotonic() + PATIENCE_S
            before = -1
            while before != server.begun:  # the thread notices after its next answer
                assert time.monotonic() < deadline
                before = server.begun
                await asyncio.sleep(0.1)

    asyncio.run(run())


def test_every_method_returns_what_client_returns(served: Served) -> None:
    """They return what those of `Client` do, in one event loop after the other."""
    client = tfsctl.connect_async(f"{served.host}:{served.grpc_port}", model="half_plus_two")

    async def run() -> None:
        assert (await client.predict(2.0))["y"].tolist() == [3.0]
        assert (await client.predict(2.0, as_frame=True))["y"].tolist() == [3.0]
        assert (await client.predict_many(np.arange(3.0)))["y"].tolist() == [2.0, 2.5, 3.0]
        assert (await client.regress({"x": 2.0}, signature="regress_x_to_y")).tolist() == [3.0]
        assert (await client.classify({"x": 2.0}, signature="classify_x_to_y"))[0][0].score == 3.0
        version = (await client.metadata()).version
        assert await client.wait() == version == (await client.status())[0].version
        assert (await client.predict(await client.sample())).model == "half_plus_two"

    asyncio.run(run())
    asyncio.run(run())
    asyncio.run(client.aclose())


def test_a_fork_has_threads_of_its_own(served: Served) -> None:
    """Idle threads of the parent are not waited for."""
    program = f"""
import asyncio, os, tfsctl
client = tfsctl.connect_async("http://{served.host}:{served.rest_port}", model="half_plus_two")
ask = lambda: asyncio.run(client.predict(2.0))["y"].tolist()
ask()
child = os.fork()
os.write(1, f"{{ask()}}\\n".encode())  # in one piece, also with PYTHONUNBUFFERED
if child:
    os.waitpid(child, 0)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "[3.0]\n[3.0]\n"), done.stderr


def test_misuse_is_refused_with_a_hint() -> None:
    """Each error says what to do."""
    client = gated_client(GatedServer(), 1)
    with pytest.raises(TypeError, match=r"call tfsctl\.connect_async in each process"):
        pickle.dumps(client)
    with pytest.raises(tfsctl.InvalidInput, match="at_once must be a positive number, not 0"):
        tfsctl.connect_async("localhost:1", at_once=0)
