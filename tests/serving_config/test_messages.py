"""Messages of TensorFlow Serving's text files that no installed package has."""

from __future__ import annotations

import pytest
from text_protos import nested_struct

from tfsctl.core import protos
from tfsctl.errors import InvalidInput
from tfsctl.serving_config import messages


def test_a_file_of_each_kind() -> None:
    """Wrapped and plain fields, lists, messages within messages."""
    batching = messages.parse_text(
        messages.BatchingParameters(),
        'max_batch_size { value: 4 } thread_pool_name { value: "x" } allowed_batch_sizes: 2 allowed_batch_sizes: 4 '
        "enable_large_batch_splitting { value: true } pad_variable_length_inputs: true",
        source="test",
    )
    monitoring = messages.parse_text(
        messages.MonitoringConfig(), 'prometheus_config { enable: true path: "/m" }', source="test"
    )
    tls = messages.parse_text(
        messages.SSLConfig(), 'server_key: "k" server_cert: "c" client_verify: true', source="test"
    )

    assert batching.max_batch_size.value == 4
    assert batching.thread_pool_name.value == "x"
    assert list(batching.allowed_batch_sizes) == [2, 4]
    assert batching.enable_large_batch_splitting.value
    assert batching.pad_variable_length_inputs
    assert not batching.HasField("batch_timeout_micros")
    assert (monitoring.prometheus_config.enable, monitoring.prometheus_config.path) == (True, "/m")
    assert (tls.server_key, tls.server_cert, tls.custom_ca, tls.client_verify) == ("k", "c", "", True)


@pytest.mark.parametrize(("text", "at"), [("max_batch_size: 4", "1:17"), ("\n  nope: 1", "2:3")])
def test_a_parse_error_has_line_and_column(text: str, at: str) -> None:
    """And the file, and the name of the message."""
    with pytest.raises(InvalidInput) as refused:
        messages.parse_text(messages.BatchingParameters(), text, source="/b.config")

    assert refused.value.message.startswith(f"/b.config is not a tensorflow.serving.BatchingParameters: {at} : ")


def test_unknown_messages_are_attribute_errors() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="Nope"):
        _ = messages.Nope


def test_a_byte_order_mark_is_named() -> None:
    """Windows editors write it, and the parser's own message shows an invisible character."""
    text = "\ufeffmax_batch_size { value: 2 }"
    with pytest.raises(InvalidInput, match=r"^x is not a .*: it begins with a byte order mark \(U\+FEFF\)$") as refusal:
        messages.parse_text(messages.BatchingParameters(), text, source="x")
    assert refusal.value.hint == "save it as UTF-8 without a byte order mark"


def test_json_is_named_and_converted() -> None:
    """The hint has the same content as a text protobuf."""
    text = '{"model_config_list": {"config": [{"name": "h", "base_path": "/m", "model_platform": "tensorflow"}]}}'
    with pytest.raises(InvalidInput, match=r"^x is not a .*: it is JSON, and must be a text protobuf$") as refusal:
        messages.parse_text(protos.ModelServerConfig(), text, source="x")

    prefix, _, converted = refusal.value.hint.partition(": ")
    assert prefix == "the same as a text protobuf"
    message = messages.parse_text(protos.ModelServerConfig(), converted, source="y")
    assert message.model_config_list.config[0].base_path == "/m"
    with pytest.raises(InvalidInput, match="it is JSON") as other:
        messages.parse_text(protos.ModelServerConfig(), '{"colour": "red"}', source="x")
    assert other.value.hint.startswith("write it as a text protobuf")


ENTRY = 'model_config_list { config { name: "m" base_path: "/m" } }'


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("model_config_list:\n  config:\n  - name: m\n", "write it as a text protobuf"),
        ("# models\nmodel_config_list:\n- config:\n    name: m\n", "write it as a text protobuf"),
        (ENTRY + ENTRY, "write it once, with all of its fields between one { and its }"),
        (ENTRY.replace('"m"', "m"), 'write text in quotation marks: "NAME"'),
        (ENTRY.replace('"m"', "\u201cm\u201d"), 'write straight quotation marks: "NAME"'),
        (
            ENTRY.replace("name:", 'version_labels { key: "a" value: "1" } name:'),
            "write the number without quotation marks",
        ),
        ("// models\n" + ENTRY, "a comment begins with #"),
        (ENTRY[:-1], "a { has no }: add it"),
        (ENTRY + "}", "a } has no {: remove it"),
    ],
)
def test_common_mistakes_have_a_hint(text: str, hint: str) -> None:
    """The messages of the parser do not say what to change."""
    with pytest.raises(InvalidInput, match=r"^x is not a ") as refusal:
        messages.parse_text(protos.ModelServerConfig(), text, source="x")
    assert refusal.value.hint.startswith(hint)


def test_messages_that_are_nested_too_deep_are_refused() -> None:
    """An Any may hold messages of any depth: protobuf's parser of text has no limit."""
    with pytest.raises(InvalidInput, match="its messages are nested too deep"):
        messages.parse_text(protos.ModelServerConfig(), nested_struct(2000), source="a file")
