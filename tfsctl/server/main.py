"""The `tfsctl-model-server` command: a drop-in for `tensorflow_model_server`."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

from tfsctl.server.app.listening import check_addresses, check_grpc_address
from tfsctl.server.batching.parameters import server_parameters
from tfsctl.server.config import command_line, tls
from tfsctl.server.config.configured_models import configured_models
from tfsctl.server.config.flags import START_FAILED, WITHOUT_EFFECT
from tfsctl.server.config.session_config import check_session_flags
from tfsctl.server.process import open_files, shutdown
from tfsctl.server.process.logs import FORMAT, write_line
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it. Exit codes are `tensorflow_model_server`'s: 0, or 255 if it cannot start."""
    open_files.open_standard()
    arguments = sys.argv[1:] if arguments is None else arguments
    parsed = command_line.parse(arguments)
    if parsed.error:
        write_line(sys.stderr, f"E {parsed.error}")
        write_line(sys.stdout, command_line.usage())
        return START_FAILED
    if parsed.wants_help:
        write_line(sys.stdout, command_line.usage())
        return START_FAILED
    if parsed.flags.version:
        _print_version()
        return 0
    for argument in parsed.unknown:
        write_line(sys.stdout, f"unknown argument: {argument}")
    if parsed.unknown:
        write_line(sys.stdout, command_line.usage())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORMAT)
    if without_effect := [f"--{name}" for name in parsed.set_flags if name in WITHOUT_EFFECT]:
        log.warning("Without effect in this server: %s", ", ".join(without_effect))
    try:
        command_line.check_choices(parsed.flags)
        check_grpc_address(parsed.flags)
        configured_models(parsed.flags)
        server_parameters(parsed.flags)
        check_session_flags(parsed.flags)
        credentials = tls.read_credentials(parsed.flags)
        flags = check_addresses(parsed.flags)
    except ServingError as error:
        write_line(sys.stdout, f"Failed to start server. Error: {error}")
        return START_FAILED
    shutdown.end_with_parent(signal.SIGTERM)
    shutdown.hold_signals()  # before anything starts a thread: NumPy does when it is imported
    from tfsctl.server.app import run as server_run

    return server_run.serve(flags, credentials)


def _print_version() -> None:
    from importlib.metadata import version

    write_line(
        sys.stdout, f"TensorFlow ModelServer: tfsctl {version('tfsctl')}\nTensorFlow Library: {version('tensorflow')}"
    )
