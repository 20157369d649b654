"""Denormal numbers are zero in the threads that run models."""

from __future__ import annotations

import threading

from tfsctl.server.process.floating_point import flush_denormals


def test_denormals_are_zero_in_a_thread_and_in_those_that_it_starts() -> None:
    """Other threads compute with them as before."""
    smallest = [2.2250738585072014e-308]  # the smallest normal number
    halves: dict[str, float] = {}

    def halve(name: str) -> None:
        halves[name] = smallest[0] * 0.5

    def flushed() -> None:
        flush_denormals()
        halve("flushed")
        child = threading.Thread(target=halve, args=("child",))
        child.start()
        child.join()

    thread = threading.Thread(target=flushed)
    thread.start()
    thread.join()
    halve("other")
    assert halves == {"flushed": 0.0, "child": 0.0, "other": smallest[0] / 2}
    assert halves["other"] > 0
