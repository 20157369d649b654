"""How a container says that it is healthy: a check that needs nothing but the bash of TensorFlow Serving's image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfsctl.engines.docker.container_spec import REST_PORT

# TensorFlow Serving's image has no curl; its entrypoint is a bash script, and bash opens TCP connections itself. An
# answer is not enough: a model that is LOADING, or has failed to, is answered for with status 200 too.
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
    """A program that ends with status 0 while the container is healthy, and how often Docker runs it (seconds).

    It may fail until `start_period_s` have passed without being held against the container.
    """

    command: tuple[str, ...]
    interval_s: int = 10
    timeout_s: int = 5
    start_period_s: int = 60
    retries: int = 3


def check_of(models: Sequence[str]) -> HealthCheck:
    """The check that every one of these models has a version that is AVAILABLE. Their names need no quotes."""
    return HealthCheck(("bash", "-c", _CHECK.format(names=" ".join(models), port=REST_PORT)))
