"""Replay the recorded cases against a running model server, TensorFlow Serving's own for example, and report.

    python tests/conformance/check.py --rest-port 8501 --grpc-port 8500 [--server A] [--models DIR] [--only TEXT]

The server must have been started with the flags `recorded_servers.py` lists under its letter, and with DIR, the folder
of the models, in place of `{MODELS}` in the configuration file. Exit status: 0 if no counted case differs, else 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import known_differences
from agreement import Verdict
from grpc_caller import connected
from recorded_cases import MODELS, grpc_cases, rest_cases
from replaying import group_concurrent, replay_concurrent, replay_grpc, replay_rest

Outcome = tuple[str, bool, Verdict]  # the case, whether it counts, its verdict


def rest_outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    """Replay the REST cases."""
    for case in rest_cases():
        if case.server == options.server and options.only in case.name:
            verdict = replay_rest(case, options.host, options.rest_port)
            yield case.name, not case.is_about_http, verdict


def grpc_outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    """Replay the gRPC cases; those sent at the same moment are one outcome."""
    chosen = [case for case in grpc_cases() if case.server == options.server and options.only in case.name]
    with connected(options.host, options.grpc_port, options.models.resolve()) as server:
        for step in group_concurrent(chosen):
            if len(step) == 1:
                yield step[0].name, not step[0].is_unstable, replay_grpc(step[0], server)
            else:
                kinds_only = step[0].group in known_differences.MERGED_ANSWERS
                yield step[0].group, True, replay_concurrent(step, server, kinds_only=kinds_only)


def report(protocol: str, outcomes: Iterator[Outcome], show: int) -> bool:
    """Print the differences and the sums; whether every counted case agrees."""
    seen = list(outcomes)
    differences = [(name, counts, verdict) for name, counts, verdict in seen if not verdict.agrees]
    for name, counts, verdict in differences[:show]:
        print(f"{protocol}: {name}{'' if counts else ' (not counted)'}: {verdict.why}")
    counted = [verdict for _, counts, verdict in seen if counts]
    agreeing = [verdict for verdict in counted if verdict.agrees]
    others = [verdict for _, counts, verdict in seen if not counts]
    exact = sum(verdict.kind == "exact" for verdict in agreeing)
    print(f"{protocol}: {len(agreeing)} of {len(counted)} agree ({exact} exactly)", end="")
    print(f"; not counted: {sum(verdict.agrees for verdict in others)} of {len(others)}" if others else "")
    return len(agreeing) == len(counted)


def main() -> int:
    """Replay and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rest-port", type=int)
    parser.add_argument("--grpc-port", type=int)
    parser.add_argument("--server", default="A", help="the server of README.md whose cases to replay (default A)")
    parser.add_argument("--models", type=Path, default=MODELS, help="the folder the server has its models from")
    parser.add_argument("--only", default="", help="only cases whose name holds this text")
    parser.add_argument("--show", type=int, default=20, help="how many differences to print for each protocol")
    options = parser.parse_args()
    agrees = True
    if options.rest_port:
        agrees &= report("REST", rest_outcomes(options), options.show)
    if options.grpc_port:
        agrees &= report("gRPC", grpc_outcomes(options), options.show)
    return 0 if agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())
