"""Finding a model on disk, and the errors for paths that hold none."""

from __future__ import annotations

from pathlib import Path

import pytest
from echo_models import write_echo_model

from tfsctl.engines.model_on_disk import find_model
from tfsctl.engines.planning import model_arguments
from tfsctl.errors import InvalidInput, ModelUnreadable, NotFound, TfsctlError
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy


def test_a_base_directory_serves_its_highest_version(tmp_path: Path) -> None:
    """The name is the directory's, the policy the default one. Directories without a number do not count."""
    for version in ("9", "00000010", "draft"):
        write_echo_model(tmp_path / "echo" / version)
    found = find_model(tmp_path / "echo")

    assert found.config == ModelConfig("echo", str(tmp_path / "echo"))
    assert (found.version, found.pinned) == (10, False)
    assert found.saved_model.path == tmp_path / "echo/00000010"


def test_a_version_directory_is_served_from_its_parent(tmp_path: Path) -> None:
    """The policy pins that version, although there is a higher one. A symbolic link to it works too."""
    write_echo_model(tmp_path / "echo/1")
    write_echo_model(tmp_path / "echo/2")
    (tmp_path / "current").symlink_to(tmp_path / "echo/1")
    found = find_model(tmp_path / "echo/1")

    assert found.config == ModelConfig("echo", str(tmp_path / "echo"), VersionPolicy(specific=(1,)))
    assert (found.version, found.pinned) == (1, True)
    assert find_model(tmp_path / "current") == found


def test_a_relative_path_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of `.` is named after the working directory."""
    write_echo_model(tmp_path / "echo/1")
    monkeypatch.chdir(tmp_path / "echo")

    assert find_model(Path()).config == ModelConfig("echo", str(tmp_path / "echo"))


def refusal(path: Path, name: str | None = None) -> TfsctlError:
    """The error for a path."""
    with pytest.raises(TfsctlError) as refused:
        find_model(path, name=name)
    return refused.value


def test_each_kind_of_wrong_path_has_its_own_hint(tmp_path: Path) -> None:
    """A missing, an empty, a parent and an unnumbered directory, and files."""
    write_echo_model(tmp_path / "models/echo/1")
    write_echo_model(tmp_path / "saved")
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.keras").write_bytes(b"")

    missing = refusal(tmp_path / "nowhere")
    assert isinstance(missing, NotFound)
    assert missing.hint == ""
    assert refusal(tmp_path / "model").hint == f"did you mean {tmp_path}/models?"

    empty = refusal(tmp_path / "empty")
    assert isinstance(empty, NotFound)
    assert empty.message == f"no version of a model in {tmp_path}/empty: it has no numbered directory"
    assert empty.hint == f"tfsctl export SOURCE --to {tmp_path} --name empty"

    above = refusal(tmp_path / "models")
    assert above.hint == f"tfsctl serve {tmp_path}/models/echo"

    unnumbered = refusal(tmp_path / "saved")
    assert isinstance(unnumbered, InvalidInput)
    assert unnumbered.message == f"{tmp_path}/saved holds a SavedModel itself, and 'saved' is not a version number"
    assert unnumbered.hint.startswith(f"tfsctl export {tmp_path}/saved ")

    (tmp_path / "saved").rename(tmp_path / "it's saved")
    assert refusal(tmp_path / "it's saved").hint.startswith(f"""tfsctl export '{tmp_path}/it'"'"'s saved' """)

    assert refusal(tmp_path / "model.keras").hint == f"tfsctl export {tmp_path}/model.keras"
    assert refusal(tmp_path / "models/echo/1/saved_model.pb").hint == f"tfsctl serve {tmp_path}/models/echo/1"


def test_an_unreadable_version_is_refused(tmp_path: Path) -> None:
    """An empty version directory and a truncated file are different errors."""
    (tmp_path / "copying/3").mkdir(parents=True)
    without = refusal(tmp_path / "copying")
    assert isinstance(without, NotFound)
    assert without.message == f"no saved_model.pb in {tmp_path}/copying/3"

    write_echo_model(tmp_path / "cut/1")
    file = tmp_path / "cut/1/saved_model.pb"
    file.write_bytes(file.read_bytes()[:-20])
    assert isinstance(refusal(tmp_path / "cut"), ModelUnreadable)


@pytest.mark.parametrize(("name", "valid"), [("my model", "my_model"), ("a/b", "a_b"), ("", "model")])
def test_an_invalid_name_is_refused_with_a_valid_one(tmp_path: Path, name: str, valid: str) -> None:
    """The hint is an option that works."""
    write_echo_model(tmp_path / "echo/1")
    refused = refusal(tmp_path / "echo", name)

    assert isinstance(refused, InvalidInput)
    assert refused.hint == f"--name {valid}"
    assert find_model(tmp_path / "echo", name=valid).name == valid


def test_the_directory_may_have_any_name_if_the_model_has_one(tmp_path: Path) -> None:
    """Only the name is restricted, not the path."""
    base = tmp_path / 'it\'s, "ähm" =a model'
    write_echo_model(base / "1")
    assert refusal(base).hint == "--name it_s_hm_a_model"
    assert find_model(base, name="odd").config == ModelConfig("odd", str(base))


@pytest.mark.parametrize("name", ["v1", "1.0", "2024-01-01"])
def test_a_saved_model_in_a_misnamed_directory_is_named(tmp_path: Path, name: str) -> None:
    """The hint exports that SavedModel under a valid version number."""
    write_echo_model(tmp_path / "echo" / name)
    refused = refusal(tmp_path / "echo")

    assert isinstance(refused, NotFound)
    assert refused.message == f"{tmp_path}/echo/{name} is a SavedModel, and {name} is not a version number"
    assert refused.hint == f"tfsctl export {tmp_path}/echo/{name} --to {tmp_path} --name echo"


def test_a_version_number_that_is_too_large(tmp_path: Path) -> None:
    """Versions are signed 64-bit numbers."""
    number = "99999999999999999999"
    write_echo_model(tmp_path / "echo" / number)
    too_large = "larger than 9223372036854775807, the highest version number"

    assert (
        refusal(tmp_path / "echo").message == f"{tmp_path}/echo/{number} is a SavedModel, and {number} is {too_large}"
    )
    assert refusal(tmp_path / "echo" / number).message.endswith(f"itself, and '{number}' is {too_large}")


@pytest.mark.parametrize("url", ["s3://bucket/a/m", "gs://bucket/a/m", "hdfs://host/a/m", "az://bucket/a/m"])
def test_a_url_of_an_object_store_is_refused(url: str) -> None:
    """The error shows the URL as it was typed, the hint says that the model must be copied."""
    for refused in (refusal(Path(url)), refusal_of_argument(f"m={url}")):
        assert isinstance(refused, InvalidInput)
        assert refused.message == f"{url} is not a directory of this machine"
        assert refused.hint.startswith("copy the model ")


def refusal_of_argument(argument: str) -> TfsctlError:
    """The error for an argument of --model."""
    with pytest.raises(TfsctlError) as refused:
        model_arguments.parse(argument)
    return refused.value


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    """So is a relative path with a colon, if that directory exists."""
    write_echo_model(tmp_path / "echo/1")
    assert find_model(Path(f"file://{tmp_path}/echo")) == find_model(tmp_path / "echo")

    write_echo_model(tmp_path / "s3:/bucket/echo/1")
    assert find_model(tmp_path / "s3:/bucket/echo").name == "echo"
