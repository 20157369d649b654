"""A config file that is rewritten in place, while a server polls it."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tfsctl.clients.grpc import GrpcClient
from tfsctl.core import protos
from tfsctl.errors import InvalidInput, RolloutError
from tfsctl.rollout.labels import managed_model
from tfsctl.rollout.labels.config_file import write_in_place
from tfsctl.serving_config import messages
from tfsctl.serving_config.model_config import ModelConfig, model_config_text


@pytest.mark.parametrize(("old", "new"), [("short", "a longer text\n"), ("a longer text\n", "short"), ("", "x")])
def test_the_file_stays_the_same_one(tmp_path: Path, old: str, new: str) -> None:
    """Its inode stays, so a container that mounts it sees the new content."""
    file = tmp_path / "models.config"
    file.write_text(old)
    inode = file.stat().st_ino
    write_in_place(file, new)

    assert (file.read_text(), file.stat().st_ino) == (new, inode)


def test_readers_see_the_old_content_the_new_one_or_an_invalid_file(tmp_path: Path) -> None:
    """A reader sees the old content, the new one, or what no server takes for a configuration."""
    file = tmp_path / "models.config"
    models = [ModelConfig(name, f"/{name}", labels={"stable": 1}) for name in ("first", "second", "third")]
    texts = [model_config_text(models), model_config_text(models[::2])]
    file.write_text(texts[0])
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        with file.open("rb") as opened:
            while not done.is_set():  # as TensorFlow reads files: all bytes of the file's size at once
                seen.add(os.pread(opened.fileno(), os.fstat(opened.fileno()).st_size, 0).decode())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        write_in_place(file, texts[number % 2])
    done.set()
    reader.join()
    for text in seen - set(texts):
        with pytest.raises(InvalidInput):
            messages.parse_text(protos.ModelServerConfig(), text, source="it")


def test_error_of_a_missing_config_file_names_it(tmp_path: Path) -> None:
    """The error names it."""
    with pytest.raises(RolloutError, match=r"cannot write .*gone: No such file"):
        write_in_place(tmp_path / "gone", "")


def test_a_config_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is undone, no copy is left that a later command would read, and the server is at its old labels."""
    file = tmp_path / "models.config"
    file.write_text("# mine\n" + model_config_text([ModelConfig("m", "/m", labels={"stable": 1})]))
    text = file.read_text()
    model = managed_model.ConfigFileModel(file, "m", GrpcClient("localhost", 9))
    before = model.config()

    def refuse(path: Path, _text: str) -> None:
        raise RolloutError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr(managed_model, "write_in_place", refuse)
    with pytest.raises(RolloutError, match="Read-only file system"):
        model.save(replace(before, labels={"stable": 2}))
    model.save(before)  # this is how a change is undone

    assert (file.read_text(), model.config()) == (text, before)
    file.write_text("}")
    with pytest.raises(InvalidInput):
        model.config()


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [
        ("localhost", 8500, "'a b' --config FILE"),
        ("::1", 8500, "'a b' --config FILE --host ::1 --port 8500"),
        ("10.0.0.5", 9, "'a b' --config FILE --host 10.0.0.5 --port 9"),
    ],
)
def test_the_model_of_a_config_file_in_hints(tmp_path: Path, host: str, port: int, target: str) -> None:
    """Hints have the options that chose it."""
    file = tmp_path / "models.config"
    file.write_text(model_config_text([ModelConfig("a b", "/m")]))
    model = managed_model.ConfigFileModel(file, "a b", GrpcClient(host, port))
    assert model.target == target.replace("FILE", str(file))
