"""Plans from options: several models, config files, batching, TLS and notes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from echo_models import write_echo_model

from tfsctl.cli.output import server_announcement
from tfsctl.core import protos
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.engines import state_dir
from tfsctl.engines.launch_spec import EngineName
from tfsctl.engines.planning import model_arguments, serve_plan
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound, TfsctlError
from tfsctl.serving_config import messages
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy, model_config_text
from tfsctl.serving_config.request_logging import RequestLogging
from tfsctl.serving_config.serving_config import ServingConfig, TlsFiles


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with three versions."""
    for version in ("1", "2", "3"):
        write_echo_model(tmp_path / "echo" / version)
    return tmp_path / "echo"


def plan(**options: Any) -> serve_plan.ServePlan:
    """The plan for the embedded engine."""
    return serve_plan.make_plan(ServeOptions(engine="embedded", **options))


def flags(**options: Any) -> list[str]:
    """The flags of the plan besides ports, name and base path, with the folder of the files left out."""
    planned = plan(**options)
    return planned.launch.config.option_flags("DIR")


def refusal(**options: Any) -> TfsctlError:
    """The error for a request."""
    with pytest.raises(TfsctlError) as refused:
        plan(**options)
    return refused.value


@pytest.mark.parametrize(
    ("argument", "model"),
    [
        ("m=/a", ModelConfig("m", "/a")),
        ("m=/a,b=c,d", ModelConfig("m", "/a,b=c,d")),
        ("m=/a,versions=all", ModelConfig("m", "/a", VersionPolicy(all_versions=True))),
        ("m=/a,versions=latest:2", ModelConfig("m", "/a", VersionPolicy(latest=2))),
        ("m=/a,versions=1,3", ModelConfig("m", "/a", VersionPolicy(specific=(1, 3)))),
        (
            "m=/a,labels=stable:1,canary:3,versions=1,3",
            ModelConfig("m", "/a", VersionPolicy(specific=(1, 3)), {"stable": 1, "canary": 3}),
        ),
    ],
)
def test_a_model_argument_with_versions_and_labels(argument: str, model: ModelConfig) -> None:
    """Only `,versions=` and `,labels=` end the path."""
    assert model_arguments.parse(argument) == model


@pytest.mark.parametrize(
    "argument",
    ["/a", "=/a", "m=", "m=/a,versions=one", "m=/a,versions=latest:0", "m=/a,labels=stable", "m=/a,labels=:1"],
)
def test_an_invalid_model_argument_is_refused(argument: str) -> None:
    """The hint has the right form."""
    with pytest.raises(InvalidInput) as refused:
        model_arguments.parse(argument)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("m=/a,version=1", "--model m=/a,version=1: there is no setting version", "write versions=…"),
        ("m=/a,versions=1,label=a:1", "'label=a:1' in 1,label=a:1 is not a version number", model_arguments.FORM),
        ("m=/a,label=a:1", "--model m=/a,label=a:1: there is no setting label", "write labels=…"),
        ("m=/a,versions=latest:0", "'latest:0' is not latest:N, with a number of at least 1", model_arguments.FORM),
    ],
)
def test_a_wrong_setting_of_a_model_argument_is_named(argument: str, message: str, hint: str) -> None:
    """A misspelt setting is not a part of the path."""
    with pytest.raises(InvalidInput) as refused:
        model_arguments.parse(argument)
    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_a_path_may_look_like_a_setting(tmp_path: Path) -> None:
    """If there is such a directory."""
    (tmp_path / "a,version=1").mkdir()
    assert model_arguments.parse(f"m={tmp_path}/a,version=1").base_path == f"{tmp_path}/a,version=1"


def test_several_models_in_one_server(echo: Path, tmp_path: Path) -> None:
    """Paths come first, then named models. The server has the given name."""
    write_echo_model(tmp_path / "other/7")
    planned = plan(paths=(tmp_path / "other",), models=(f"e={echo},versions=1,3,labels=stable:1",), name="shop")

    assert planned.launch.name == "shop"
    assert [(found.name, found.version, found.required_versions) for found in planned.models] == [
        ("other", 7, None),
        ("e", 3, (1, 3)),
    ]
    assert [found.folders for found in planned.models] == [(tmp_path / "other/7",), (echo / "3", echo / "1")]
    assert refusal(paths=(echo, echo)).message == "two models are named echo"
    assert refusal().message == "no model to serve was given"


def test_the_server_is_named_after_its_only_model(echo: Path) -> None:
    """--name names both."""
    assert plan(paths=(echo,)).launch.name == "echo"
    named = plan(paths=(echo,), name="review")
    assert (named.launch.name, named.first_model.name) == ("review", "review")


def test_missing_versions_and_labels_are_refused(echo: Path) -> None:
    """TensorFlow Serving would wait for them silently."""
    missing = refusal(models=(f"e={echo},versions=1,9",))
    assert isinstance(missing, NotFound)
    assert missing.message == f"e has no version 9: {echo} holds 1, 2, 3"
    assert refusal(models=(f"e={echo},labels=old:9",)).message == missing.message
    unserved = refusal(models=(f"e={echo},labels=old:1",))
    assert unserved.message == "the label old of e is for version 1, which would not be served (served: 3)"
    assert unserved.hint == "versions=1,3 serves it as well"


def test_every_served_version_is_checked(echo: Path) -> None:
    """The highest is read; the others must exist."""
    (echo / "1/saved_model.pb").unlink()

    assert plan(paths=(echo,)).first_model.version == 3
    assert refusal(models=(f"e={echo},versions=all",)).message == f"no saved_model.pb in {echo}/1"


def test_a_model_config_file_is_served(echo: Path, tmp_path: Path) -> None:
    """Its models, policies and labels. Its errors have TensorFlow Serving's messages."""
    file = tmp_path / "models.config"
    entry = f'name: "e" base_path: "{echo}" model_platform: "tensorflow"'
    policy = 'model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 }'
    file.write_text(f"model_config_list {{ config {{ {entry} {policy} }} }}", encoding="utf-8")
    planned = plan(config_file=file)

    assert planned.launch.config.models == (ModelConfig("e", str(echo), VersionPolicy(specific=(1, 2)), {"stable": 1}),)
    assert flags(config_file=file) == [
        "--model_config_file=DIR/models.config",
        "--allow_version_labels_for_unavailable_models=true",
    ]

    for text, words in (
        (f"model_config_list {{ config {{ {entry} }} config {{ {entry} }} }}", "Illegal to list model e multiple"),
        (
            f"model_config_list {{ config {{ {entry} typo: 1 }} }}",
            f"{file} is not a tensorflow.serving.ModelServerConfig",
        ),
        (f"model_config_list {{ config {{ {entry} logging_config {{ }} }} }}", "The logging_config of model e needs"),
        (
            'model_config_list { config { name: "s" base_path: "s3://b/m" model_platform: "tensorflow" } }',
            "s is at s3:",
        ),
    ):
        file.write_text(text, encoding="utf-8")
        assert refusal(config_file=file).message.startswith(words)
    assert refusal(config_file=tmp_path / "none").message == f"there is no file {tmp_path}/none"
    assert refusal(config_file=tmp_path / "models.confg").hint == f"did you mean {file}?"
    file.write_text("", encoding="utf-8")
    assert refusal(config_file=file).message == f"{file} lists no model"
    for name in ("", 'name: "" '):
        entry = f'{name}base_path: "{echo}" model_platform: "tensorflow"'
        file.write_text(f"model_config_list {{ config {{ {entry} }} }}", encoding="utf-8")
        assert refusal(config_file=file).message == f"{file} has a config without a name"


def test_one_port_for_rest_and_grpc_is_refused(echo: Path) -> None:
    """The server could not listen on it twice. With 0, each is a free port."""
    refused = refusal(paths=(echo,), rest_port=9000, grpc_port=9000)
    assert refused.message == "--rest-port and --grpc-port are both 9000"
    assert plan(paths=(echo,), rest_port=0, grpc_port=0).launch.name == "echo"


def test_request_logging_needs_the_embedded_server(echo: Path, tmp_path: Path) -> None:
    """No public build of TensorFlow Serving logs requests."""
    file = tmp_path / "models.config"
    logging = RequestLogging(f"{tmp_path}/r", 0.5, index=True, drop=("x",))
    file.write_text(model_config_text([ModelConfig("e", str(echo), logging=logging)]), encoding="utf-8")

    planned = plan(config_file=file)
    assert planned.launch.config.models[0].logging == logging
    assert "logging_config" in planned.launch.config.files()["models.config"]
    document = json.loads(json.dumps(asdict(planned.launch.config)))
    assert ServingConfig.from_document(document) == planned.launch.config
    with pytest.raises(InvalidInput, match="asks for request logging of e, which no public build") as refused:
        serve_plan._check_request_logging(planned.models, "docker")
    assert str(refused.value.hint).startswith("add --engine embedded")


def test_batching_options(echo: Path, tmp_path: Path) -> None:
    """Without parameters, with parameters, or with a file. A misspelt name is refused."""
    assert flags(paths=(echo,), batching=True) == ["--enable_batching=true"]

    parameters = ("max_batch_size=32", "allowed_batch_sizes=8,32", "pad_variable_length_inputs=true")
    planned = plan(paths=(echo,), batching_parameters=parameters)
    assert planned.launch.config.option_flags("DIR") == [
        "--enable_batching=true",
        "--batching_parameters_file=DIR/batching.config",
    ]
    message = messages.BatchingParameters()
    messages.parse_text(message, planned.launch.config.files()["batching.config"], source="")
    assert (message.max_batch_size.value, list(message.allowed_batch_sizes)) == (32, [8, 32])
    assert message.pad_variable_length_inputs is True

    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 64 }", encoding="utf-8")
    assert plan(paths=(echo,), batching_file=file).launch.config.files()["batching.config"] == file.read_text()
    file.write_text("max_batch_sise { value: 64 }", encoding="utf-8")
    assert refusal(paths=(echo,), batching_file=file).message.startswith(f"{file} is not a ")
    misspelt = refusal(paths=(echo,), batching_parameters=("max_batch_sise=1",))
    assert (misspelt.message, misspelt.hint) == (
        "'max_batch_sise=1' is not a batching parameter",
        "max_batch_size=VALUE",
    )
    assert isinstance(refusal(paths=(echo,), batching_parameters=("max_batch_size=many",)), InvalidInput)


def test_metrics_warmup_and_other_flags(echo: Path) -> None:
    """Each becomes the server's own flag. The text proto has the printed path."""
    planned = plan(paths=(echo,), metrics=True, warmup=False, server_flags=("--max_num_load_retries=9",))

    assert planned.launch.config.option_flags("DIR") == [
        "--monitoring_config_file=DIR/monitoring.config",
        "--enable_model_warmup=false",
        "--max_num_load_retries=9",
    ]
    assert 'path: "/monitoring/prometheus/metrics"' in planned.launch.config.files()["monitoring.config"]


def test_tls_is_read_from_pem_files(echo: Path, tmp_path: Path) -> None:
    """The config file has their contents; the stored spec only their names."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = TlsFiles(f"{tmp_path}/cert.pem", f"{tmp_path}/key.pem", f"{tmp_path}/ca.pem")
    planned = plan(paths=(echo,), tls=tls)

    assert planned.launch.config.option_flags("DIR") == ["--ssl_config_file=DIR/ssl.config"]
    message = messages.SSLConfig()
    messages.parse_text(message, planned.launch.config.files()["ssl.config"], source="")
    assert message.server_key == certificate.private_key_pem.bytes().decode()
    assert message.client_verify is True
    assert "PRIVATE" not in str(planned.launch.to_document())

    (tmp_path / "key.pem").write_bytes(b"\x30\x82")
    assert refusal(paths=(echo,), tls=tls).message == f"{tmp_path}/key.pem is not a PEM file"
    (tmp_path / "key.pem").unlink()
    assert refusal(paths=(echo,), tls=tls).message == f"there is no file {tmp_path}/key.pem"


def test_a_stored_spec_can_be_planned_again(echo: Path) -> None:
    """With the versions that are on disk then."""
    launch = plan(paths=(echo,)).launch
    write_echo_model(echo / "4")

    assert serve_plan.replan("embedded", launch).first_model.version == 4
    assert serve_plan.replan("embedded", launch).reason == ""
    assert serve_plan.replan("embedded", replace(launch, front=True)).reason == "behind Envoy"


@pytest.mark.parametrize("engine", ["embedded", "binary", "docker"])
def test_the_command_line_is_printed_without_writing_files(echo: Path, engine: EngineName) -> None:
    """`serve --dry-run` changes nothing on disk, although the command line refers to config files."""
    options = ServeOptions(paths=(echo,), engine=engine, metrics=True, batching_parameters=("max_batch_size=4",))
    command = serve_plan.make_plan(options).command()

    assert any("monitoring.config" in argument for argument in command)
    assert not state_dir.base().exists()


@pytest.mark.parametrize(
    ("flag", "message", "hint"),
    [
        ("--grpc_max_threads=64", "the embedded server does not support --grpc_max_threads", "remove --server-arg"),
        ("grpc_max_threads=64", "the embedded server does not support --grpc_max_threads", "remove --server-arg"),
        (
            "--num_load_thread=2",
            "the embedded server has no flag --num_load_thread",
            "did you mean --num_load_threads?",
        ),
        ("--zzz", "the embedded server has no flag --zzz", "tfsctl-model-server --help lists its flags"),
        (
            "num_load_threads=2",
            "--server-arg num_load_threads=2 is not a flag of the server: flags begin with --",
            None,
        ),
        ("--num_load_threads=x", "Couldn't interpret value x for flag num_load_threads", None),
        ("--num_load_threads", "--server-arg --num_load_threads has no value", None),
        ("--port=9000", "--server-arg --port=9000 conflicts with a flag that tfsctl sets", "use --grpc-port PORT"),
        ("--model_name=x", "--server-arg --model_name=x conflicts with a flag that tfsctl sets", "use --name NAME"),
    ],
)
def test_a_server_argument_that_the_server_would_ignore_is_refused(
    echo: Path, flag: str, message: str, hint: str | None
) -> None:
    """The error names the flag."""
    refused = refusal(paths=(echo,), server_flags=(flag,))
    assert refused.message == message
    assert refused.hint.startswith(hint or "--server-arg=--")


def test_server_arguments_of_other_servers_are_passed_on(echo: Path) -> None:
    """Their flags depend on their version."""
    planned = serve_plan.make_plan(
        ServeOptions(engine="docker", paths=(echo,), server_flags=("--grpc_max_threads=64", "--new_flag"))
    )
    assert planned.command()[-2:] == ["--grpc_max_threads=64", "--new_flag"]


def add_python(version: Path, *, where: str) -> None:
    """Add a call of Python to an echo model: in the graph, in a function that it calls, or where nothing calls it."""
    file = version / SAVED_MODEL_FILE
    saved = protos.SavedModel.FromString(file.read_bytes())
    graph = saved.meta_graphs[0].graph_def
    output = saved.meta_graphs[0].signature_def["serving_default"].outputs["x"]
    if where == "graph":
        node = graph.node.add(name="python", op="PyFunc", input=[output.name])
    else:
        function = graph.library.function.add()
        function.signature.name = "__inference_python_1"
        function.node_def.add(name="python", op="EagerPyFunc")
        node = graph.node.add(name="call", op="PartitionedCall", input=[output.name])
        node.attr["f"].func.name = "__inference_python_1"
    if where != "unused":
        output.name = f"{node.name}:0"
    file.write_bytes(saved.SerializeToString())


@pytest.mark.parametrize("engine", ["embedded", "binary", "docker"])
@pytest.mark.parametrize(
    ("where", "note"),
    [
        ("graph", "echo: signature serving_default calls Python code (PyFunc), and a model server has no Python, "),
        (
            "function",
            "echo: signature serving_default calls Python code (EagerPyFunc), and a model server has no Python",
        ),
        ("unused", "echo: the graph has Python code (EagerPyFunc), which no signature calls"),
    ],
)
def test_models_that_call_python_are_noted(tmp_path: Path, engine: EngineName, where: str, note: str) -> None:
    """With every engine, before the start."""
    write_echo_model(tmp_path / "echo" / "1", {"serving_default": {"x": ("float32", (None,))}})
    add_python(tmp_path / "echo" / "1", where=where)
    planned = serve_plan.make_plan(ServeOptions(engine=engine, paths=(tmp_path / "echo",)))
    assert any(line.startswith(note) for line in planned.notes), planned.notes
    example = server_announcement.example_commands(planned.first_model, RECORD, several=False)
    assert (example == (None, None)) is (where != "unused")


def test_python_in_another_served_version_is_noted(echo: Path) -> None:
    """The note names the version."""
    add_python(echo / "2", where="graph")
    (note,) = plan(models=(f"m={echo},versions=1,2,3",)).notes
    assert note.startswith("m version 2: signature serving_default calls Python code (PyFunc)")
    assert plan(paths=(echo,)).notes == ()


def test_sparse_signatures_are_noted(tmp_path: Path) -> None:
    """The example is of a signature that can be queried."""
    inputs: dict[str, Any] = {"x": ("float32", (None,))}
    write_echo_model(tmp_path / "m" / "1", {"serving_default": inputs, "other": inputs})
    file = tmp_path / "m" / "1" / SAVED_MODEL_FILE
    saved = protos.SavedModel.FromString(file.read_bytes())
    saved.meta_graphs[0].signature_def["serving_default"].outputs["x"].coo_sparse.values_tensor_name = "a:0"
    file.write_bytes(saved.SerializeToString())
    planned = plan(paths=(tmp_path / "m",))
    assert planned.notes == (
        "m: signature serving_default cannot be queried: output x is a sparse tensor, and requests hold dense tensors "
        "only",
    )
    curl, predict = server_announcement.example_commands(planned.first_model, RECORD, several=False)
    assert "other" in (curl or "")
    assert predict == "tfsctl predict 1.0 --signature other"


RECORD = ServerRecord("echo", "embedded", "127.0.0.1", 8501, 8500, ("echo",), 1, None, 0.0, None)
