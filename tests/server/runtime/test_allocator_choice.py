"""TensorFlow takes tensors from the heap, which is given back, unless a model has convolutions."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from graph_models import GraphModel
from grpc_requests import PREDICT
from model_servers import own_mb, running_server
from scale_models import write_scale_model
from waiting import eventually

from tfsctl.core import protos, tensors
from tfsctl.server.runtime.allocator_choice import USE_HEAP, choose_allocator

MANY = 2_000_000  # values of a request, 8 MB
CLIENTS, REQUESTS = 24, 4


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USE_HEAP, "")  # so that what the test sets is removed at its end
    monkeypatch.delenv(USE_HEAP)


def write_convolution(version: Path, *, padding: int = 0) -> None:
    """Write a version whose graph has a convolution, after constants of this size."""
    model = GraphModel()
    model.constant("values", np.zeros(padding, np.uint8))
    model.op("Conv2D", "y", model.input("x"), "values", T="float32")
    model.write(version)


@pytest.mark.parametrize("padding", [0, 3_000_000])
def test_models_with_convolutions_keep_the_allocator_of_onednn(tmp_path: Path, padding: int) -> None:
    """All models are read, and of each the newest version."""
    write_scale_model(tmp_path / "scale" / "1", 2.0)
    write_scale_model(tmp_path / "images" / "1", 2.0)
    write_convolution(tmp_path / "images" / "2", padding=padding)
    choose_allocator([str(tmp_path / "scale"), str(tmp_path / "images")])

    assert USE_HEAP not in os.environ


def test_a_name_across_two_pieces_of_the_file_is_found(tmp_path: Path) -> None:
    """The file is read in pieces of 1 MiB."""
    file = tmp_path / "m" / "1" / "saved_model.pb"
    write_convolution(file.parents[0], padding=1_040_000)
    before = 1_040_000 - file.read_bytes().index(b"Conv")
    for end in range(7):
        write_convolution(file.parents[0], padding=before + 2**20 - end)
        assert file.read_bytes().index(b"Conv") == 2**20 - end
        choose_allocator([str(tmp_path / "m")])
        assert USE_HEAP not in os.environ


def test_other_models_use_the_heap(tmp_path: Path) -> None:
    """Also if an older version has a convolution, or if a model cannot be read, which is an error only later."""
    write_convolution(tmp_path / "m" / "1")
    write_scale_model(tmp_path / "m" / "2", 2.0)
    (tmp_path / "pipe" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe" / "1" / "saved_model.pb")
    (tmp_path / "empty").mkdir()
    choose_allocator([str(tmp_path / name) for name in ("m", "pipe", "empty", "none")] + ["s3://bucket/model"])

    assert os.environ[USE_HEAP] == "1"


def test_the_environment_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets the variable has measured."""
    monkeypatch.setenv(USE_HEAP, "0")
    choose_allocator([str(tmp_path)])

    assert os.environ[USE_HEAP] == "0"


@pytest.mark.server
def test_memory_of_many_large_requests_is_given_back(tmp_path: Path) -> None:
    """With oneDNN's allocator, 30 MB of it stayed with the server."""
    write_scale_model(tmp_path / "scale" / "1", 2.0)
    with running_server({"scale": tmp_path / "scale"}, tmp_path) as server:

        def ask(values: int) -> None:
            request = protos.PredictRequest(model_spec={"name": "scale"})
            tensors.fill_proto(request.inputs["x"], np.ones(values, np.float32), as_content=True)
            with grpc.insecure_channel(
                f"{server.host}:{server.grpc_port}", [("grpc.max_receive_message_length", -1)]
            ) as channel:
                call: Any = channel.unary_unary(PREDICT)
                for _ in range(REQUESTS):
                    assert len(call(request.SerializeToString(), timeout=240)) > values

        ask(1000)  # the first runs take memory that stays
        before = own_mb(server.pid)
        clients = [threading.Thread(target=ask, args=(MANY,)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

        eventually(lambda: own_mb(server.pid) < before + 20, expected=True)
