"""Plans from options: several models, config files, batching, TLS and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from echo_models import write_echo_model

from tfsctl.engines import state_dir
from tfsctl.engines.launch_spec import EngineName
from tfsctl.engines.planning import model_arguments, serve_plan
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import InvalidInput, NotFound, TfsctlError
from tfsctl.serving_config import messages
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy
from tfsctl.serving_config.serving_config import TlsFiles


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with three versions."""
    for version in ("1", "2", "3"):
        write_echo_model(tmp_path / "echo" / version)
    return tmp_path / "echo"


def plan(**asked: Any) -> serve_plan.ServePlan:
    """The plan for the embedded engine."""
    return serve_plan.make_plan(ServeOptions(engine="embedded", **asked))


def flags(**asked: Any) -> list[str]:
    """The flags of the plan besides ports, name and base path, with the folder of the files left out."""
    planned = plan(**asked)
    return planned.launch.config.option_flags("DIR")


def refusal(**asked: Any) -> TfsctlError:
    """The error for a request."""
    with pytest.raises(TfsctlError) as refused:
        plan(**asked)
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
    assert refusal().message == "there is nothing to serve"


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
        (f"model_config_list {{ config {{ {entry} typo: 1 }} }}", f"{file} is no tensorflow.serving.ModelServerConfig"),
        (f"model_config_list {{ config {{ {entry} logging_config {{ }} }} }}", f"{file} asks for request logging"),
        (
            'model_config_list { config { name: "s" base_path: "s3://b/m" model_platform: "tensorflow" } }',
            "s is at s3:",
        ),
    ):
        file.write_text(text, encoding="utf-8")
        assert refusal(config_file=file).message.startswith(words)
    assert refusal(config_file=tmp_path / "none").message == f"there is no file {tmp_path}/none"


def test_batching_options(echo: Path, tmp_path: Path) -> None:
    """Without parameters, with parameters, or with a file. A misspelt name is refused."""
    assert flags(paths=(echo,), batching=True) == ["--enable_batching=true"]

    given = ("max_batch_size=32", "allowed_batch_sizes=8,32", "pad_variable_length_inputs=true")
    planned = plan(paths=(echo,), batching_parameters=given)
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
    assert refusal(paths=(echo,), batching_file=file).message.startswith(f"{file} is no ")
    misspelt = refusal(paths=(echo,), batching_parameters=("max_batch_sise=1",))
    assert (misspelt.message, misspelt.hint) == (
        "'max_batch_sise=1' is no batching parameter",
        "max_batch_size=VALUE",
    )
    assert isinstance(refusal(paths=(echo,), batching_parameters=("max_batch_size=many",)), InvalidInput)


def test_metrics_warmup_and_other_flags(echo: Path) -> None:
    """Each becomes the server's own flag. The text proto has the printed path."""
    planned = plan(paths=(echo,), metrics=True, warmup=False, server_flags=("--grpc_max_threads=9",))

    assert planned.launch.config.option_flags("DIR") == [
        "--monitoring_config_file=DIR/monitoring.config",
        "--enable_model_warmup=false",
        "--grpc_max_threads=9",
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
    assert refusal(paths=(echo,), tls=tls).message == f"{tmp_path}/key.pem is no PEM file"
    (tmp_path / "key.pem").unlink()
    assert refusal(paths=(echo,), tls=tls).message == f"there is no file {tmp_path}/key.pem"


def test_a_stored_spec_can_be_planned_again(echo: Path) -> None:
    """With the versions that are on disk then."""
    launch = plan(paths=(echo,)).launch
    write_echo_model(echo / "4")

    assert serve_plan.replan("embedded", launch).first_model.version == 4


@pytest.mark.parametrize("engine", ["embedded", "binary", "docker"])
def test_the_command_line_is_printed_without_writing_files(echo: Path, engine: EngineName) -> None:
    """`serve --dry-run` changes nothing on disk, although the command line refers to config files."""
    options = ServeOptions(paths=(echo,), engine=engine, metrics=True, batching_parameters=("max_batch_size=4",))
    command = serve_plan.make_plan(options).command()

    assert any("monitoring.config" in argument for argument in command)
    assert not state_dir.base().exists()


def test_a_server_argument_that_is_not_a_flag_is_refused(echo: Path) -> None:
    """The server would ignore it."""
    with pytest.raises(InvalidInput, match=r"^--server-arg grpc_max_threads=64 is not a flag") as refusal:
        plan(paths=(echo,), server_flags=("grpc_max_threads=64",))

    assert refusal.value.hint == "--server-arg=--grpc_max_threads=64"
    assert "--grpc_max_threads=64" in plan(paths=(echo,), server_flags=("--grpc_max_threads=64",)).command()
