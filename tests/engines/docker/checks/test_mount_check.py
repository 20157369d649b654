"""Whether the processes of a container can read the files of a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from echo_models import write_echo_model

from tfsctl.engines.docker.checks import mount_check
from tfsctl.engines.docker.checks.mount_check import Reader
from tfsctl.errors import EngineError

STRANGER = Reader(12345, frozenset({12345}))
ROOT_WITHOUT_CAPABILITIES = Reader(0, frozenset({0}))


def test_world_readable_files_can_be_read(echo: Path) -> None:
    """By a container with any user."""
    mount_check.check(echo, [echo / "1"], STRANGER)


@pytest.mark.parametrize(("path", "mode"), [("1/saved_model.pb", 0o600), ("1", 0o700), (".", 0o711)])
def test_private_files_are_refused_for_other_users(echo: Path, path: str, mode: int) -> None:
    """The error names the file or directory."""
    (echo / path).chmod(mode)

    with pytest.raises(EngineError, match=f"^the container cannot read {(echo / path).absolute()}: ") as refused:
        mount_check.check(echo, [echo / "1"], STRANGER)
    assert refused.value.hint == f"chmod -R a+rX {echo}"
    mount_check.check(echo, [echo / "1"], Reader(os.getuid(), frozenset()))
    mount_check.check(echo, [echo / "1"], None)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_root_without_capabilities_needs_permission(echo: Path) -> None:
    """It may not read private files of another user."""
    os.chown(echo / "1/saved_model.pb", 12345, 12345)
    (echo / "1/saved_model.pb").chmod(0o600)

    with pytest.raises(EngineError, match="its root has no capabilities"):
        mount_check.check(echo, [echo / "1"], ROOT_WITHOUT_CAPABILITIES)
    mount_check.check(echo, [echo / "1"], STRANGER)


def test_links_must_stay_inside_the_mount(echo: Path, tmp_path: Path) -> None:
    """An absolute link, or one that leads out, has no target in the container."""
    (echo / "2").symlink_to("1")
    mount_check.check(echo, [echo / "2"], STRANGER)

    for target in (str(echo / "1"), "../elsewhere/1"):
        (echo / "2").unlink()
        write_echo_model(tmp_path / "elsewhere/1") if target.startswith("..") else None
        (echo / "2").symlink_to(target)
        with pytest.raises(EngineError, match=f"^{echo}/2 is a link to {target}, outside the mounted directory"):
            mount_check.check(echo, [echo / "2"], STRANGER)

    (echo / "1/assets").mkdir()
    (echo / "1/assets/words.txt").symlink_to("/etc/passwd")
    with pytest.raises(EngineError, match=r"words\.txt is a link to /etc/passwd"):
        mount_check.check(echo, [echo / "1"], STRANGER)


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\r\nb"])
def test_paths_that_docker_cannot_represent_are_refused(tmp_path: Path, name: bytes) -> None:
    """Bytes that are not UTF-8, and CR LF, which Docker's CSV reader changes."""
    base = tmp_path / os.fsdecode(name)
    write_echo_model(base / "1")

    with pytest.raises(EngineError, match=r"^Docker cannot mount '[ -~]*': its name is not valid text$"):
        mount_check.check(base, [base / "1"], None)


def test_paths_in_hints_are_quoted(tmp_path: Path) -> None:
    """A path with a space can be pasted."""
    base = tmp_path / "my model"
    write_echo_model(base / "1")
    (base / "1").chmod(0o700)

    with pytest.raises(EngineError) as refused:
        mount_check.check(base, [base / "1"], STRANGER)
    assert refused.value.hint == f"chmod -R a+rX '{base}'"


def test_the_reader_is_the_user_of_the_container() -> None:
    """If the daemon remaps users, it is a user without rights."""
    assert mount_check.container_reader("7:8", remapped=False) == Reader(7, frozenset({8}))
    assert mount_check.container_reader(None, remapped=False).uid == os.getuid()
    assert mount_check.container_reader("0:0", remapped=True).uid == -1
