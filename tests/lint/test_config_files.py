"""Findings for config files: rule, place, TensorFlow Serving's words and fix."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import trustme
from cli_runner import RunCli
from echo_models import write_echo_model

from tfsctl.errors import InvalidInput, NotFound
from tfsctl.lint.finding import FileKind, Finding
from tfsctl.lint.linting import kind_of, lint
from tfsctl.serving_config import messages

MODEL = 'model_config_list {{\n  config {{ name: "m" base_path: "{base}" model_platform: "tensorflow"\n{more}\n}}\n}}'


def findings(folder: Path, text: str | bytes, *, kind: FileKind | None = None) -> list[Finding]:
    """The findings for a file with this text."""
    file = folder / "file.config"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(lint(file, kind=kind).findings)


def seen(found: list[Finding]) -> list[tuple[str, str, int | None, int | None]]:
    """What identifies each finding."""
    return [(one.rule, one.severity, one.line, one.column) for one in found]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("model_config_list {", "model-config"),
        ('{"model_config_list": {}}', "model-config"),
        ("\ufeffmax_batch_size { value: 1 }", "batching"),
        ("max_batch_sze { value: 1 }", "batching"),
        ("prometheus_config { }", "monitoring"),
        ('server_key: "x"', "tls"),
    ],
)
def test_the_kind_is_found_out(text: str, kind: str, tmp_path: Path) -> None:
    """From the fields, misspelt or in JSON."""
    (tmp_path / "x").write_text(text, encoding="utf-8")
    assert kind_of(tmp_path / "x") == kind


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A file of another kind, a path that is not there, and sources of models."""
    (tmp_path / "x").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InvalidInput, match="cannot tell what kind of file"):
        lint(tmp_path / "x")
    with pytest.raises(NotFound):
        lint(tmp_path / "y")
    for name in "my model.py", "my model.keras":
        (tmp_path / name).write_text("name = 'metrics'\n", encoding="utf-8")
        with pytest.raises(InvalidInput, match="is the source of a model, not a config file") as refused:
            lint(tmp_path / name)
        assert refused.value.hint == f"tfsctl export '{tmp_path}/{name}' exports the model"


def test_texts_that_are_not_text_protos(tmp_path: Path) -> None:
    """Each reason has its place, and its fix."""
    (bom, *_) = findings(tmp_path, "\ufeffmodel_config_list { }")
    (as_json,) = findings(tmp_path, '{"max_batch_size": 32}')
    (latin,) = findings(tmp_path, b'thread_pool_name { value: "caf\xe9" }')
    (empty,) = findings(tmp_path, "", kind="batching")
    (wrapper,) = findings(tmp_path, "max_batch_size: 32")
    (open_end,) = findings(tmp_path, "model_config_list {\n config {")

    assert seen([bom, as_json, latin, empty, wrapper, open_end]) == [
        ("byte-order-mark", "error", 1, 1),
        ("json", "error", 1, 1),
        ("not-utf8", "error", 1, 31),
        ("empty-file", "error", 1, 1),
        ("syntax", "error", 1, 17),
        ("syntax", "error", 2, 9),
    ]
    assert as_json.fix == "the same as a text protobuf: max_batch_size { value: 32 }"
    assert wrapper.fix == "max_batch_size { value: 32 }"


def test_all_unknown_fields_are_found_with_a_suggestion(tmp_path: Path) -> None:
    """All are found, with the field that was meant."""
    text = 'model_config_list {\n config { nme: "x"\n  model_version_policy { lates { } } } }'
    found = [one for one in findings(tmp_path, text) if one.rule == "unknown-field"]

    assert [(one.line, one.column, one.fix) for one in found] == [
        (2, 11, "did you mean name?"),
        (3, 26, "did you mean latest?"),
    ]
    assert found[0].message == 'Message type "tensorflow.serving.ModelConfig" has no field named "nme".'


def test_rules_of_model_configs(tmp_path: Path) -> None:
    """The server's errors, each at its field."""
    text = """model_config_list {
  config { name: "a" base_path: "models/a" model_platform: "tensorflow" }
  config { name: "a" base_path: "/nowhere" logging_config { log_collector_config { type: "tfrecord" } } }
  config { name: "b" base_path: "/nowhere" model_platform: "caffe"
           model_version_policy { specific { versions: 4 } }
           version_labels { key: "stable" value: 5 } }
}"""
    found = findings(tmp_path, text)

    assert seen(found) == [
        ("base-path", "error", 2, 22),
        ("platform", "error", 3, 3),
        ("duplicate-model", "error", 3, 12),
        ("base-path-missing", "warning", 3, 22),
        ("request-logging", "error", 3, 44),
        ("base-path-missing", "warning", 4, 22),
        ("platform", "error", 4, 44),
        ("label", "error", 6, 12),
    ]
    assert [one.message for one in found if one.severity == "error"] == [
        "Expected model a to have an absolute path or URI; got base_path()=models/a",
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
        "model name is a",
        "Illegal to list model a multiple times in config list",
        "The logging_config of model a needs an absolute path as log_collector_config.filename_prefix; got ''",
        "Model b requests unsupported platform caffe",
        "Request to assign label to version 5 of model b, which is not currently available for inference",
    ]


def test_request_logging_is_refused_for_stock_servers(tmp_path: Path) -> None:
    """The embedded server logs requests, and stock servers refuse to start."""
    logging = 'logging_config { log_collector_config { type: "tfrecord" filename_prefix: "/logs/m" } }'
    (found, _) = findings(tmp_path, MODEL.format(base="/nowhere", more=logging))[::-1]

    assert (found.rule, found.severity) == ("request-logging", "warning")
    assert "No request-logger-creator provided." in found.message


def test_directories_of_model_configs(tmp_path: Path) -> None:
    """Versions that are wanted must be there, under their numbers."""
    write_echo_model(tmp_path / "good" / "7")
    write_echo_model(tmp_path / "bad" / "v1")
    good = MODEL.format(base=tmp_path / "good", more='version_labels { key: "old" value: 6 }')
    specific = MODEL.format(base=tmp_path / "good", more="model_version_policy { specific { versions: 3 } }")
    bad = MODEL.format(base=tmp_path / "bad", more="")
    version = MODEL.format(base=tmp_path / "good" / "7", more="")

    assert findings(tmp_path, MODEL.format(base=tmp_path / "good", more="")) == []
    assert seen(findings(tmp_path, good)) == [("label", "error", 3, 1)]
    assert seen(findings(tmp_path, specific)) == [("version-missing", "error", 3, 35)]
    (misnamed,) = findings(tmp_path, bad)
    assert "Did you forget to name your leaf directory as a number" in misnamed.message
    assert misnamed.fix == f"mv {tmp_path}/bad/v1 {tmp_path}/bad/1"
    (deep,) = findings(tmp_path, version)
    assert deep.fix == f"this is a version: give its parent, {tmp_path}/good"


def test_batching_parameters_that_the_server_refuses_are_found(tmp_path: Path) -> None:
    """Parameters that the server refuses, and sizes out of order."""
    text = "max_batch_size { value: 64 }\nallowed_batch_sizes: [8, 4,\n  32]\nnum_batch_threads { value: 0 }"
    found = findings(tmp_path, text)

    assert seen(found) == [
        ("batch-sizes-order", "warning", 2, 26),
        ("batching", "error", 3, 3),
        ("batching", "error", 4, 1),
    ]
    assert found[1].message == (
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 32; expected 64"
    )


def test_batching_of_a_model(tmp_path: Path) -> None:
    """Signatures whose requests cannot be put together."""
    write_echo_model(
        tmp_path / "m" / "1",
        {
            "serving_default": {"x": ("float32", (None,))},
            "one": {"x": ("float32", ())},
            "two": {"x": ("float32", (2,))},
        },
    )
    (tmp_path / "b.config").write_text("max_batch_size { value: 8 }")
    found = lint(tmp_path / "b.config", model=tmp_path / "m").findings

    assert {one.message.partition(":")[0] for one in found} == {"signature one", "signature two"}
    assert {one.rule for one in found} == {"unbatchable-signature"}


def test_wrong_monitoring_configs_are_found(tmp_path: Path) -> None:
    """The path of the metrics, and whether there are any."""
    assert findings(tmp_path, 'prometheus_config { enable: true path: "/metrics" }') == []
    assert seen(findings(tmp_path, 'prometheus_config {\n path: "metrics" }')) == [
        ("metrics-off", "warning", 1, 1),
        ("metrics-path", "error", 2, 2),
    ]


def _tls(folder: Path, key: trustme.LeafCert, certificate: trustme.LeafCert, mode: int = 0o600) -> Path:
    config = messages.SSLConfig(
        server_key=key.private_key_pem.bytes().decode(), server_cert=certificate.cert_chain_pems[0].bytes().decode()
    )
    file = folder / "ssl.config"
    file.write_text(str(config))
    file.chmod(mode)
    return file


def test_unusable_keys_and_certificates_are_found(tmp_path: Path) -> None:
    """Keys and certificates that a server cannot use, and dates."""
    authority = trustme.CA()
    first, second = authority.issue_cert("localhost"), authority.issue_cert("other")
    year = [dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc) for year in (2020, 2021, 2090)]
    old = authority.issue_cert("localhost", not_before=year[0], not_after=year[1])
    early = authority.issue_cert("localhost", not_before=year[2])

    assert lint(_tls(tmp_path, first, first)).findings == ()
    assert seen(list(lint(_tls(tmp_path, first, first, 0o644)).findings)) == [("key-readable", "warning", 1, 1)]
    (mismatch,) = lint(_tls(tmp_path, first, second)).findings
    assert mismatch.message == "Failed to BuildAndStart gRPC server: server_key does not belong to server_cert"
    (expired,) = lint(_tls(tmp_path, old, old)).findings
    assert expired.message == "a certificate in server_cert expired on 2021-01-01"
    assert [one.rule for one in lint(_tls(tmp_path, early, early)).findings] == ["certificate-not-yet-valid"]


def test_tls_with_names_of_files(tmp_path: Path) -> None:
    """A common mistake: the file holds PEM text, not names."""
    file = tmp_path / "ssl.config"
    file.write_text('server_key: "/etc/key.pem"\nserver_cert: "/etc/cert.pem"')
    file.chmod(0o600)
    (found,) = lint(file).findings

    assert found.message == "Failed to BuildAndStart gRPC server: server_key is not PEM"


def test_findings_go_to_stdout_and_decide_the_exit_code(tmp_path: Path, run_cli: RunCli) -> None:
    """Findings go to stdout, the counts to stderr; the exit code tells errors from warnings."""
    (tmp_path / "m.config").write_text('prometheus_config { path: "/metrics" }')
    (tmp_path / "b.config").write_text("max_batch_sise { value: 3 }")
    warned = run_cli("lint", tmp_path / "m.config")
    failed = run_cli("lint", tmp_path / "b.config", "--json")
    document = json.loads(failed.stdout)

    assert (warned.code, failed.code) == (0, 1)
    assert warned.stdout.startswith(f"{tmp_path}/m.config:1:1: warning: ")
    assert warned.stderr == f"{tmp_path}/m.config (monitoring): 0 errors, 1 warning\n"
    assert (document["errors"], document["warnings"], document["kind"]) == (1, 0, "batching")
    assert document["findings"][0]["line"] == 1
    assert run_cli("lint", tmp_path / "b.config", "--kind", "x").code == 2
