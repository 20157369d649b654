"""`kill -9` of an export, at ten random moments of its life: no version is ever there that does not load."""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

import pytest
from exporting import Export, with_own_tmpdir
from fork_servers import ForkedProcess, ForkServer
from locations import SAMPLE_MODELS
from model_servers import clean_environment

from tfsctl.core.model_dir import STAGING_PREFIX, list_versions
from tfsctl.core.saved_model import read_saved_model

log = logging.getLogger(__name__)  # --log-level=info shows what was seen

MODEL = SAMPLE_MODELS / "half_plus_two.py"

# How many are killed in each step, known by the first word of its line. Most of them towards the end, where files are
# written and renamed; the last one when the version is there and the process is about to end.
KILLS = {"loading": 0, "building": 1, "tracing": 0, "writing": 3, "checking": 2, "publishing": 3, "next:": 1}
AT_ONCE = 2


def start(server: ForkServer, to: Path, environment: Mapping[str, str]) -> tuple[ForkedProcess, TextIO]:
    """Begin to export the model in a process with TensorFlow loaded; its steps can be read from stderr."""
    steps, stderr = os.pipe()
    with open(os.devnull, "r+b") as nothing:
        stdio = (nothing.fileno(), nothing.fileno(), stderr)
        process = server.start(
            "tfsctl.__main__:main", "export", MODEL, "--to", to, stdio=stdio, environment=environment
        )
    os.close(stderr)
    return process, os.fdopen(steps)


def timeline(server: ForkServer, to: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Export undisturbed; returns how many seconds each step took."""
    took: dict[str, float] = {}
    step, since = "", 0.0
    process, steps = start(server, to, environment)
    with steps:
        for line in steps:
            took[step] = time.monotonic() - since
            step, since = line.split()[0], time.monotonic()
        took[step] = time.monotonic() - since
    assert process.wait() == 0
    assert set(took) >= set(KILLS)
    return took


def kill(server: ForkServer, step: str, after_s: float, to: Path, environment: Mapping[str, str]) -> str:
    """Kill an export some time after a step began; returns the step in which it died, or `finished`."""
    process, steps = start(server, to, environment)
    with steps:
        for line in steps:
            if line.startswith(step):
                break
        time.sleep(after_s)
        process.kill()
    return step if process.wait() == -9 else "finished"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_export_leaves_no_version_that_does_not_load(
    export: Export, with_tensorflow: ForkServer, tmp_path: Path
) -> None:
    """Whatever the moment, a numeric directory is either not there or complete; a later export clears the rest away."""
    environment = with_own_tmpdir(clean_environment(tmp_path / "process"))
    took = timeline(with_tensorflow, tmp_path / "undisturbed", environment)
    whole = files_of(list_versions(tmp_path / "undisturbed" / "half_plus_two")[0].path)

    moment = random.Random()
    plan = [(step, moment.random() * took[step]) for step, count in KILLS.items() for _ in range(count)]
    places = [tmp_path / f"{number:02}-{step}" for number, (step, _) in enumerate(plan)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [
            pool.submit(kill, with_tensorflow, step, after_s, place, environment)
            for (step, after_s), place in zip(plan, places, strict=True)
        ]
        died = Counter(future.result() for future in running)

    bases = [place / "half_plus_two" for place in places]
    published = [found.path for base in bases if base.is_dir() for found in list_versions(base)]
    abandoned = [path for base in bases for path in base.glob(f"{STAGING_PREFIX}*")]
    log.info("died: %s; versions published: %s; left unfinished: %s", dict(died), len(published), len(abandoned))

    for path in published:
        assert files_of(path) == whole
        assert read_saved_model(path).signatures.keys() == {"serving_default", "classify_x_to_y", "regress_x_to_y"}
        loaded = export.source(path, "--to", tmp_path / "loaded", "--json")  # loads it with TensorFlow, and runs it
        assert all(check["ran"] for check in loaded.document["checks"].values())
    assert published, "no export lived to publish: nothing was tried"
    assert abandoned, "no export died while it was writing: nothing was tried"

    base = abandoned[0].parent
    assert export.source(MODEL, "--to", base.parent, "--json").code == 0
    assert not list(base.glob(f"{STAGING_PREFIX}*"))


def files_of(version: Path) -> set[str]:
    """The files of a version directory."""
    return {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
