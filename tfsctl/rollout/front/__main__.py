"""`python -m tfsctl.rollout.front`: the process of a front, which `tfsctl serve --front` starts.

Its discovery variable (see `engines/process/discovery_variable.py`) holds what to serve.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.process import discovery_variable
from tfsctl.errors import ExitCode, TfsctlError
from tfsctl.programs.processes import PARENT_VARIABLE
from tfsctl.programs.signals import StopSignals
from tfsctl.rollout.front import handover
from tfsctl.rollout.front.supervisor import Supervisor


def main() -> int:
    """Run the front until a signal, or until its parent ends if it may not outlive it. Returns the exit status."""
    # Child processes must not inherit these variables, which describe this process.
    discovery, parent = os.environ.pop(discovery_variable.VARIABLE, ""), os.environ.pop(PARENT_VARIABLE, None)
    predecessor = handover.from_variable(os.environ.pop(handover.VARIABLE, None))
    parsed = discovery_variable.parse(discovery, pid=os.getpid())
    if parsed is None or parsed[1] is None:
        say("this program is started by tfsctl serve --front")
        return ExitCode.USAGE
    with StopSignals() as signals:
        try:
            supervisor = Supervisor(LaunchSpec.from_document(parsed[1]), parsed[0].engine, say, predecessor=predecessor)
            supervisor.run(lambda: bool(signals.received) or (parent is not None and str(os.getppid()) != parent))
        except TfsctlError as error:
            say(error.message)
            return error.exit_code
    return ExitCode.OK


def say(text: str) -> None:
    """Write to the log of the front."""
    sys.stderr.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")  # noqa: DTZ005 - local time, as in other logs
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
