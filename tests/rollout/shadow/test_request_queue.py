"""The bounded queue of a collector."""

from __future__ import annotations

import threading

from tfsctl.rollout.shadow.copied_request import CopiedRequest
from tfsctl.rollout.shadow.request_queue import RequestQueue


def request(body: bytes) -> CopiedRequest:
    return CopiedRequest(False, {}, body)


def test_the_queue_is_bounded_by_requests_and_by_bytes() -> None:
    """What does not fit is refused; a place is free again once a request was taken."""
    queue = RequestQueue(max_requests=2, max_bytes=10)
    assert queue.put(request(b"12345"))
    assert not queue.put(request(b"123456"))
    assert queue.put(request(b"1"))
    assert not queue.put(request(b""))
    taken = queue.get()
    assert taken is not None
    assert taken.body == b"12345"
    assert queue.put(request(b"123456789"))
    assert queue.clear() == 2
    assert queue.put(request(b"1234567890"))


def test_a_closed_queue_is_emptied() -> None:
    """Threads that wait end."""
    queue = RequestQueue()
    found: list[CopiedRequest] = []
    thread = threading.Thread(target=lambda: found.extend(iter(queue.get, None)))
    thread.start()
    queue.put(request(b"1"))
    queue.close()
    thread.join()

    assert [one.body for one in found] == [b"1"]
    assert not queue.put(request(b"2"))
