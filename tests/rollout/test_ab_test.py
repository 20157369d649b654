"""A whole A/B test behind a front."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fronts import Front
from waiting import wait_for

from tfsctl.core import protos, tensors
from tfsctl.programs import processes


def grpc_version(channel: grpc.Channel, user: str | None) -> str:
    """The version that answers a gRPC request of a user (None: without the header): version V answers V * x."""
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.0], np.float32)))
    predict: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    answer = predict(request.SerializeToString(), metadata=[("user-id", user)] if user else [], timeout=240)
    return f"{tensors.from_proto(protos.PredictResponse.FromString(answer).outputs['y'])[0]:g}"


@pytest.mark.server
def test_users_stay_on_their_version_and_their_outcomes_are_joined_with_it(front: Front, tmp_path: Path) -> None:
    """Users stay on their version over both protocols, and their outcomes are joined with exactly that version.

    The process of the front is killed meanwhile; no request is lost or counted twice.
    """
    front.add_version(2)
    assert "one arm must be the stable version" in front.run("ab", "m", "2=50", "3=50", code=2)
    assert "m has no label 'best'" in front.run("ab", "m", "best=50", "2=50", code=4)
    assert "there was no A/B test" in front.run("ab", "m", code=4)
    started = front.run("ab", "m", "stable=60", "2=40", "--sticky", "User-Id")
    assert [arm["percent"] for arm in started["arms"]] == [60, 40]
    assert "an A/B test of versions 1 and 2 of m is running" in front.run("ab", "m", "1=50", "2=50", code=2)
    assert "an A/B test" in front.run("canary", "m", "--version", 2, "--percent", 5, code=2)

    connection = front.connect()
    users = [f"user {number}" for number in range(100)]
    had = {user: front.ask(connection, {"user-id": user})[1] for user in users}
    os.kill(front.record["pid"], signal.SIGKILL)
    wait_for(lambda: processes.process_identity(front.record["pid"]) is None)
    with grpc.insecure_channel(f"127.0.0.1:{front.record['grpc_port']}") as channel:
        assert {user: grpc_version(channel, user) for user in users} == had
        assert grpc_version(channel, None) in ("1", "2")
    front.ask(connection)  # without a key
    front.ask(connection, {"x-tfsctl-experiment": "forged 1"}, "/v1/models/m/versions/1:predict")
    front.run("restart", "m")
    wait_for(lambda: sum(arm["requests"] for arm in front.run("ab", "m")["arms"]) >= 202)

    outcomes = tmp_path / "outcomes.csv"
    lines = [f"{user},{int(had[user] == '2' or number % 4 == 0)}" for number, user in enumerate(users)]
    outcomes.write_text("\n".join(["user_id,bought", *lines, "stranger,1"]))
    found = front.run("ab", "m", "--outcomes", outcomes)
    in_b = list(had.values()).count("2")
    assert [arm["keys"] for arm in found["arms"]] == [100 - in_b, in_b]
    assert sum(arm["requests"] for arm in found["arms"]) == 202
    assert sum(arm["without_key"] for arm in found["arms"]) == 2
    assert all(arm["errors"] == 0 and arm["latency_ms"]["p50"] > 0 for arm in found["arms"])
    joined = found["outcomes"]
    assert (joined["joined_rows"], joined["unjoined_rows"]["unknown_keys"]) == (100, ["stranger"])
    assert joined["arms"][1]["mean"] == 1.0
    assert joined["arms"][0]["mean"] == pytest.approx(
        sum(number % 4 == 0 for number, user in enumerate(users) if had[user] == "1") / (100 - in_b)
    )
    assert joined["difference"]["p_value"] < 0.001

    assert front.run("ab", "m", "--stop")["status"] == "aborted"
    assert "no A/B test is running" in front.run("ab", "m", "--stop", code=4)
    assert {front.ask(connection, {"user-id": user})[1] for user in users[:20]} == {"1"}
    assert json.loads(json.dumps(front.run("ab", "m")["arms"])) == found["arms"]
