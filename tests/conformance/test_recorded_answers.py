"""Our server answers as TensorFlow Serving did: every recorded case, on a server started like the recorded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import known_differences
import pytest
from agreement import Verdict
from grpc_caller import GrpcCaller, connected
from model_servers import Served
from recorded_cases import MODELS, GrpcCase, RestCase, grpc_cases, rest_cases
from recorded_servers import running_like
from replaying import group_concurrent, replay_concurrent, replay_grpc, replay_rest

pytestmark = pytest.mark.server

OTHER_SERVERS = ("B", "Bpad", "C", "D")
RELOAD_DEADLINE_S = 1.0  # a reload that is answered at all is answered within a third of this
REST, GRPC = rest_cases(), grpc_cases()


@pytest.fixture(scope="module")
def server_a(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our server, started like server A, for all its cases."""
    with running_like("A", tmp_path_factory.mktemp("A")) as server:
        yield server


@pytest.fixture(scope="module")
def grpc_a(server_a: Served) -> Iterator[GrpcCaller]:
    """A connection to server A."""
    with connected(server_a.host, server_a.grpc_port, MODELS) as server:
        yield server


def check(name: str, verdict: Verdict, differences: dict[str, str]) -> None:
    """Require that a case agrees, or that it differs if it is among the known differences."""
    if name in differences:
        assert not verdict.agrees, f"{name} agrees now: take it out of known_differences.py"
    else:
        assert verdict.agrees, verdict.why


@pytest.mark.parametrize("case", [case for case in REST if case.server == "A" and not case.is_about_http], ids=str)
def test_rest_answers_agree_with_the_recorded_ones(case: RestCase, server_a: Served) -> None:
    """Each REST case agrees, in status, body and content type."""
    check(case.name, replay_rest(case, server_a.host, server_a.rest_port), known_differences.COUNTED)


@pytest.mark.parametrize("case", [case for case in REST if case.is_about_http], ids=str)
def test_answers_to_unusual_http_agree_with_the_recorded_ones(case: RestCase, server_a: Served) -> None:
    """Odd verbs, paths and connections."""
    check(case.name, replay_rest(case, server_a.host, server_a.rest_port), {})


@pytest.mark.parametrize("case", [case for case in GRPC if case.server == "A" and not case.sequence], ids=str)
def test_grpc_answers_agree_with_the_recorded_ones(case: GrpcCase, grpc_a: GrpcCaller) -> None:
    """Each gRPC case agrees, in code and details or message."""
    check(case.name, replay_grpc(case, grpc_a), known_differences.COUNTED)


def test_a_sequence_of_reloads_agrees_with_the_recorded_one(grpc_a: GrpcCaller) -> None:
    """Each reload changes the state that the next one finds. They run after all other cases of server A."""
    for case in GRPC:
        if case.server == "A" and case.sequence and not case.is_unstable:
            verdict = replay_grpc(case, grpc_a, deadline_s=RELOAD_DEADLINE_S)
            assert verdict.agrees, f"{case}: {verdict.why}"


def test_reloads_of_a_server_without_retries_agree_with_the_recorded_ones(others: OtherServers) -> None:
    """One after the other, in one test: each reload changes the state that the next cases find."""
    for case in GRPC:
        if case.server == "R":
            verdict = replay_grpc(case, others.get("R").grpc)
            assert verdict.agrees, f"{case}: {verdict.why}"


@dataclass(frozen=True)
class OtherServer:
    """A running server with other flags, and a gRPC connection to it."""

    served: Served
    grpc: GrpcCaller


class OtherServers:
    """Starts servers on demand, one at a time."""

    def __init__(self, workspaces: pytest.TempPathFactory, stack: ExitStack) -> None:
        self._workspaces = workspaces
        self._stack = stack
        self._running: dict[str, OtherServer] = {}

    def get(self, name: str) -> OtherServer:
        """The server of that letter; the one before it is stopped."""
        if name not in self._running:
            self._stack.close()
            served = self._stack.enter_context(running_like(name, self._workspaces.mktemp(name)))
            caller = self._stack.enter_context(connected(served.host, served.grpc_port, MODELS))
            self._running = {name: OtherServer(served, caller)}
        return self._running[name]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherServers]:
    """Our server, started like each of OTHER_SERVERS, and like R."""
    with ExitStack() as stack:
        yield OtherServers(tmp_path_factory, stack)


def _other_cases() -> Iterator[Any]:
    """The cases of the other servers, server by server; concurrent calls are one case."""
    for name in OTHER_SERVERS:
        for step in group_concurrent([case for case in GRPC if case.server == name]):
            yield pytest.param(name, step, id=f"{name}-{step[0].group or step[0]}")
        for case in (case for case in REST if case.server == name):
            yield pytest.param(name, case, id=f"{name}-{case}")


@pytest.mark.parametrize(("name", "case"), list(_other_cases()))
def test_answers_of_servers_with_other_flags_agree_with_the_recorded_ones(
    name: str, case: list[GrpcCase] | RestCase, others: OtherServers
) -> None:
    """With batching, method-name check, CORS, a timeout, health or tensor_content."""
    differences = known_differences.OTHER_SERVERS.get(name, {})
    server = others.get(name)
    if isinstance(case, RestCase):
        check(case.name, replay_rest(case, server.served.host, server.served.rest_port), differences)
    elif group := case[0].group:
        tries, kinds_only = (1 if group in differences else 40), group in known_differences.MERGED_ANSWERS
        check(group, replay_concurrent(case, server.grpc, tries=tries, kinds_only=kinds_only), differences)
    else:
        check(case[0].name, replay_grpc(case[0], server.grpc), differences)
