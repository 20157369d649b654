"""Arguments of --docker-arg: read as `docker run` reads them, and refused if they break what tfsctl promises."""

from __future__ import annotations

import pytest

from tfsctl.engines.docker import run_arguments
from tfsctl.errors import InvalidInput


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--memory-swap=4g"], [("memory-swap", "4g")]),
        (["--memory-swap", "4g", "--rm"], [("memory-swap", "4g"), ("rm", "true")]),
        (["--rm=false"], [("rm", "false")]),
        (["--net=host"], [("network", "host")]),
        (["-it"], [("interactive", "true"), ("tty", "true")]),
        (["-u1000", "-m", "2g"], [("user", "1000"), ("memory", "2g")]),
        (["-itu", "7"], [("interactive", "true"), ("tty", "true"), ("user", "7")]),
        (["-p=80:80"], [("publish", "80:80")]),
        (["-P"], [("publish-all", "true")]),
    ],
)
def test_every_spelling_is_read(arguments: list[str], options: list[tuple[str, str]]) -> None:
    """Long and short options, with the value in the same argument or in the next."""
    assert [(option.name, option.value) for option in run_arguments.parse(arguments)] == options


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--network=host"], "--network NAME"),
        (["--network", "host"], "--network NAME"),
        (["--net=none"], "--network NAME"),
        (["--user", "1000"], "--user UID:GID"),
        (["-u1000:1000"], "--user UID:GID"),
        (["-p", "80:8501"], "--rest-port PORT"),
        (["--publish=0.0.0.0:80:8501"], "--host ADDRESS"),
        (["-dP"], "--rest-port 0"),
        (["--name=x"], "--name NAME"),
        (["--read-only=false"], "--writable-root"),
        (["--cap-add", "ALL"], "--cap-add CAPABILITY"),
        (["--security-opt=no-new-privileges:false"], "--new-privileges"),
        (["--restart=always"], "--restart POLICY"),
        (["--env", "A=b"], "--env NAME=VALUE"),
        (["--gpus=all"], "--gpus GPUS"),
        (["-l", "tfsctl.server=x"], "--label KEY=VALUE"),
        (["--detach=false"], "leave it out"),
        (["--init=0"], "leave it out"),
        (["-v", "/srv/x:/models/echo"], "mount it in another directory"),
        (["--volume=/srv/x:/models:ro"], "mount it in another directory"),
        (["--mount", "type=bind,source=/srv,target=/models/a/../echo"], "mount it in another directory"),
        (["--mount=type=tmpfs,dst=/etc/tfsctl"], "mount it in another directory"),
        (["--tmpfs", "/models/echo/1:rw"], "mount it in another directory"),
        (["-v", "/models"], "mount it in another directory"),
    ],
)
def test_what_breaks_a_promise_is_refused(arguments: list[str], hint: str) -> None:
    """The hint names tfsctl's own option."""
    with pytest.raises(InvalidInput, match=r"^--docker-arg -") as refused:
        run_arguments.check(arguments)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["ubuntu"], "--docker-arg ubuntu is not an option of docker run", "--image NAME"),
        (["--rm", "--"], "--docker-arg -- is not an option of docker run", "--image NAME"),
        (["--memory-swap"], "--docker-arg --memory-swap has no value", "--docker-arg=--memory-swap=VALUE"),
        (["--memory-swap 4g"], "holds several arguments", "--docker-arg=--memory-swap --docker-arg=4g"),
    ],
)
def test_arguments_that_are_not_options_are_refused(arguments: list[str], message: str, hint: str) -> None:
    """Docker would take the first one for the image."""
    with pytest.raises(InvalidInput) as refused:
        run_arguments.check(arguments)
    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        ["--memory-swap=4g", "--rm", "--log-driver=none", "--ulimit", "nofile=4096", "--cap-drop=ALL"],
        ["-v", "/data:/data:ro", "--mount", "type=bind,source=/models,target=/data,readonly", "--tmpfs=/scratch"],
        ["--read-only", "--init", "-d", "--publish-all=false", "--hostname", "--name"],
        ["--label=team=x", "--cpus=2", "--shm-size=1g"],
    ],
)
def test_other_arguments_are_passed_on(arguments: list[str]) -> None:
    """Without a note. A value may look like an option."""
    run_arguments.check(arguments)
    assert run_arguments.notes(arguments) == []


@pytest.mark.parametrize(
    ("argument", "note"),
    [
        ("--privileged", "all rights of root"),
        ("--pid=host", "shares the pid namespace"),
        ("--ipc=host", "shares the ipc namespace"),
        ("--device=/dev/kvm", "access to more of this machine"),
        ("--security-opt=seccomp=unconfined", "changes the security options"),
        ("--pids-limit=-1", "not limited"),
        ("--entrypoint=/bin/sh", "own entrypoint"),
    ],
)
def test_what_undoes_the_hardening_is_noted(argument: str, note: str) -> None:
    """There is no option of tfsctl for these."""
    run_arguments.check([argument])
    (found,) = run_arguments.notes([argument])
    assert found.startswith(f"--docker-arg {argument}: ")
    assert note in found


def test_a_switch_that_is_off_is_not_noted() -> None:
    """`--privileged=false` is Docker's default."""
    assert run_arguments.notes(["--privileged=false", "--pid=container:x"]) == []
