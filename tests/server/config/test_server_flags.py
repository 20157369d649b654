"""Flags that decide how models are loaded and run: threads, session, tags, custom operations, config file polling."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from custom_operations import build_triple_library, write_triple_model
from gates import closed_gate
from graph_models import GraphModel, write_rows_model
from grpc_requests import calling, predict
from model_servers import Served, failed_start, running_flags, running_server
from scale_models import write_scale_model
from tfrecords import write_records
from waiting import eventually, wait_for

from tfsctl.core import protos
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.server.config import command_line
from tfsctl.server.config.session_config import session_config
from tfsctl.server.process.resources import cpu_count


def states(server: Served, model: str) -> dict[str, str]:
    """The state of each version of a model; empty for an unknown model."""
    url = f"http://{server.host}:{server.rest_port}/v1/models/{model}"
    try:
        with urllib.request.urlopen(url, timeout=240) as response:
            return {v["version"]: v["state"] for v in json.load(response)["model_version_status"]}
    except urllib.error.HTTPError as error:
        with error:
            return {}


def publish(base: Path, version: str) -> None:
    """Add a version to a model, with one rename."""
    write_scale_model(base.parent / "draft", 2.0)
    (base.parent / "draft").rename(base / version)


def configured(*arguments: str) -> Any:
    """The session configuration from a command line."""
    return protos.ConfigProto.FromString(session_config(command_line.parse(arguments).flags))


def test_session_threads_come_from_the_flags() -> None:
    """One number for both kinds of threads, or one for each."""
    both = configured("--tensorflow_session_parallelism=3")
    each = configured("--tensorflow_intra_op_parallelism=2", "--tensorflow_inter_op_parallelism=5")

    assert (both.intra_op_parallelism_threads, both.inter_op_parallelism_threads) == (3, 3)
    assert (each.intra_op_parallelism_threads, each.inter_op_parallelism_threads) == (2, 5)


def test_few_threads_are_between_operations_until_a_crash(tmp_path: Path) -> None:
    """More threads take more CPU. Without a flag or a config file, runs after a crash have a pool of their own."""
    path = tmp_path / "session.config"
    path.write_text("session_inter_op_thread_pool { num_threads: 7 }")

    pools = configured().session_inter_op_thread_pool
    of_file = configured(f"--tensorflow_session_config_file={path}").session_inter_op_thread_pool

    assert [pool.num_threads for pool in pools] == [max(2, cpu_count()), cpu_count() + 8]
    assert len({pool.global_name for pool in pools} - {""}) == 2  # all sessions share them
    assert [pool.num_threads for pool in of_file] == [7]
    assert not configured("--tensorflow_inter_op_parallelism=5").session_inter_op_thread_pool


def test_flags_override_the_session_config_file(tmp_path: Path) -> None:
    """Values without a flag stay as in the file."""
    path = tmp_path / "session.config"
    path.write_text("intra_op_parallelism_threads: 7 inter_op_parallelism_threads: 8 allow_soft_placement: true")
    file_flag = f"--tensorflow_session_config_file={path}"

    file_only = configured(file_flag)
    with_flags = configured(file_flag, "--tensorflow_inter_op_parallelism=4", "--per_process_gpu_memory_fraction=0.5")

    assert (file_only.intra_op_parallelism_threads, file_only.inter_op_parallelism_threads) == (7, 8)
    assert (with_flags.intra_op_parallelism_threads, with_flags.inter_op_parallelism_threads) == (7, 4)
    assert with_flags.allow_soft_placement
    assert with_flags.gpu_options.per_process_gpu_memory_fraction == 0.5


@pytest.mark.server
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tensorflow_session_config_file=/nope"], "NOT_FOUND: /nope; No such file or directory"),
        (["--tensorflow_session_config_file={folder}/bad"], "INVALID_ARGUMENT: Invalid protobuf file: '{folder}/bad'"),
        (
            [f"--tensorflow_{kind}_parallelism=1" for kind in ("session", "intra_op", "inter_op")],
            "INVALID_ARGUMENT: Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all.",
        ),
        (
            ["--tensorflow_intra_op_parallelism=-4"],
            "INVALID_ARGUMENT: --tensorflow_intra_op_parallelism must not be negative; was -4",
        ),
        (
            ["--custom_op_library=/nope.so"],
            "NOT_FOUND: /nope.so: cannot open shared object file: No such file or directory",
        ),
        (["--custom_op_library={folder}/bad"], "NOT_FOUND: {folder}/bad: file too short"),
    ],
)
def test_invalid_session_flags_end_the_start(tmp_path: Path, flags: list[str], message: str) -> None:
    """In the real server's words, and TensorFlow's for libraries."""
    (tmp_path / "bad").write_text("nope")
    write_scale_model(tmp_path / "m" / "1", 2.0)
    formatted = [flag.format(folder=tmp_path) for flag in flags]
    done = failed_start(tmp_path, f"--model_base_path={tmp_path / 'm'}", *formatted)

    assert done.returncode == 255
    assert done.stdout == f"Failed to start server. Error: {message.format(folder=tmp_path)}\n"


@pytest.mark.server
def test_flags_without_effect_are_logged(tmp_path: Path) -> None:
    """Flags of the real server that this server ignores are named, and no others."""
    write_scale_model(tmp_path / "m" / "1", 2.0)
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--max_num_load_retries=1"]
    with running_flags([*flags, "--grpc_max_threads=8", "--enable_profiler=false", "--mixed_precision=x"], tmp_path):
        log = (tmp_path / "server.log").read_text().splitlines()

    assert [line.partition(" W ")[2] for line in log if " W " in line] == [
        "Without effect in this server: --grpc_max_threads, --enable_profiler, --mixed_precision"
    ]


@pytest.mark.server
def test_saved_model_tags_select_the_graph(tmp_path: Path) -> None:
    """All of its tags, in any order; the default tag finds no graph then."""
    graph = GraphModel("serve", "gpu")
    graph.input("x")
    graph.op("Neg", "y", "x", T="float32")
    graph.signature({"x": "x"}, {"y": "y"})
    graph.write(tmp_path / "m" / "1")
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--max_num_load_retries=0"]
    with running_flags([*flags, "--saved_model_tags=gpu,serve"], tmp_path) as server, calling(server) as ask:
        assert ask(predict("m", x=[2]))["y"] == [-2]

    done = failed_start(tmp_path, *flags)
    assert "NOT_FOUND: Could not find meta graph def matching supplied tags: { serve }" in done.stdout


@pytest.mark.server
def test_a_vocabulary_file_is_found_in_the_model(tmp_path: Path) -> None:
    """A TensorFlow 1 model with a table that its initialization reads from an asset."""
    graph = GraphModel()
    graph.input("x", "string")
    graph.constant("vocabulary", np.array("", object))
    graph.op("HashTableV2", "table", key_dtype="string", value_dtype="int64", shared_name="=words")
    graph.op("InitializeTableFromTextFileV2", "read", "table", "vocabulary", key_index=-2, value_index=-1)
    graph.op("NoOp", "init", "^read")
    graph.constant("unknown", np.int64(-1))
    graph.op("LookupTableFindV2", "y", "table", "x", "unknown", Tin="string", Tout="int64")
    graph.signature({"x": "x string"}, {"y": "y int64"})
    graph.meta_graph.collection_def["legacy_init_op"].node_list.value.append("init")
    graph.meta_graph.asset_file_def.add(filename="words.txt").tensor_info.name = "vocabulary:0"
    graph.write(tmp_path / "m" / "1")
    (tmp_path / "m" / "1" / "assets").mkdir()
    (tmp_path / "m" / "1" / "assets" / "words.txt").write_text("zero\none\ntwo\n")
    with running_server({"m": tmp_path / "m"}, tmp_path) as server, calling(server) as ask:
        assert ask(predict("m", x=np.array([b"two", b"zero", b"seven"], object)))["y"] == [2, 0, -1]


@pytest.mark.server
def test_custom_op_library_is_loaded_before_the_models(tmp_path: Path) -> None:
    """Without the library, the error names the missing operation."""
    library = build_triple_library(tmp_path / "triple.so")
    write_triple_model(tmp_path / "m" / "1")
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--max_num_load_retries=0"]

    with running_flags([*flags, f"--custom_op_library={library}"], tmp_path) as server, calling(server) as ask:
        assert ask(predict("m", x=[1, 2]))["y"] == [3, 6]
    assert "Op type not registered 'TfsctlTriple'" in failed_start(tmp_path, *flags).stdout


@pytest.mark.server
def test_a_model_config_file_is_polled(tmp_path: Path) -> None:
    """Models are added and removed with it; an invalid file changes nothing."""
    bases = {name: tmp_path / name for name in ("a", "b")}
    for base in bases.values():
        write_scale_model(base / "1", 2.0)

    def configure(*names: str, more: str = "") -> None:
        configs = [f'name: "{n}" base_path: "{bases[n]}" model_platform: "tensorflow" {more}' for n in names]
        entries = [f"config {{ {one} }}" for one in configs]
        draft = tmp_path / "draft"
        draft.write_text(f"model_config_list {{ {' '.join(entries)} }}")
        draft.rename(tmp_path / "all.config")

    configure("a")
    flags = [f"--model_config_file={tmp_path / 'all.config'}", "--model_config_file_poll_wait_seconds=1"]
    with running_flags(flags, tmp_path) as server:
        assert (states(server, "a"), states(server, "b")) == ({"1": "AVAILABLE"}, {})
        configure("a", "b")
        eventually(lambda: states(server, "b"), {"1": "AVAILABLE"})
        (tmp_path / "all.config").write_text("nonsense")
        eventually(lambda: "Failed to read ModelServerConfig file" in (tmp_path / "server.log").read_text(), True)
        assert (states(server, "a"), states(server, "b")) == ({"1": "AVAILABLE"}, {"1": "AVAILABLE"})
        configure("b")
        eventually(lambda: states(server, "a"), {"1": "END"})
        configure("a", "b", more="logging_config { }")
        eventually(lambda: "The logging_config of model a needs" in (tmp_path / "server.log").read_text(), True)
        assert (states(server, "a"), states(server, "b")) == ({"1": "END"}, {"1": "AVAILABLE"})


@pytest.mark.server
def test_a_model_config_file_is_not_polled_by_default(tmp_path: Path) -> None:
    """It is read once."""
    write_scale_model(tmp_path / "m" / "1", 2.0)
    with running_server({"m": tmp_path / "m"}, tmp_path) as server:
        (tmp_path / "models.config").write_text("nonsense")
        publish(tmp_path / "m", "2")
        eventually(lambda: states(server, "m"), {"1": "END", "2": "AVAILABLE"})  # it has looked for versions meanwhile
        publish(tmp_path / "m", "3")
        eventually(lambda: states(server, "m").get("3"), "AVAILABLE")
        assert "nonsense" not in (tmp_path / "server.log").read_text()


@pytest.mark.server
@pytest.mark.parametrize("threads", [0, 2])
def test_num_load_threads_limits_parallel_loads(tmp_path: Path, threads: int) -> None:
    """By default, versions are loaded one by one once the server has started."""
    bases = {name: tmp_path / name for name in ("a", "b")}
    for base in bases.values():
        write_rows_model(base / "1")
    with closed_gate(tmp_path / "gate") as gate:
        with running_server(bases, tmp_path, flags=[f"--num_load_threads={threads}"]) as server:
            for name, base in bases.items():
                write_rows_model(tmp_path / f"{name}-draft", gate=gate)
                log = protos.PredictionLog()
                log.predict_log.request.CopyFrom(predict(name, "gated", x=[1])[1])
                write_records(tmp_path / f"{name}-draft" / WARMUP_FILE, [log.SerializeToString()])
                (tmp_path / f"{name}-draft").rename(base / "2")
            # Each warmup waits at the gate. Of one at a time the second is not even begun while the first waits.
            gate.wait_for_run(max(1, threads))
            wait_for(lambda: all("2" in states(server, name) for name in bases))
            loading = sorted(states(server, name)["2"] for name in bases)
            gate.open()
            eventually(lambda: {states(server, name).get("2") for name in bases}, {"AVAILABLE"})

        assert loading == (["LOADING", "LOADING"] if threads else ["LOADING", "START"])
        assert gate.runs == 2
