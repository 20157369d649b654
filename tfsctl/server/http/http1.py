"""One HTTP/1.1 or HTTP/1.0 connection (RFC 9112): requests are read and answered one after the other.

A request is parsed only when the one before it is answered, so that a client that pipelines costs no more than one that
waits. Bytes of a body are never looked at as anything else.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

from tfsctl.server.held_bytes import HeldBytes
from tfsctl.server.http import request_head_cache, timeouts
from tfsctl.server.http.http1_parser import BadRequestError, ChunkDecoder, head_end, parse_head, without_empty_lines
from tfsctl.server.http.http1_request import Request, refusal
from tfsctl.server.http.listener_state import ListenerState
from tfsctl.server.limits import Limits
from tfsctl.server.memory_budget import SMALL_BODY_BYTES, BudgetExceededError
from tfsctl.server.process.loop_turns import FEW, MAX_TURN_BYTES
from tfsctl.server.request_body import BodyTimeoutError
from tfsctl.server.short_reads import ShortReader

_LARGE_HEAD_BYTES = 4096  # a head from here on is counted in the memory budget
_MAX_PIPELINED_BYTES = 64 * 1024  # that are read while a request is answered
_MAX_UNCONSUMED_BYTES = MAX_TURN_BYTES  # of a body whose request has not begun: it begins in the next turn

# Why nothing is read from the client. Plain bits: IntFlag costs a microsecond per operation.
_CLIENT_READS_NOTHING, _PIPELINED, _UNCONSUMED_BODY, _MEMORY, _OTHERS_TURN = 1, 2, 4, 8, 16


class Http1Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, state: ListenerState, limits: Limits, port: int | None, peer: str) -> None:
        self.state, self.loop, self.port, self._peer, self._limits = state, state.loop, port, peer, limits
        self._max_requests = 1 if state.is_draining else limits.max_requests_per_connection
        self._buffer = bytearray()  # bytes that have arrived and are not parsed
        self._partial_head = HeldBytes(state.budget)
        self._searched = 0  # bytes of the buffer in which the end of a head was looked for
        self._current: Request | None = None
        self._is_in_body = False  # the body of the current request has not arrived completely
        self._body_left = 0  # bytes of it
        self._chunks: ChunkDecoder | None = None  # of it, if it is chunked
        self._requests = self._pauses = 0
        self._refusal: HTTPStatus | None = None  # answered before the connection closes
        self._is_closing = self._has_eof = self._reads_short = False  # EOF: the client sends no more
        self._writable: asyncio.Future[None] | None = None
        self._linger: timeouts.Linger | None = None
        self._stall: timeouts.WriteStall | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a client."""
        self._transport = cast("asyncio.Transport", transport)
        self._opened_s = self.heard_s = self._head_since_s = self.loop.time()
        self.state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Read requests, and serve the first that is complete enough."""
        if self._is_closing:
            if self._linger is not None:
                self._linger.data_received()
            return
        if self._current is None:
            if not self._buffer:
                self._head_since_s = self.heard_s = self.loop.time()
                found = request_head_cache.find(data)
                if found is not None and len(found[1]) <= SMALL_BODY_BYTES:
                    head, body = found
                    request = self._current = Request(self, head)
                    if body:
                        request.add(body)
                    request.has_all = True  # as `end` does; nobody waits yet
                    self._start(request)
                    return
        elif self._is_in_body and not self._buffer and len(data) < self._body_left:
            self._body_left -= len(data)
            self._add_to_body(self._current, data)
            return
        self.heard_s = self.loop.time()
        self._buffer += data
        self._parse()

    def pause_writing(self) -> None:
        """The client does not read: requests that it sends now would only pile up."""
        self._pause(_CLIENT_READS_NOTHING)

    def resume_writing(self) -> None:
        """The client reads again."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self._resume(_CLIENT_READS_NOTHING)

    def eof_received(self) -> bool:
        """The client sends no more. It may have left, or wait for its answers: `timeouts.py` tells what follows."""
        self._has_eof = True
        if self._is_closing or self._current is None:
            return False
        self._end_truncated_request()
        is_late = self.loop.time() - self.heard_s > timeouts.LATE_FIN_S
        self.loop.call_soon(self._refuse_waiting, self._requests if is_late else 0)
        return True

    def _refuse_waiting(self, refusable: int) -> None:
        """Refuse the current request if it waits for its run and has the number `refusable`. Checks again every second."""
        current = self._current
        if current is None or current.is_gone:
            return
        number = self._requests if current.is_waiting else 0
        if number and number == refusable:
            self.state.recorder.request_rejected("half_closed")
            current.refuse_waiting(timeouts.half_closed_error())
        self.loop.call_later(timeouts.HALF_CLOSED_WAIT_S, self._refuse_waiting, number)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has left."""
        self._is_closing = True
        self._partial_head.resize(0)
        self.state.disconnected(self, self._peer)
        if self._current is not None:
            self._current.cancel()
        self.resume_writing()

    def check_timeouts(self, now_s: float) -> None:
        """Close the connection if the client is too slow, or has been idle or connected for too long."""
        limits, current = self._limits, self._current
        if self._is_closing:
            return
        self._stall = self._stall or timeouts.WriteStall(self._transport)
        if self._stall.lasts(now_s, limits.write_stall_timeout_s):
            self.state.recorder.request_rejected("write_stall_timeout")
            self._transport.abort()
        elif current is not None:
            is_arriving = self._is_in_body and not current.is_streaming
            if is_arriving and timeouts.arrives_too_slowly(limits, current, now_s - current.started_s):
                self.state.recorder.request_rejected("body_timeout")
                current.refuse_body(BodyTimeoutError())
            if limits.max_age_s is not None and now_s - self._opened_s > limits.max_age_s:
                current.keeps_alive = False
        elif self._buffer or not self._requests:
            if limits.header_timeout_s is not None and now_s - self._head_since_s > limits.header_timeout_s:
                self.state.recorder.request_rejected("header_timeout")
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif (
            (limits.max_idle_s is not None and now_s - self.heard_s > limits.max_idle_s)
            or (self.state.is_draining and now_s - self.heard_s > timeouts.DRAIN_IDLE_S)
            or (limits.max_age_s is not None and now_s - self._opened_s > limits.max_age_s)
        ):
            self._transport.close()

    def close(self) -> None:
        """Close the connection; what is written still reaches the client."""
        self._transport.close()

    def drain(self) -> None:
        """Close the connection after the answer to the current or next request, with `connection: close` in that answer."""
        self._max_requests = 1
        if self._current is not None and not self._current.has_begun:
            self._current.keeps_alive = False

    def _parse(self) -> None:
        """Read what has arrived, up to the request after the current one."""
        try:
            while self._buffer and not self._is_closing:
                if self._current is None:
                    if self._leave_head() or not self._read_head():
                        return
                elif not self._is_in_body:
                    if len(self._buffer) > _MAX_PIPELINED_BYTES:
                        self._pause(_PIPELINED)
                    return
                elif not self._read_body():
                    return
        except BadRequestError as error:
            self._refuse(error.status)
        except BudgetExceededError:  # for a head
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def _leave_head(self) -> bool:
        """Leave the next head for another turn of the event loop if this one has taken long. Returns whether it did."""
        turns = self.state.tasks.turns
        turns.count += 1
        is_late = turns.count >= FEW and turns.is_over()  # as in `RequestTasks.start`
        if is_late:
            self._pause(_OTHERS_TURN)
            turns.wait(self._continue_parsing)
        return is_late

    def _read_head(self) -> bool:
        """Read the head of the next request and start the request. Returns False if the head has not arrived completely.

        Raises BadRequestError, and BudgetExceededError for a large head.
        """
        buffer = self._buffer
        if buffer[0] == 0x0D:
            buffer[:] = without_empty_lines(bytes(buffer))
            self._searched = 0
            if not (buffer or self._requests):
                self._head_since_s = self._opened_s  # empty lines are not the beginning of a request
        end = head_end(buffer, self._searched, self._limits)
        if not end:
            self._searched = len(buffer)
            if len(buffer) > _LARGE_HEAD_BYTES:
                self._partial_head.resize(len(buffer))
            return False
        raw, self._searched = bytes(buffer[:end]), 0
        del buffer[:end]
        head = parse_head(raw, self._limits)
        if self._limits.cache_requests:
            request_head_cache.keep(raw, head)
        request = Request(self, head)
        if len(raw) > _LARGE_HEAD_BYTES:
            self._partial_head.resize(0)
            request.charge(len(raw))
        self._current = request
        length = head.length or 0
        if length > SMALL_BODY_BYTES:
            request.expect_body(length, buffered=min(length, len(buffer)))
        elif self._reads_short != head.is_chunked:
            self._read_short(is_short=head.is_chunked)
        if not head.is_chunked and len(buffer) >= length and not request.waits_for_memory:
            if length:
                request.add(bytes(buffer[:length]))
                del buffer[:length]
            request.end()
            self._start(request)
            return True
        self._body_left = length
        self._chunks = ChunkDecoder(self._limits) if head.is_chunked else None
        self._is_in_body = True
        self._start(request)
        self._read_body()
        return True

    def _read_body(self) -> bool:
        """Read the body of the current request. Returns whether it has arrived completely. Raises BadRequestError."""
        request, buffer = cast("Request", self._current), self._buffer
        if request.waits_for_memory:
            self._pause(_MEMORY)
            return False
        if self._chunks is None:
            part = bytes(buffer[: self._body_left])
            del buffer[: len(part)]
            self._body_left -= len(part)
            is_complete = not self._body_left
        else:
            parts, done, has_more = self._chunks.decode(bytes(buffer))
            del buffer[:done]
            part, is_complete = b"".join(parts), self._chunks.is_complete
            if has_more:
                self._pause(_OTHERS_TURN)
                self.loop.call_soon(self._continue_parsing)
        if part:
            self._add_to_body(request, part)
        if is_complete:
            self._is_in_body = False
            self._resume(_UNCONSUMED_BODY | _MEMORY)
            request.end()
        return is_complete

    def _continue_parsing(self) -> None:
        """Parse the bytes that were left for later, and read on if they are few then."""
        self._resume(_OTHERS_TURN | _MEMORY)
        self._parse()
        self._end_truncated_request()
        if self._pauses & _PIPELINED and len(self._buffer) <= _MAX_PIPELINED_BYTES:
            self._resume(_PIPELINED)
        if self._has_eof and self._current is None and not (self._is_closing or self._pauses & _OTHERS_TURN):
            self._close_soon()

    def _end_truncated_request(self) -> None:
        """Cancel a request whose body will never be complete, because its client sends no more."""
        is_parsed = not self._pauses & (_OTHERS_TURN | _MEMORY)
        if self._has_eof and self._is_in_body and is_parsed and self._current is not None:
            self._current.cancel()

    def _add_to_body(self, request: Request, part: bytes) -> None:
        request.add(part)
        if request.unconsumed > _MAX_UNCONSUMED_BYTES:
            self._pause(_UNCONSUMED_BODY)
        if request.waits_for_memory:
            self._pause(_MEMORY)
        if self.state.readers.count_read(len(part)) and not self._pauses & _OTHERS_TURN:
            self._pause(_OTHERS_TURN)
            self.state.readers.wait(self._continue_parsing)

    def on_memory_granted(self) -> None:
        """More of the body may be read."""
        if self._reads_short:
            self._read_short(is_short=False)
        if self._pauses & _MEMORY:
            self.loop.call_soon(self._continue_parsing)

    def _read_short(self, *, is_short: bool) -> None:
        self._reads_short = is_short
        self._transport.set_protocol(ShortReader(self) if is_short else self)

    def on_body_consumed(self, request: Request) -> None:
        """The application has taken a part of the body: read more of it."""
        if request.unconsumed <= _MAX_UNCONSUMED_BYTES:
            self._resume(_UNCONSUMED_BODY)

    def _pause(self, reason: int) -> None:
        if not self._pauses and not self._transport.is_closing():
            self._transport.pause_reading()
        self._pauses |= reason

    def _resume(self, reason: int) -> None:
        if self._pauses:
            self._pauses &= ~reason
            if not self._pauses and not self._transport.is_closing():
                self._transport.resume_reading()

    def _start(self, request: Request) -> None:
        self._requests += 1
        if self._max_requests is not None and self._requests >= self._max_requests:
            request.keeps_alive = False
        self.state.tasks.start(request, is_only=not self._buffer)

    def on_done(self, request: Request) -> None:
        """The request is answered: close the connection, or go on with the next request."""
        self._current = None
        if self._is_closing:
            return
        if self._is_in_body or not request.keeps_alive or self._refusal is not None:
            if not request.has_begun and self._refusal is not None:
                self.write(refusal(self._refusal))
            if request.is_last and request.has_all and not self._buffer and self._refusal is None:
                self._is_closing = True  # the client has sent all that it wants to send
                self._transport.close()
            else:
                self._close_soon()
            return
        if request.size > SMALL_BODY_BYTES:
            self._read_short(is_short=True)
        if self._buffer:
            self._head_since_s = self.heard_s = self.loop.time()
            self._continue_parsing()
        elif self._has_eof:
            self._close_soon()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer bytes that are no request, after the current request, and close the connection."""
        self._refusal = status
        self.state.recorder.request_rejected(f"refused_{status.value}")
        self._buffer.clear()
        if self._current is not None:
            self._current.cancel()  # its body makes no sense
            return
        self.write(refusal(status))
        self._close_soon()

    def _close_soon(self) -> None:
        """Close after the client had time to read the answer.

        Closing at once, with bytes of the client unread, could make it lose the answer (see `Linger`).
        """
        self._is_closing = True
        self._buffer.clear()
        self._partial_head.resize(0)
        transport = self._transport
        if transport.is_closing():
            return
        if transport.can_write_eof() and not self._has_eof:
            transport.write_eof()
            if self._pauses:
                transport.resume_reading()  # to throw away what arrives
            self._linger = timeouts.Linger(self.loop, transport)
        else:
            transport.close()

    @property
    def is_paused(self) -> bool:
        """Whether the client does not read its response."""
        return bool(self._pauses & _CLIENT_READS_NOTHING)

    def write(self, data: bytes) -> None:
        """Send bytes, if the client is still there."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def write_large(self, *parts: bytes | memoryview) -> None:
        """Send large parts without joining them."""
        if not self._transport.is_closing():
            if not self._pauses & _CLIENT_READS_NOTHING:
                self._stall = None  # requests that wait now count from the next check
            self._transport.writelines(parts)

    def abort(self) -> None:
        """Close the connection at once; what is written is lost."""
        self._transport.abort()

    async def until_writable(self) -> None:
        """Return when the client has read its response, or has disconnected."""
        if self._pauses & _CLIENT_READS_NOTHING and not self._transport.is_closing():
            self._writable = self.loop.create_future()
            await self._writable
