"""Sends the request of a case and judges the answer, with the retries that reloads and concurrent calls need."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence

from agreement import Verdict, judge_concurrent, judge_grpc, judge_rest
from grpc_caller import GrpcCaller
from recorded_cases import GrpcCase, RestCase
from rest_caller import send_request
from waiting import PATIENCE_S

SETTLE_S = 60.0  # a reload takes effect a little later than its answer
LATER_S = 0.0005
_TIMED_OUT = 504
_RELOAD = "HandleReloadConfigRequest"


def replay_rest(case: RestCase, host: str, port: int) -> Verdict:
    """Replay one REST case; again while a busy machine takes longer than the 100 ms that server C allows."""
    last_try_s = time.monotonic() + PATIENCE_S
    try:
        reply = send_request(host, port, case)
        while reply.status == _TIMED_OUT != case.status and time.monotonic() < last_try_s:
            reply = send_request(host, port, case)
        return judge_rest(case, reply)
    except (OSError, http.client.HTTPException) as error:
        return Verdict("differs", f"no answer: {error!r}")


def replay_grpc(case: GrpcCase, server: GrpcCaller, *, deadline_s: float | None = None) -> Verdict:
    """Replay one gRPC case; one of a sequence again until it agrees, for at most SETTLE_S.

    `deadline_s` shortens the wait for calls that were never answered.
    """
    is_endless = case.code == "DEADLINE_EXCEEDED" and deadline_s is not None and deadline_s < case.timeout_s
    last_try_s = time.monotonic() + (SETTLE_S if case.sequence and case.method != _RELOAD else 0.0)
    while True:
        verdict = judge_grpc(case, server.call(case, timeout_s=deadline_s if is_endless else None), server)
        if verdict.agrees or time.monotonic() > last_try_s:
            return verdict
        time.sleep(0.05)


def replay_concurrent(cases: Sequence[GrpcCase], server: GrpcCaller, *, kinds_only: bool, tries: int = 5) -> Verdict:
    """Replay cases at the same moment, several times if need be: microseconds decide which calls are merged.

    At each further try the last call is sent a little later, so that it is alone in the end on a machine of any speed.
    """
    for late_s in (LATER_S * index for index in range(tries - 1)):
        verdict = judge_concurrent(cases, server.call_concurrently(cases, late_s), server, kinds_only=kinds_only)
        if verdict.agrees:
            return verdict
    return judge_concurrent(cases, server.call_concurrently(cases, LATER_S * tries), server, kinds_only=kinds_only)


def group_concurrent(cases: Sequence[GrpcCase]) -> list[list[GrpcCase]]:
    """The cases in order; those that were sent at the same moment are one group."""
    groups: list[list[GrpcCase]] = []
    for case in cases:
        if case.group and groups and groups[-1][0].group == case.group:
            groups[-1].append(case)
        else:
            groups.append([case])
    return groups
