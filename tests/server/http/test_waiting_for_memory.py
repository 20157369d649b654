"""Large bodies wait when the server holds much for its clients: none is refused, and each has its turn."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from echo_models import echo_model_flags
from http2_client import END_STREAM, Answer, Code, Kind, Setting, connected, frame, grpc_fields, message
from model_servers import running_flags
from ports import HOST, free_ports
from rest_requests import rest
from waiting import PATIENCE_S

from tfsctl.server.http import listener
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.limits import KIB, MIB
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.request_body import ClientGoneError
from tfsctl.server.status import ServingError

CLIENTS, SIZE, LIMIT = 24, 300 * KIB, 2 * MIB


class Server:
    """A listener with a small budget. It answers each body with its checksum, once `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.served: list[int] = []  # the checksums in the order in which the bodies were complete
        (self.port,) = free_ports(1)
        self.listener = Listener(self._serve, [Address(HOST, self.port)], max_connections=100, held_bytes=LIMIT)

    @property
    def budget(self) -> MemoryBudget:
        """The memory that it holds for its clients."""
        return self.listener.state.budget

    async def _serve(self, exchange: Exchange) -> None:
        try:
            body = await exchange.body(LIMIT)
            checksum = zlib.crc32(body)
            if len(body) > KIB:
                self.served.append(checksum)
                await self.gate.wait()
            exchange.charge(len(body))  # for what is made of it
            answer, status = b"%d" % checksum, b"0"
        except ClientGoneError:
            return
        except ServingError as error:
            answer, status = error.message.encode(), b"8"
        await exchange.reply(200 if status == b"0" else 503, (), answer, ((b"grpc-status", status),))

    def has_begun(self, count: int) -> bool:
        """Whether `count` large bodies are served or wait."""
        return self.budget.waiting + len(self.served) == count

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""

        async def poll() -> None:
            while not condition():  # noqa: ASYNC110 - the budget has no events
                await asyncio.sleep(0.001)

        await asyncio.wait_for(poll(), PATIENCE_S)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """A running server, which holds nothing at the end."""
    server = Server()
    await server.listener.start()
    try:
        yield server
        budget = server.budget
        await server.until(lambda: budget.used == budget.beginnings == budget.waiting == 0)
    finally:
        await server.listener.stop()


def body_of(number: int, size: int = SIZE) -> bytes:
    """A body that no other client sends."""
    return bytes([number]) * size


def known_length(body: bytes) -> bytes:
    """A request with Content-Length."""
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    """The same in chunks."""
    parts = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


async def answers(reader: asyncio.StreamReader, count: int = 1) -> list[str]:
    """The statuses of responses, each with its body, which is chunked because it has trailers."""
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        rest = await reader.readuntil(b"\r\n\r\n")
        status, text = head.split()[1], rest.split(b"\r\n")[1]
        found.append(f"{status.decode()} {text.decode()}")
    return found


def right(body: bytes) -> str:
    """The response to a body."""
    return f"200 {zlib.crc32(body)}"


async def ask(server: Server, data: bytes, count: int = 1) -> list[str]:
    """Send requests on a connection of their own."""
    reader, writer = await asyncio.open_connection(HOST, server.port, limit=MIB)
    writer.write(data)
    found = await asyncio.wait_for(answers(reader, count), PATIENCE_S)
    writer.close()
    return found


@pytest.mark.parametrize("request_of", [known_length, chunked])
def test_bodies_that_exceed_the_budget_together_wait(request_of: Callable[[bytes], bytes]) -> None:
    """Each is answered in the end. A small request is answered meanwhile."""

    async def run() -> None:
        async with serving() as server:
            bodies = [body_of(number) for number in range(CLIENTS)]
            asked = [asyncio.ensure_future(ask(server, request_of(body))) for body in bodies]
            await server.until(lambda: server.budget.waiting >= CLIENTS // 2)
            assert server.budget.used <= LIMIT // 4 + SIZE + 2 * server.budget.step
            assert await ask(server, request_of(b"small")) == [right(b"small")]
            server.gate.set()
            assert await asyncio.gather(*asked) == [[right(body)] for body in bodies]

    asyncio.run(run())


def test_bodies_are_read_in_the_order_in_which_they_began() -> None:
    async def run() -> None:
        async with serving() as server:
            bodies = [body_of(number) for number in range(CLIENTS)]
            asked = []
            for count, body in enumerate(bodies, 1):
                asked.append(asyncio.ensure_future(ask(server, known_length(body))))
                await server.until(partial(server.has_begun, count))
            server.gate.set()
            await asyncio.gather(*asked)
            assert server.served == list(map(zlib.crc32, bodies))

    asyncio.run(run())


def test_pipelined_bodies_wait_one_after_the_other() -> None:
    """Several connections send all of their requests at once, large and small."""

    async def run() -> None:
        async with serving() as server:
            bodies = [body_of(1), b"small", body_of(2), body_of(3, 100 * KIB), b"small", body_of(4)]
            data = b"".join(known_length(body) for body in bodies)
            asked = [asyncio.ensure_future(ask(server, data, len(bodies))) for _ in range(CLIENTS // 4)]
            await server.until(lambda: server.budget.waiting > 0)
            server.gate.set()
            for found in await asyncio.gather(*asked):
                assert found == [right(body) for body in bodies]

    asyncio.run(run())


def _ask_over_http2(port: int, numbers: range) -> list[str]:
    """Send bodies on streams of one connection."""
    with connected(port) as client:
        client.sync()
        streams = {client.start(grpc_fields()): framed(number) for number in numbers}
        client.send_bodies(streams)
        return [client.answer(stream).body.decode() for stream in streams]


def framed(number: int) -> bytes:
    """A gRPC message."""
    return b"\0" + SIZE.to_bytes(4, "big") + body_of(number)


@pytest.mark.parametrize("connections", [1, 6, CLIENTS])
def test_streams_wait_for_memory(connections: int) -> None:
    """Those of one connection too: the windows of those that wait stay closed, and the others' bodies arrive."""

    async def run() -> None:
        async with serving() as server:
            each = CLIENTS // connections
            numbers = [range(at * each, (at + 1) * each) for at in range(connections)]
            loop = asyncio.get_running_loop()
            asked = [loop.run_in_executor(None, _ask_over_http2, server.port, some) for some in numbers]
            await server.until(lambda: server.budget.waiting > 0)
            server.gate.set()
            found = [text for texts in await asyncio.gather(*asked) for text in texts]
            assert found == [str(zlib.crc32(framed(number))) for number in range(CLIENTS)]

    asyncio.run(run())


def _answer_to_one_frame(port: int) -> Answer:
    """Send a body in one frame, which is larger than the stream's window."""
    with connected(port) as client:
        stream = client.start(grpc_fields())
        client.send(frame(Kind.DATA, END_STREAM, stream, framed(0)))
        return client.answer(stream)


def test_more_than_the_window_is_served_while_no_body_waits() -> None:
    """Simple clients write a request without waiting for windows. If others wait for memory, that is an error."""

    async def run() -> None:
        async with serving() as server:
            loop = asyncio.get_running_loop()
            bodies = [body_of(number) for number in range(CLIENTS)]
            asked = [asyncio.ensure_future(ask(server, known_length(body))) for body in bodies]
            await server.until(lambda: server.budget.waiting > 0)
            refused = await loop.run_in_executor(None, _answer_to_one_frame, server.port)
            server.gate.set()
            await asyncio.gather(*asked)
            served = await loop.run_in_executor(None, _answer_to_one_frame, server.port)
        assert refused.reset == Code.FLOW_CONTROL_ERROR
        assert served.body.decode() == str(zlib.crc32(framed(0)))

    asyncio.run(run())


@pytest.mark.parametrize("sent", [0, SIZE // 2])
def test_bodies_that_never_end_do_not_stop_all_others(sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that a body does not use is taken from it when others wait. What has arrived stays until its deadline."""
    monkeypatch.setattr(listener, "_MEMORY_CHECK_S", 0.1)

    async def run() -> None:
        async with serving() as server:
            server.gate.set()
            stuck = []
            for number in range(5):
                _, writer = await asyncio.open_connection(HOST, server.port)
                writer.write(known_length(body_of(number))[: sent + 100])
                stuck.append(writer)
            await server.until(lambda: server.budget.waiting > 0)
            bodies = [body_of(number) for number in range(10, 20)]
            found = await asyncio.gather(*(ask(server, known_length(body)) for body in bodies))
            assert found == [[right(body)] for body in bodies]
            for writer in stuck:
                writer.close()

    asyncio.run(run())


def test_clients_that_leave_while_they_wait_hold_nothing() -> None:
    async def run() -> None:
        async with serving() as server:
            writers = []
            for number in range(CLIENTS):
                _, writer = await asyncio.open_connection(HOST, server.port)
                writer.write(known_length(body_of(number)))
                writers.append(writer)
            await server.until(lambda: server.budget.waiting >= CLIENTS // 2)
            for writer in writers:
                writer.transport.abort()
            server.gate.set()

    asyncio.run(run())


def test_a_client_that_waits_with_its_body_is_asked_for_it_when_there_is_memory() -> None:
    """Expect: 100-continue."""

    async def run() -> None:
        async with serving() as server:
            asked = [asyncio.ensure_future(ask(server, known_length(body_of(number)))) for number in range(4)]
            await server.until(partial(server.has_begun, len(asked)))
            waiting, body = server.budget.waiting, body_of(9)
            reader, writer = await asyncio.open_connection(HOST, server.port)
            head = known_length(body)[: -len(body)].replace(b"Host", b"Expect: 100-continue\r\nHost")
            writer.write(head)
            await server.until(lambda: server.budget.waiting > waiting)
            begun = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(0)
            assert not begun.done()
            server.gate.set()
            assert b" 100 " in await asyncio.wait_for(begun, PATIENCE_S)
            writer.write(body)
            assert await asyncio.wait_for(answers(reader), PATIENCE_S) == [right(body)]
            writer.close()
            await asyncio.gather(*asked)

    asyncio.run(run())


@pytest.mark.server
def test_the_time_that_a_body_waits_counts_in_the_timeout_of_the_request(tmp_path: Path) -> None:
    """Unread answers hold all of the budget. When their client has left, such bodies are served again."""
    flags = [*echo_model_flags(tmp_path), "--max_held_megabytes=1", "--rest_api_timeout_in_ms=1000"]
    numbers = [1.5] * 50_000
    body = b'{"instances": %b}' % str(numbers).encode()
    with running_flags(flags, tmp_path) as server:
        with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as unread:
            unread.sync()
            unread.send_until_it_stalls({unread.start(grpc_fields()): message(numbers) for _ in range(8)})

            assert rest(server, "POST", "/v1/models/echo:predict", body)[0] == 504
            with connected(server.grpc_port) as client:
                stream = client.start(grpc_fields(grpc_timeout="1S"))
                client.send_what_fits(stream, message(numbers))
                assert client.answer(stream).trailers["grpc-status"] == "4"
        with connected(server.grpc_port) as client:
            stream = client.start(grpc_fields())
            client.send_bodies({stream: message(numbers)})
            assert client.answer(stream).values().tolist() == numbers
