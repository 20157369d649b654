"""What is known of the request that the current task serves, without passing it through every call."""

from __future__ import annotations

from contextvars import ContextVar

current_client: ContextVar[object] = ContextVar("current_client", default=None)
"""Identifies the client's connection. Queues serve clients in turn, however many requests each of them sends."""
