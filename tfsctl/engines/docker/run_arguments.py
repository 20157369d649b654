"""The arguments of --docker-arg, read as `docker run` reads them.

tfsctl promises where the server listens, what the container may do and see, and how it is stopped. Arguments that would
break such a promise are refused if tfsctl has an option for them; others are noted.
"""

from __future__ import annotations

import csv
import posixpath
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tfsctl.engines.docker.container_spec import CONFIG, MODELS
from tfsctl.engines.docker.labels import OWN_LABELS
from tfsctl.errors import InvalidInput

# Options of `docker run` without a value. All others take one.
_SWITCHES = frozenset(
    {"detach", "disable-content-trust", "help", "init", "interactive", "no-healthcheck", "oom-kill-disable"}
    | {"privileged", "publish-all", "quiet", "read-only", "rm", "sig-proxy", "tty", "use-api-socket"}
)
_LONG_NAMES = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "P": "publish-all",
    "p": "publish",
    "q": "quiet",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
    "net": "network",
    "dns-opt": "dns-option",
}
# An option of `docker run` -> the options of tfsctl that do the same, and keep its promises.
_REPLACED_BY = {
    "cap-add": "--cap-add CAPABILITY",
    "env": "--env NAME=VALUE",
    "gpus": "--gpus GPUS",
    "name": "--name NAME",
    "network": "--network NAME",
    "platform": "--platform OS/ARCH",
    "publish": "--host ADDRESS --rest-port PORT --grpc-port PORT",
    "publish-all": "--rest-port 0 --grpc-port 0",
    "pull": "--pull always|missing|never",
    "restart": "--restart POLICY",
    "user": "--user UID:GID",
}
_HOST_NAMESPACES = ("cgroupns", "ipc", "pid", "userns", "uts")


class RunOption(NamedTuple):
    """One option of `docker run`: its long name, its value (`true` for a switch) and how it was written."""

    name: str
    value: str
    written: str

    @property
    def is_on(self) -> bool:
        """Whether a switch is set."""
        return self.value.lower() not in ("false", "0", "f")


def check(arguments: Sequence[str]) -> None:
    """Raise InvalidInput for arguments that are not options, and for those that would break a promise of tfsctl."""
    for option in parse(arguments):
        reason = _refusal(option)
        if reason:
            what, hint = reason
            raise InvalidInput(f"--docker-arg {option.written} {what}", hint=hint)


def notes(arguments: Sequence[str]) -> list[str]:
    """A note on each option that undoes a part of the hardening."""
    return [
        f"--docker-arg {option.written}: {what}"
        for option in parse(arguments)
        if (what := _weakening(option.name, option.value, is_on=option.is_on))
    ]


def parse(arguments: Sequence[str]) -> Iterator[RunOption]:
    """The options in these arguments, in every spelling: `--x=y`, `--x y`, `-xy`, `-x y` and `-abc`.

    Raises InvalidInput for an argument that Docker would take for the image, and for an option without its value.
    """
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-") or argument in ("-", "--"):
            raise InvalidInput(
                f"--docker-arg {shlex.quote(argument)} is not an option of docker run: Docker would run it as the image",
                hint="--image NAME chooses the image; --docker-arg=--OPTION=VALUE passes an option",
            )
        if " " in argument.partition("=")[0]:
            words = " ".join(f"--docker-arg={shlex.quote(word)}" for word in argument.split(maxsplit=1))
            raise InvalidInput(f"--docker-arg {argument!r} holds several arguments", hint=words)
        if argument.startswith("--"):
            yield _long(argument, rest)
        else:
            yield from _short(argument, rest)


def _long(argument: str, rest: list[str]) -> RunOption:
    name, equals, value = argument.removeprefix("--").partition("=")
    name = _LONG_NAMES.get(name, name)
    if equals:
        return RunOption(name, value, argument)
    return RunOption(name, "true", argument) if name in _SWITCHES else _with_next(name, argument, rest)


def _short(argument: str, rest: list[str]) -> Iterator[RunOption]:
    """The options of `-abc`: switches, of which the last may be an option with a value."""
    letters = argument.removeprefix("-")
    for index, letter in enumerate(letters):
        name, value = _LONG_NAMES.get(letter, letter), letters[index + 1 :]
        if name in _SWITCHES and not value.startswith("="):
            yield RunOption(name, "true", f"-{letter}")
            continue
        yield RunOption(name, value.removeprefix("="), argument) if value else _with_next(name, argument, rest)
        return


def _with_next(name: str, argument: str, rest: list[str]) -> RunOption:
    if not rest:
        raise InvalidInput(f"--docker-arg {argument} has no value", hint=f"--docker-arg={argument}=VALUE")
    value = rest.pop(0)
    return RunOption(name, value, f"{argument} {shlex.quote(value)}")


def _refusal(option: RunOption) -> tuple[str, str] | None:
    """Why an option is refused, and the hint; None if it is not."""
    name, value, _ = option
    if name in _REPLACED_BY and (name != "publish-all" or option.is_on):
        return "would override what tfsctl sets", f"use tfsctl's own option: {_REPLACED_BY[name]}"
    if name == "label" and value.startswith(OWN_LABELS):
        return "would override a label of tfsctl", "--label KEY=VALUE"
    if name == "read-only" and not option.is_on:
        return "would override what tfsctl sets", "use tfsctl's own option: --writable-root"
    if name == "security-opt" and value in ("no-new-privileges=false", "no-new-privileges:false"):
        return "would override what tfsctl sets", "use tfsctl's own option: --new-privileges"
    if name in ("detach", "init") and not option.is_on:
        return "would keep tfsctl from stopping the container", "leave it out"
    if _covers_a_mount(name, value):
        return f"would hide what tfsctl mounts in {MODELS} and {CONFIG}", "mount it in another directory"
    return None


def _weakening(name: str, value: str, *, is_on: bool) -> str:
    """How an option undoes the hardening; empty if it does not."""
    if name == "privileged" and is_on:
        return "the container gets all rights of root on this machine"
    if name in _HOST_NAMESPACES and value == "host":
        return f"the container shares the {name} namespace of this machine"
    if name in ("device", "device-cgroup-rule", "volumes-from"):
        return "the container gets access to more of this machine"
    if name == "security-opt":
        return "changes the security options of the container"
    if name == "pids-limit" and (value == "0" or value.startswith("-")):
        return "the number of processes is not limited"
    if name == "entrypoint":
        return "the image's own entrypoint, which starts the server, is not run"
    return ""


def _covers_a_mount(name: str, value: str) -> bool:
    """Whether a mount option has a target in a directory where tfsctl mounts models or config files."""
    if name == "volume":
        parts = value.split(":")
        target = parts[1] if len(parts) > 1 else parts[0]
    elif name == "tmpfs":
        target = value.partition(":")[0]
    elif name == "mount":
        fields = (field.partition("=") for field in next(csv.reader([value]), []))
        target = next((text for key, _, text in fields if key.lower() in ("target", "dst", "destination")), "")
    else:
        return False
    target = posixpath.normpath(target)
    return any(target == place or target.startswith(f"{place}/") for place in (MODELS, CONFIG))
