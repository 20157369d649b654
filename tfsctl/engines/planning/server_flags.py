"""Check the arguments of --server-arg, before the server ignores one or contradicts an option of ours."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence

from tfsctl.engines.launch_spec import EngineName
from tfsctl.errors import InvalidInput

# Flags that tfsctl sets itself -> the option that sets each.
_OWN_OPTIONS = {
    "port": "--grpc-port PORT",
    "rest_api_port": "--rest-port PORT",
    "host": "--host ADDRESS",
    "model_name": "--name NAME",
    "model_base_path": "the argument PATH",
    "model_config_file": "--config FILE",
    "batching_parameters_file": "--batching-file FILE",
    "monitoring_config_file": "--metrics",
    "ssl_config_file": "--ssl-cert FILE and --ssl-key FILE",
}


def check_server_flags(flags: Sequence[str], engine: EngineName) -> None:
    """Raise InvalidInput for a flag that the server would ignore or refuse, or that an option of tfsctl sets.

    The flags of the embedded server are known. Those of other servers depend on their version.
    """
    if engine == "embedded":
        _check_embedded(flags)
    for flag in flags:
        own = _OWN_OPTIONS.get(_name(flag))
        if own is not None:
            raise InvalidInput(f"--server-arg {flag} conflicts with a flag that tfsctl sets", hint=f"use {own}")
        if not flag.startswith("--"):
            raise InvalidInput(
                f"--server-arg {flag} is not a flag of the server: flags begin with --",
                hint=f"--server-arg={shlex.quote(f'--{flag.lstrip(chr(45))}')}",
            )


def _check_embedded(flags: Sequence[str]) -> None:
    from dataclasses import fields

    from tfsctl.server.config.command_line import parse
    from tfsctl.server.config.flags import WITHOUT_EFFECT, Flags

    known = [field.name for field in fields(Flags)]
    for flag in flags:
        name = _name(flag)
        if name in WITHOUT_EFFECT:
            raise InvalidInput(
                f"the embedded server does not support --{name}",
                hint=f"remove --server-arg {flag}, or serve with --engine docker or --engine binary",
            )
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InvalidInput(
                f"the embedded server has no flag --{name}",
                hint=f"did you mean --{close[0]}?" if close else "tfsctl-model-server --help lists its flags",
            )
    parsed = parse([flag for flag in flags if flag.startswith("--")])
    if parsed.error or parsed.unknown:
        wrong = parsed.error or f"--server-arg {parsed.unknown[0]} has no value."
        raise InvalidInput(
            wrong.removesuffix("."), hint="--server-arg=--FLAG=VALUE; tfsctl-model-server --help lists them"
        )


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]
