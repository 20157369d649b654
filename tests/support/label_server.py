"""A model on a pretended server, kept in files, whose labels can be changed; and commands that are killed at a step.

`python label_server.py FOLDER` forks one process after another. Process N moves `stable` from version 1 to 2 in FOLDER/N,
and kills itself at its step N. The first one with fewer than N steps is the last. Prints their exit statuses as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tfsctl.core.history import journal
from tfsctl.core.types import VersionStatus
from tfsctl.errors import RequestRejected
from tfsctl.rollout.labels import intent, label_changes
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy, model_from_document

BEFORE = ModelConfig("m", "/m", VersionPolicy(specific=(0, 1)), {"stable": 1, "previous": 0})


class FakeModel:
    """The model `m` of the versions 0, 1 and 2. The stored configuration and that of the server are files.

    `at_step` is called before and after each change of a file. Versions in `broken` do not load, and the calls to the
    server whose numbers are in `refused` fail.
    """

    server, name, key, target = "fake", "m", "fake/m", "m"

    def __init__(
        self, folder: Path, at_step: Callable[[], None] = lambda: None, broken: tuple[int, ...] = (), refused: str = ""
    ) -> None:
        self._folder, self._at_step, self._broken, self._refused = folder, at_step, broken, refused
        self._calls = 0
        self._old_errors: dict[int, str] = {}
        if not (folder / "stored").exists():
            for version in range(3):
                (folder / "m" / str(version)).mkdir(parents=True)
                (folder / "m" / str(version) / "saved_model.pb").touch()
            self._write("stored", BEFORE)
            self._write("served", BEFORE)

    @property
    def base(self) -> Path | None:
        """The directory of the model."""
        return self._folder / "m"

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:  # noqa: ARG002 - the protocol
        """No lock: the tests run one command at a time."""
        yield

    def config(self) -> ModelConfig:
        """The stored configuration."""
        return self.read("stored")

    def save(self, config: ModelConfig) -> None:
        """Store a configuration."""
        self._write("stored", config)

    def reload(self, config: ModelConfig) -> None:
        """Have the server use a configuration. As TensorFlow Serving, it refuses a label of a version not loaded."""
        self._calls += 1
        if str(self._calls) in self._refused:
            raise RequestRejected("refused", status="INTERNAL")
        served = self.read("served")
        loaded = set(served.policy.specific or ()) - set(self._broken)
        if not set(config.labels.values()) <= loaded:
            raise RequestRejected("not currently available for inference", status="FAILED_PRECONDITION")
        self._write("served", config)

    def statuses(self) -> tuple[VersionStatus, ...]:
        """Every version of the served configuration is AVAILABLE at once."""
        return tuple(
            VersionStatus(version, "END", "INTERNAL", "it is broken")
            if version in self._broken
            else VersionStatus(version, "AVAILABLE")
            for version in self.read("served").policy.specific or ()
        )

    def load_failures(self) -> Mapping[int, str]:
        """None."""
        return {}

    def restart_note(self) -> str:
        """None."""
        return ""

    def read(self, what: str) -> ModelConfig:
        """The configuration in a file: `stored` or `served`."""
        return model_from_document(json.loads((self._folder / what).read_text()))

    def _write(self, what: str, config: ModelConfig) -> None:
        self._at_step()
        (self._folder / f"{what}.new").write_text(json.dumps(asdict(config)))
        (self._folder / f"{what}.new").rename(self._folder / what)
        self._at_step()


def main() -> None:
    """Fork until a process has fewer steps than its number."""
    statuses: list[int] = []
    while not statuses or statuses[-1] < 0:
        number = len(statuses) + 1
        pid = os.fork()
        if not pid:
            folder = Path(sys.argv[1], str(number))
            os.environ["TFSCTL_STATE_DIR"] = str(folder / "state")
            promote_and_die(folder, number)
            os._exit(0)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.stdout.write(json.dumps(statuses))


def promote_and_die(folder: Path, deadly: int) -> None:
    """Promote version 2, and kill this process at a step. Returns if there are fewer steps."""
    folder.mkdir()
    FakeModel(folder)
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            step()
            result = function(*arguments)
            step()
            return result

        return call

    for module, name in ((intent, "write"), (intent, "remove"), (journal, "append")):
        setattr(module, name, stepping(getattr(module, name)))
    label_changes.promote(FakeModel(folder, step), version=2)


if __name__ == "__main__":
    main()
