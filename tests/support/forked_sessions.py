"""Has exports check their versions in processes of a fork server, which takes a twelfth of the CPU of a fresh process.

tests/exporter/test_check_process.py and others, without the fixture `export`, start fresh processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fork_servers import ForkServer

from tfsctl.exporter import session_process

SERVER = "SESSION_FORK_SERVER"  # the variable with the folder of the fork server
PRELOADED = ("tfsctl.exporter.session_worker", "tfsctl.server.runtime.capi:gil_released")


def install() -> None:
    """Have this process, and those forked from it, check versions in forks."""
    vars(session_process)["PipedProgram"] = forked_program(ForkServer.connected(Path(os.environ[SERVER])))


def forked_program(server: ForkServer) -> type:
    """A class like PipedProgram that starts forks of a server."""

    class ForkedProgram:
        """A PipedProgram that is a fork."""

        def __init__(self, argv: Sequence[str], *, working_directory: Path) -> None:
            _python, _option, module, *arguments = argv
            self._process, self.stdin, self.stdout = server.start_piped(
                f"{module}:main", *arguments, cwd=working_directory
            )
            self.wait, self.kill = self._process.wait, self._process.kill

        def stop(self) -> None:
            """Close its stdin, and wait until it has ended."""
            with suppress(OSError):  # it has ended, and a request was not sent
                self.stdin.close()
            self._process.wait()
            self.stdout.close()

    return ForkedProgram
