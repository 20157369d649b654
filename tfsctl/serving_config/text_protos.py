"""Text protos for TensorFlow Serving's flags: batching parameters, monitoring and TLS.

The text proto of the models is in `model_config.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.errors import InvalidInput, NotFound
from tfsctl.serving_config import messages

if TYPE_CHECKING:
    from google.protobuf.message import Message

METRICS_PATH = "/monitoring/prometheus/metrics"


def monitoring_text() -> str:
    """A MonitoringConfig that serves metrics for Prometheus at METRICS_PATH of the REST port."""
    message = messages.MonitoringConfig()
    message.prometheus_config.enable = True
    message.prometheus_config.path = METRICS_PATH
    return _text(message)


def batching_text(parameters: Sequence[str]) -> str:
    """BatchingParameters from NAME=VALUE arguments. The value of allowed_batch_sizes is comma-separated.

    Raises InvalidInput.
    """
    message = messages.BatchingParameters()
    fields = message.DESCRIPTOR.fields_by_name
    lines: list[str] = []
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if name not in fields or not equals:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"{close[0]}=VALUE" if close else f"NAME=VALUE, and NAME is one of {', '.join(fields)}"
            raise InvalidInput(f"{parameter!r} is not a batching parameter", hint=hint)
        if fields[name].message_type is not None:
            lines.append(f"{name} {{ value: {value} }}")
        elif name == "allowed_batch_sizes":
            lines.append(f"{name}: [{value}]")
        else:
            lines.append(f"{name}: {value}")
    return _text(messages.parse_text(message, "\n".join(lines), source=" ".join(parameters)))


def validate_batching(text: str, *, source: str) -> str:
    """Return the text. Raises InvalidInput, which names `source`, if it is not a BatchingParameters message."""
    messages.parse_text(messages.BatchingParameters(), text, source=source)
    return text


def ssl_text(certificate: str, key: str, ca: str | None) -> str:
    """An SSLConfig with the contents of these PEM files. With `ca`, clients need a certificate of that authority.

    Raises NotFound for a missing file, InvalidInput for one that cannot be read or is not PEM.
    """
    message = messages.SSLConfig(server_key=_pem(key), server_cert=_pem(certificate))
    if ca is not None:
        message.custom_ca = _pem(ca)
        message.client_verify = True
    return _text(message)


def _pem(file: str) -> str:
    try:
        text = Path(file).read_text(encoding="ascii")
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if "-----BEGIN " not in text:
        raise InvalidInput(
            f"{file} is not a PEM file", hint="PEM is text that starts with -----BEGIN; convert it first"
        )
    return text


def _text(message: Message) -> str:
    from google.protobuf import text_format

    text: str = text_format.MessageToString(message)
    return text
