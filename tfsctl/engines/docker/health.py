"""The health check of a container. It needs only bash, which TensorFlow Serving's image has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tfsctl.engines.docker.container_spec import REST_PORT

# The image has no curl, but bash can open TCP connections. The status code is not enough: the server answers 200 also
# for a model that is LOADING or has failed to load.
_CHECK = """\
for model in {names}; do
  exec 3<>/dev/tcp/127.0.0.1/{port} || exit 1
  printf 'GET /v1/models/%s HTTP/1.0\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' "$model" >&3
  answer=$(while IFS= read -r line || [[ $line ]]; do echo "$line"; done <&3)
  [[ $answer == *'"AVAILABLE"'* ]] || exit 1
done
"""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A program that exits with status 0 while the container is healthy, and how often Docker runs it (seconds).

    Failures during the first `start_period_s` do not count.
    """

    command: tuple[str, ...]
    interval_s: int = 10
    timeout_s: int = 5
    start_period_s: int = 60
    retries: int = 3


def health_check(models: Sequence[str]) -> HealthCheck:
    """The check that each of these models has an AVAILABLE version.

    Names are URL-quoted, which also leaves nothing in them that a shell would interpret.
    """
    names = [quote(name, safe="").replace("~", "%7E") for name in models]
    return HealthCheck(("bash", "-c", _CHECK.format(names=" ".join(names), port=REST_PORT)))
