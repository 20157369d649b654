"""Ask a case and judge the answer, with the patience that reloads and calls made at the same moment need."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence

from agreement import Verdict, judge_grpc, judge_rest, judge_together
from asking_grpc import GrpcServer
from asking_rest import ask
from recorded_cases import GrpcCase, RestCase

SETTLE_S = 60.0  # what a reload asked for takes effect a little later
LATER_S = 0.0005
_TIMED_OUT = 504
_RELOAD = "HandleReloadConfigRequest"


def replay_rest(case: RestCase, host: str, port: int) -> Verdict:
    """Ask one REST case; once more if it took a machine under load longer than the 100 ms that server C gives it."""
    try:
        reply = ask(host, port, case)
        if reply.status == _TIMED_OUT != case.status:
            reply = ask(host, port, case)
        return judge_rest(case, reply)
    except (OSError, http.client.HTTPException) as error:
        return Verdict("differs", f"no answer: {error!r}")


def replay_grpc(case: GrpcCase, server: GrpcServer, *, deadline_s: float | None = None) -> Verdict:
    """Ask one gRPC case; one of a sequence again and again until it agrees, for a few seconds.

    `deadline_s` shortens the wait for calls whose answer never came.
    """
    is_endless = case.code == "DEADLINE_EXCEEDED" and deadline_s is not None and deadline_s < case.timeout_s
    last_try_s = time.monotonic() + (SETTLE_S if case.sequence and case.method != _RELOAD else 0.0)
    while True:
        verdict = judge_grpc(case, server.ask(case, timeout_s=deadline_s if is_endless else None), server)
        if verdict.agrees or time.monotonic() > last_try_s:
            return verdict
        time.sleep(0.05)


def replay_together(cases: Sequence[GrpcCase], server: GrpcServer, *, kinds_only: bool, tries: int = 5) -> Verdict:
    """Ask cases at the same moment, a few times over if need be: microseconds decide who is merged with whom.

    At each further try the last call comes a little later, so that however fast the machine is, it is alone in the end.
    """
    for late_s in (LATER_S * index for index in range(tries - 1)):
        verdict = judge_together(cases, server.ask_together(cases, late_s), server, kinds_only=kinds_only)
        if verdict.agrees:
            return verdict
    return judge_together(cases, server.ask_together(cases, LATER_S * tries), server, kinds_only=kinds_only)


def in_steps(cases: Sequence[GrpcCase]) -> list[list[GrpcCase]]:
    """The cases in order, those asked at the same moment in one step."""
    steps: list[list[GrpcCase]] = []
    for case in cases:
        if case.group and steps and steps[-1][0].group == case.group:
            steps[-1].append(case)
        else:
            steps.append([case])
    return steps
