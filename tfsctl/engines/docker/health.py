"""The health check of a container. It needs only bash, which TensorFlow Serving's image has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

# The image has no curl, but bash can open TCP connections. The status code is not enough: the server answers 200 also
# for a model that is LOADING or has failed to load. The port and the models are arguments, never shell text.
_CHECK = """\
port=$1; shift
for model; do
  exec 3<>/dev/tcp/127.0.0.1/$port || exit 1
  printf 'GET /v1/models/%s HTTP/1.0\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' "$model" >&3
  answer=$(while IFS= read -r line || [[ $line ]]; do echo "$line"; done <&3)
  [[ $answer == *'"AVAILABLE"'* ]] || exit 1
done
"""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A program that exits with status 0 while the container is healthy, and how often Docker runs it (seconds).

    Docker waits for one interval before the first probe. `start_interval_s` replaces the interval until the container
    is healthy; only Docker 25 and later know it. Failures during the first `start_period_s` do not count.
    """

    command: tuple[str, ...]
    interval_s: int = 2
    timeout_s: int = 5
    start_period_s: int = 60
    retries: int = 15
    start_interval_s: int | None = None

    @property
    def shell_command(self) -> str:
        """The command as the text that `docker run --health-cmd` passes to a shell."""
        return shlex.join(self.command)


def health_check(models: Sequence[str], port: int, *, start_probes: bool = False) -> HealthCheck:
    """The check that each of these models has an AVAILABLE version. `port` is that of the REST API in the container.

    `start_probes` tells whether Docker knows `start_interval_s`. Otherwise the interval is short all the time.
    """
    command = ("bash", "-c", _CHECK, "health", str(port), *(quote(name, safe="") for name in models))
    if start_probes:
        return HealthCheck(command, interval_s=10, retries=3, start_interval_s=1)
    return HealthCheck(command)
