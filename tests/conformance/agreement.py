"""Whether an answer agrees with the recorded one.

Exactly: the same status and the same answer to the byte (gRPC: the same message). In meaning: the same status, equal
JSON or message with floats within 1e-5, texts equal but for white space. Anything else differs. REST answers must also
have the recorded content type and, where there were any, CORS headers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import json_format
from grpc_caller import GrpcCaller, GrpcReply
from recorded_cases import GrpcCase, RestCase
from rest_caller import RestReply

from tfsctl.core import tensors

_SHOWN = 300  # characters of an answer in a report


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an answer compares, and in what it differs."""

    kind: Literal["exact", "same", "differs"]
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the answer is the recorded one, to the byte or in meaning."""
        return self.kind != "differs"


def judge_rest(case: RestCase, reply: RestReply) -> Verdict:
    """Compare an HTTP answer with the recorded one."""
    expected = b"" if case.method == "HEAD" else case.answer
    if reply.status != case.status:
        return _differs("status", f"{reply.status} {reply.body[:_SHOWN]!r}", f"{case.status} {expected[:_SHOWN]!r}")
    wanted = _compared_headers(dict(case.answer_headers))
    if not wanted.items() <= reply.headers.items():
        return _differs("headers", reply.headers, wanted)
    if reply.body == expected:
        return Verdict("exact")
    try:
        if mean_the_same(json.loads(reply.body), json.loads(expected)):
            return Verdict("same")
    except ValueError:
        pass
    return _differs("body", reply.body, expected)


def judge_grpc(case: GrpcCase, reply: GrpcReply, server: GrpcCaller) -> Verdict:
    """Compare a gRPC answer with the recorded one."""
    if reply.code != case.code:
        return _differs("code", f"{reply.code} {reply.details}", f"{case.code} {case.details}")
    if case.code != "OK":
        wanted = server.with_models_folder(case.details)
        if reply.details == wanted:
            return Verdict("exact")
        return Verdict("same") if mean_the_same(reply.details, wanted) else _differs("details", reply.details, wanted)
    expected = server.expected_response(case)
    if reply.response == expected:
        return Verdict("exact")
    if not isinstance(expected, bytes) and mean_the_same(_plain(reply.response), _plain(expected)):
        return Verdict("same")
    return _differs("response", reply.response, expected)


def judge_concurrent(
    cases: Sequence[GrpcCase], replies: Sequence[GrpcReply], server: GrpcCaller, *, kinds_only: bool
) -> Verdict:
    """Compare answers to calls made at the same moment: the same kinds of answer, whichever call got which.

    Unless `kinds_only`, an answer where the recorded one was an answer too must be that one.
    """
    found = {(reply.code, reply.details) for reply in replies}
    wanted = {(case.code, server.with_models_folder(case.details) if case.code != "OK" else "") for case in cases}
    if found != wanted:
        return _differs("kinds of answer", sorted(found), sorted(wanted))
    both = [judge_grpc(c, r, server) for c, r in zip(cases, replies, strict=True) if c.code == r.code == "OK"]
    different = next((verdict for verdict in both if not verdict.agrees), None)
    return Verdict("exact") if different is None or kinds_only else different


def _differs(what: str, found: object, expected: object) -> Verdict:
    return Verdict("differs", f"{what} {str(found)[:_SHOWN]}, expected {str(expected)[:_SHOWN]}")


def _compared_headers(headers: dict[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in lower if name == "content-type" or name.startswith("access-control-")}


def _plain(message: Any) -> object:
    """A message as JSON values, the bytes of tensors as their numbers."""
    plain = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for name, tensor in getattr(message, "outputs", {}).items():
        if tensor.tensor_content:
            plain["outputs"][name]["tensor_content"] = tensors.from_proto(tensor).ravel().tolist()
    return plain


def mean_the_same(left: object, right: object) -> bool:
    """Whether two JSON values mean the same."""
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        both_nan = left != left and right != right  # noqa: PLR0124 - only NaN differs from itself
        return both_nan or left == right or math.isclose(left, right, rel_tol=1e-5, abs_tol=1e-6)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(mean_the_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(mean_the_same(left[key], right[key]) for key in left)
    if isinstance(left, str) and isinstance(right, str):
        return _words(left) == _words(right)
    return left == right


def _words(text: str) -> list[str]:
    """The words of a text, without the prefix that protobuf varies on purpose in printed messages."""
    return re.sub(r"goo\.gle/debug\w+", "", text).split()
