"""What is refused before anything starts, and in which words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo_models import write_echo_model

from tfsctl.engines.planning import ports
from tfsctl.engines.planning.preflight import check_free, find_model
from tfsctl.engines.registry.records import RunningServer
from tfsctl.errors import EngineError, InvalidInput, ModelUnreadable, NotFound, TfsctlError
from tfsctl.serving_config.serving_config import ModelConfig, ServingConfig, VersionPolicy


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that someone listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_base_directory_serves_its_highest_version(tmp_path: Path) -> None:
    """Named after the directory, by TensorFlow Serving's default policy; directories without a number do not count."""
    for version in ("9", "00000010", "draft"):
        write_echo_model(tmp_path / "echo" / version)
    found = find_model(tmp_path / "echo")

    assert found.model == ModelConfig("echo", str(tmp_path / "echo"))
    assert (found.version, found.pinned) == (10, False)
    assert found.saved_model.path == tmp_path / "echo/00000010"


def test_a_version_directory_is_served_from_its_parent(tmp_path: Path) -> None:
    """Pinned to it, although there is a higher one; also by way of a link."""
    write_echo_model(tmp_path / "echo/1")
    write_echo_model(tmp_path / "echo/2")
    (tmp_path / "current").symlink_to(tmp_path / "echo/1")
    found = find_model(tmp_path / "echo/1")

    assert found.model == ModelConfig("echo", str(tmp_path / "echo"), VersionPolicy(specific=(1,)))
    assert (found.version, found.pinned) == (1, True)
    assert find_model(tmp_path / "current") == found


def test_a_path_is_taken_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` is a path, and its directory's name the model's."""
    write_echo_model(tmp_path / "echo/1")
    monkeypatch.chdir(tmp_path / "echo")

    assert find_model(Path()).model == ModelConfig("echo", str(tmp_path / "echo"))


def refusal(path: Path, name: str | None = None) -> TfsctlError:
    """The error for a path."""
    with pytest.raises(TfsctlError) as refused:
        find_model(path, name=name)
    return refused.value


def test_a_directory_that_is_no_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Each kind of wrong path has words of its own."""
    write_echo_model(tmp_path / "models/echo/1")
    write_echo_model(tmp_path / "saved")
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.keras").write_bytes(b"")

    missing = refusal(tmp_path / "nowhere")
    assert isinstance(missing, NotFound)

    empty = refusal(tmp_path / "empty")
    assert isinstance(empty, NotFound)
    assert empty.message == f"no version of a model in {tmp_path}/empty: it has no directory with a number for a name"
    assert empty.hint == f"tfsctl export SOURCE --to {tmp_path} --name empty"

    above = refusal(tmp_path / "models")
    assert above.hint == f"tfsctl serve {tmp_path}/models/echo"

    unnumbered = refusal(tmp_path / "saved")
    assert isinstance(unnumbered, InvalidInput)
    assert unnumbered.message == f"{tmp_path}/saved holds a SavedModel itself, and 'saved' is no version number"
    assert unnumbered.hint.startswith(f"tfsctl export {tmp_path}/saved ")

    (tmp_path / "saved").rename(tmp_path / "it's saved")
    assert refusal(tmp_path / "it's saved").hint.startswith(f"""tfsctl export '{tmp_path}/it'"'"'s saved' """)

    assert refusal(tmp_path / "model.keras").hint == f"tfsctl export {tmp_path}/model.keras"
    assert refusal(tmp_path / "models/echo/1/saved_model.pb").hint == f"tfsctl serve {tmp_path}/models/echo/1"


def test_a_version_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """An empty version directory and a file cut short are told apart."""
    (tmp_path / "copying/3").mkdir(parents=True)
    without = refusal(tmp_path / "copying")
    assert isinstance(without, NotFound)
    assert without.message == f"no saved_model.pb in {tmp_path}/copying/3"

    write_echo_model(tmp_path / "cut/1")
    file = tmp_path / "cut/1/saved_model.pb"
    file.write_bytes(file.read_bytes()[:-20])
    assert isinstance(refusal(tmp_path / "cut"), ModelUnreadable)


@pytest.mark.parametrize(
    ("name", "fitting"), [("my model", "my_model"), ("a/b", "a_b"), ("m:1", "m_1"), ("größe", "gr_e"), ("", "model")]
)
def test_a_name_fits_everywhere_it_is_used(tmp_path: Path, name: str, fitting: str) -> None:
    """In URLs, in container names and in the shell script of the image; the hint is a name that does."""
    write_echo_model(tmp_path / "echo/1")
    refused = refusal(tmp_path / "echo", name)

    assert isinstance(refused, InvalidInput)
    assert refused.hint == f"--name {fitting}"
    assert find_model(tmp_path / "echo", name=fitting).model.name == fitting


def test_the_directory_may_be_called_anything_if_the_model_is_named(tmp_path: Path) -> None:
    """Only the name is restricted, not the path."""
    base = tmp_path / 'it\'s, "ähm" =a model'
    write_echo_model(base / "1")
    assert refusal(base).hint == "--name it_s_hm_a_model"
    assert find_model(base, name="odd").model == ModelConfig("odd", str(base))


def test_a_taken_port_is_named_with_its_user(taken: int) -> None:
    """If one of our servers has it, that one is named, and how to stop it."""
    ours = RunningServer("other", "binary", "127.0.0.1", 1, taken, ("other",), 1, None, 0.0, None)
    check_free("new", "127.0.0.1", [0, 0], [ours])

    with pytest.raises(EngineError, match=f"^port {taken} of 127.0.0.1 is in use$") as stranger:
        check_free("new", "127.0.0.1", [taken, 0], [])
    assert stranger.value.hint == "--rest-port 0 --grpc-port 0 take free ones"
    with pytest.raises(EngineError, match=rf"^port {taken} .* is in use by the server other \(binary\)$") as known:
        check_free("new", "127.0.0.1", [0, taken], [ours])
    assert known.value.hint.startswith("tfsctl stop other, or ")


def test_a_taken_name_is_refused() -> None:
    """The server that has it is said."""
    ours = RunningServer("echo", "embedded", "127.0.0.1", 8501, 8500, ("echo",), 1, None, 0.0, None)
    with pytest.raises(EngineError, match=r"^a server named echo runs already, at http://127.0.0.1:8501 \(embedded\)$"):
        check_free("echo", "127.0.0.1", [0, 0], [ours])


def test_one_port_is_not_enough_for_both() -> None:
    """REST and gRPC are two ports; TensorFlow Serving would silently leave REST out."""
    with pytest.raises(InvalidInput, match="cannot share port 9000"):
        check_free("echo", "127.0.0.1", [9000, 9000], [])


def test_a_port_someone_listens_on_is_taken_everywhere(taken: int) -> None:
    """Listening on all addresses needs it as well; a port of a closed listener is free at once."""
    assert ports.is_taken("127.0.0.1", taken)
    assert ports.is_taken("0.0.0.0", taken)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", free)):
            listener.accept()[0].close()
    assert not ports.is_taken("127.0.0.1", free)


def test_an_address_of_another_machine_is_refused() -> None:
    """A server cannot listen where this machine is not."""
    with pytest.raises(InvalidInput, match=r"^this machine does not have the address 192\.0\.2\.1$"):
        ports.is_taken("192.0.2.1", 0)


def test_a_host_is_turned_into_a_number() -> None:
    """Servers and Docker take no names; IPv4 comes first, as clients try it."""
    assert [ports.address_of(host) for host in ("localhost", "127.0.0.1", "::1", "[::1]", "0.0.0.0")] == [
        *("127.0.0.1", "127.0.0.1", "::1", "::1", "0.0.0.0")
    ]
    with pytest.raises(InvalidInput, match=r"^there is no host 'no such host': "):
        ports.address_of("no such host")


def test_free_ports_are_two_and_free() -> None:
    """Only what is 0 is replaced."""
    config = ServingConfig((ModelConfig("m", "/m"),), grpc_port=0, rest_port=0)
    chosen = ports.with_free_ports(config, "127.0.0.1")

    assert 0 not in (chosen.rest_port, chosen.grpc_port)
    assert chosen.rest_port != chosen.grpc_port
    assert not ports.is_taken("127.0.0.1", chosen.rest_port)
    assert ports.with_free_ports(chosen, "127.0.0.1") == chosen
