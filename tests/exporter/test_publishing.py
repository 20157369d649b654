"""How a version comes to be there: whole, under a number of its own, or not at all."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from exporting import Export
from fork_servers import ForkServer
from model_servers import clean_environment

from tfsctl.core.history import journal
from tfsctl.core.history.journal import JOURNAL_FILE
from tfsctl.core.model_dir import list_versions
from tfsctl.core.version_files.file_hashes import hash_files

NET = """
    import keras
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
"""


def test_default_version_is_the_unix_time_and_always_the_highest(export: Export) -> None:
    """A second export in the same second gets the next number."""
    before = int(time.time())
    first = export(NET, "--json").document["version"]
    assert before <= first <= time.time()
    ahead = export(NET, "--json", "--version", first + 1000).document["version"]
    assert export(NET, "--json").document["version"] == ahead + 1


def test_existing_version_is_refused_before_the_model_is_built(export: Export) -> None:
    """The check comes first because training may take hours."""
    assert export(NET, "--version", 5).code == 0
    inside = (export.folder / "net" / "5" / "saved_model.pb").read_bytes()
    result = export("raise AssertionError('the model was built')", "--version", 5)
    assert result.code == 1
    assert result.stderr.splitlines()[0] == "error: version 5 already exists: net/5"
    assert (export.folder / "net" / "5" / "saved_model.pb").read_bytes() == inside


def test_version_with_leading_zeros_counts_as_existing(export: Export) -> None:
    """TensorFlow Serving reads 00000007 as 7."""
    (export.folder / "net" / "00000007").mkdir(parents=True)
    result = export(NET, "--version", 7)
    assert result.code == 1
    assert "version 7 already exists: net/00000007" in result.stderr


def test_version_of_a_concurrent_export_is_not_overwritten(export: Export) -> None:
    """Another export may publish the same --version while this one is training."""
    code = NET + "    import pathlib; pathlib.Path('net/5').mkdir(); pathlib.Path('net/5/theirs').touch()\n"
    result = export(code, "--version", 5)
    assert result.code == 1
    assert result.last_words[0] == f"error: version 5 already exists: {export.folder}/net/5"
    assert [path.name for path in (export.folder / "net").rglob("*")] == ["5", "theirs"]


@pytest.mark.parametrize("to", ["occupied", "occupied/deeper", "/proc/nowhere"])
def test_unwritable_directory_is_reported_before_tensorflow_is_loaded(export: Export, to: str) -> None:
    """A place that cannot be written is told before TensorFlow is loaded."""
    (export.folder / "occupied").write_text("a file")
    result = export(NET, "--to", to)
    assert result.code == 1
    assert result.stderr.startswith(f"error: cannot write in {export.folder / to}/net: ")
    assert result.stderr.splitlines()[1] == "hint: choose another directory with --to"


def test_failed_export_leaves_nothing(export: Export) -> None:
    """Directories that were made for an export go with it; those that were there stay."""
    (export.folder / "there").mkdir()
    assert export("raise ValueError", "--to", "there/new/deep").code == 1
    assert list((export.folder / "there").iterdir()) == []


def test_source_that_changes_directory_does_not_move_the_export(export: Export) -> None:
    """A relative target is relative to the directory of the command."""
    code = NET + "    import os, pathlib; pathlib.Path('deeper').mkdir(); os.chdir('deeper')\n"
    assert export(code, "--json").path.is_dir()
    assert list((export.folder / "deeper").iterdir()) == []
    assert export.source("net.py", "--json").code == 1  # it makes `deeper` where it began, where that is already
    assert len(list_versions(export.folder / "net")) == 1


FULL_DISK = """
import resource, sys
from tfsctl.cli import main
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
code = main(["export", "net.py"])
resource.setrlimit(resource.RLIMIT_FSIZE, limit)  # coverage writes a file at the end
sys.exit(code)
"""


def test_full_disk_is_reported_and_leaves_nothing(export: Export, with_tensorflow: ForkServer, tmp_path: Path) -> None:
    """When the files cannot be written (here: grow no further), the error says so and nothing is left."""
    (export.folder / "net.py").write_text(
        "import keras\nmodel = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
    )
    environment = clean_environment(tmp_path / "process")
    done = with_tensorflow.run_script(FULL_DISK, cwd=export.folder, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "File too large" in done.stderr.splitlines()[-1]
    assert not (export.folder / "net").exists()


@dataclass(frozen=True)
class ConcurrentExports:
    """Two exports of the same file to the same place, and the base directory of the model."""

    fresh: subprocess.CompletedProcess[str]
    forked: subprocess.CompletedProcess[str]
    base: Path


@pytest.fixture(scope="module")
def concurrent(with_tensorflow: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> ConcurrentExports:
    """Two exports with the same seed, which wait for each other.

    One of the processes is a fresh one: it hashes strings in its own way, so its sets have another order. It loads
    TensorFlow with --verbose.
    """
    folder = tmp_path_factory.mktemp("concurrent")
    waiting = 'import os, pathlib, time\npathlib.Path(f"ready-{os.getpid()}").touch()\n'
    waiting += 'while len(list(pathlib.Path(".").glob("ready-*"))) < 2: time.sleep(0.001)\n'
    (folder / "net.py").write_text(
        waiting + "import keras\nkeras.utils.set_random_seed(1)\nmodel = keras.Sequential(\n"
        "  [keras.Input((2,)), keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(1)])\n"
    )
    environment = clean_environment(tmp_path_factory.mktemp("process"))
    arguments = ("export", "net.py", "--json")
    argv = [sys.executable, "-m", "tfsctl", "--verbose", *arguments]
    with subprocess.Popen(
        argv,
        cwd=folder,
        env=environment | {"TF_CPP_MIN_LOG_LEVEL": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as fresh:
        forked = with_tensorflow.run("tfsctl.__main__:main", *arguments, cwd=folder, environment=environment)
        answer, errors = fresh.communicate(timeout=240)
    assert (fresh.returncode, forked.returncode) == (0, 0), (errors, forked.stderr)
    return ConcurrentExports(subprocess.CompletedProcess(argv, 0, answer, errors), forked, folder / "net")


def test_concurrent_exports_give_two_complete_versions(concurrent: ConcurrentExports) -> None:
    """With the same seed, both have the same bytes."""
    base = concurrent.base
    versions = sorted(json.loads(done.stdout)["version"] for done in (concurrent.fresh, concurrent.forked))
    assert [found.version for found in list_versions(base)] == versions
    for version in versions:
        manifest = json.loads((base / str(version) / "assets.extra" / "tfsctl_manifest.json").read_text())
        assert manifest["version"] == version
        assert manifest["files"] == hash_files(base / str(versions[0]))
    assert {path.name for path in base.iterdir()} == {JOURNAL_FILE, *map(str, versions)}
    events = journal.read(base)
    assert sorted((event.action, *event.versions) for event in events) == [("export", one) for one in versions]


def test_verbose_shows_the_logs_of_tensorflow(concurrent: ConcurrentExports) -> None:
    """With --verbose TensorFlow's own lines are there, on stderr, and stdout is still the answer alone."""
    assert json.loads(concurrent.fresh.stdout)["model"] == "net"
    assert re.search(r"^I\d{4} ", concurrent.fresh.stderr, re.MULTILINE)


def test_interrupted_export_ends_with_130_and_leaves_nothing(
    export: Export, with_tensorflow: ForkServer, tmp_path: Path
) -> None:
    """Ctrl-C while the model is being trained."""
    (export.folder / "net.py").write_text("import pathlib, time\npathlib.Path('training').touch()\ntime.sleep(600)\n")
    with (tmp_path / "stdout").open("w") as stdout, (tmp_path / "stderr").open("w") as stderr:
        process = with_tensorflow.start(
            "tfsctl.__main__:main",
            "export",
            "net.py",
            "--json",
            stdio=(0, stdout.fileno(), stderr.fileno()),
            cwd=export.folder,
            environment=clean_environment(tmp_path / "process"),
        )
    while not (export.folder / "training").exists():
        assert process.poll() is None
        time.sleep(0.02)
    assert any(path.name.startswith(".tfsctl-staging-") for path in (export.folder / "net").iterdir())
    process.send_signal(signal.SIGINT)
    assert (process.wait(), (tmp_path / "stdout").read_text()) == (130, "")
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert not (export.folder / "net").exists()
