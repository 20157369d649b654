"""`tfsctl compare`, on directories, served versions and labels: its numbers, reports, thresholds and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import RunCli
from model_servers import running_server
from scale_models import write_scale_model

pytestmark = pytest.mark.server
ROWS = 200


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions: 2 x, the same again, and 2.5 x; and a file whose targets are 2 x."""
    folder = tmp_path_factory.mktemp("compare")
    for version, factor in ((1, 2.0), (2, 2.0), (3, 2.5)):
        write_scale_model(folder / "double" / str(version), factor)
    lines = [f"{row},{2 * row},{('CH', 'DE')[row % 2]}" for row in range(ROWS)]
    (folder / "rows.csv").write_text("\n".join(["x,label,country", *lines]) + "\n", encoding="utf-8")
    (folder / "bad.csv").write_text("x\n1\nmany\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gRPC URL of a server with the latest version."""
    with running_server({"double": models / "double"}, tmp_path_factory.mktemp("server")) as server:
        yield f"grpc://{server.host}:{server.grpc_port}/double"


def test_equal_versions_agree_on_all_rows(models: Path, run_cli: RunCli) -> None:
    """Two directories that answer alike agree on all rows, and every threshold holds."""
    base = models / "double"
    shown = run_cli(
        "compare", base / "1", base / "2", "--file", models / "rows.csv", "--fail-if", "agreement<1", "--json"
    )
    document = json.loads(shown.stdout)

    assert (shown.code, document["passed"], document["agreement"], document["rows"]) == (0, True, 1.0, ROWS)
    assert (document["a"]["model"], document["a"]["version"], document["b"]["version"]) == ("double", 1, 2)
    assert document["a"]["load_s"] > 0


def test_a_worse_version_crosses_a_threshold(models: Path, served: str, run_cli: RunCli, tmp_path: Path) -> None:
    """The quality of both, by slice, with reports; a crossed threshold ends with 7."""
    html, junit = tmp_path / "report.html", tmp_path / "report.xml"
    shown = run_cli(
        *("compare", models / "double" / "1", served, "--file", models / "rows.csv"),
        *("--target", "label", "--task", "regression", "--slice", "country"),
        *("--fail-if", "mae.delta>1", "--fail-if", "mae.delta@country=CH>1000", "--html", html, "--junit", junit),
    )

    assert shown.code == 7
    assert "agreement: 0.50% of 200 rows" in shown.stdout  # the row x = 0
    assert "mae\t0\t49.75\t+49.75" in shown.stdout
    assert "country=DE\t100\t0.00%\tmse" in shown.stdout
    assert "failed: the value is 49.75 on 200 rows (fails if mae.delta>1)" in shown.stdout
    assert "passed: the value is 49.5 on 100 rows (fails if mae.delta@country=CH>1000)" in shown.stdout
    assert "<svg" in html.read_text(encoding="utf-8")
    assert 'failures="1"' in junit.read_text(encoding="utf-8")


def test_too_few_rows_are_undecided(served: str, run_cli: RunCli, tmp_path: Path) -> None:
    """A threshold on fewer rows than --min-rows fails, and says that it is undecided."""
    (tmp_path / "few.csv").write_text("x\n1\n2\n", encoding="utf-8")
    shown = run_cli("compare", served, served, "--file", tmp_path / "few.csv", "--fail-if", "agreement<0.5")

    assert shown.code == 7
    assert "undecided: 2 rows, and --min-rows is 30 (fails if agreement<0.5)" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing_here", "{served}", "--file", "{rows}"], 4, "no server started by tfsctl is running"),
        (["./no/such", "{served}", "--file", "{rows}"], 4, "there is no directory ./no/such"),
        (["{served}", "{served}"], 2, "there are no rows to compare"),
        (["{served}", "{served}", "--file", "missing.csv"], 4, "there is no file missing.csv"),
        (["{served}", "{served}", "--file", "{rows}", "--fail-if", "agreement"], 2, "is not a threshold"),
        (["{served}", "{served}", "--file", "{rows}", "--fail-if", "agrement<1"], 2, "there is no metric 'agrement'"),
        (["{served}", "{served}", "--file", "{rows}", "--target", "label"], 2, "--target needs --task"),
        (["{served}", "{served}", "--file", "{rows}", "--slice", "nothing"], 2, "nothing"),
        (["{served}", "{served}", "--file", "{rows}", "--signature", "x"], 2, "has no signature 'x'"),
        (["{served}", "{served}", "--file", "{rows}", "--html", "no/such/r.html"], 2, "no directory no/such"),
        (
            ["{served}", "{served}", "--file", "{rows}", "--junit", "."],
            2,
            "error: . is a directory, and a report is a file",
        ),
        (["{served}", "{served}", "--file", "{bad}"], 2, "hint: correct the row, or remove it from the file"),
    ],
)
def test_each_mistake_is_named_with_its_exit_code(
    arguments: list[str], code: int, words: str, models: Path, served: str, run_cli: RunCli
) -> None:
    """Each mistake is named, with its exit code, and nothing is reported as a comparison."""
    files = {"rows": models / "rows.csv", "bad": models / "bad.csv"}
    shown = run_cli("compare", *(one.format(served=served, **files) for one in arguments))

    assert (shown.code, shown.stdout) == (code, "")
    assert words in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["./no/such", "--file", "{rows}"], 4, "there is no directory ./no/such"),
        (["http://127.0.0.1:9/v1/models/b", "--file", "missing.csv"], 4, "there is no file missing.csv"),
        (["http://127.0.0.1:9/v1/models/b", "--file", "{rows}", "--fail-if", "x"], 2, "is not a threshold"),
    ],
)
def test_arguments_are_checked_before_a_side_is_opened(
    arguments: list[str], code: int, words: str, models: Path, run_cli: RunCli
) -> None:
    """The mistake is reported although no server answers at the address of A."""
    rows = models / "rows.csv"
    shown = run_cli("compare", "http://127.0.0.1:9/v1/models/a", *(one.format(rows=rows) for one in arguments))

    assert (shown.code, shown.stdout) == (code, "")
    assert words in shown.stderr


def test_a_passing_run_is_noted_in_the_manifest(served: str, run_cli: RunCli, tmp_path: Path) -> None:
    """With thresholds that hold, B's manifest gets a blessing; the files that it lists are unchanged."""
    write_scale_model(tmp_path / "double" / "2", 2.5)
    manifest = tmp_path / "double" / "2" / "assets.extra" / "tfsctl_manifest.json"
    manifest.parent.mkdir()
    manifest.write_text('{"format": 2, "signatures": {"serving_default": {"samples": [{"x": 1.5}, {"x": 2.5}]}}}')
    arguments = ["compare", served, tmp_path / "double" / "2", "--min-rows", "2"]

    assert run_cli(*arguments).code == 0
    assert "blessings" not in json.loads(manifest.read_text())
    assert run_cli(*arguments, "--fail-if", "agreement<1").code == 0
    assert run_cli(*arguments, "--fail-if", "agreement<=1").code == 7
    document = json.loads(manifest.read_text())

    assert document["format"] == 2
    (blessing,) = document["blessings"]
    assert blessing["rows"] == 2
    assert blessing["data"] == "the samples of the manifest"
    assert blessing["gates"] == ["agreement<1"]
    assert blessing["compared_with"]["version"] == 3
