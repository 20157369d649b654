"""Lints the files of --batching_parameters_file, --monitoring_config_file and --ssl_config_file."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path

from tfsctl.core.types import Signature
from tfsctl.lint import certificates
from tfsctl.lint.finding import Finding
from tfsctl.lint.text_fields import TextField
from tfsctl.lint.text_proto import read_text_proto
from tfsctl.server.batching.parameters import BatchingParameters, from_message
from tfsctl.server.config.tls import Credentials
from tfsctl.server.status import ServingError
from tfsctl.serving_config import messages

_DAY_S = 86400
_EXPIRES_SOON_DAYS = 30
_DATE = "%Y-%m-%d"

# A part of an error of BatchingParameters -> the field to point at, and the fix.
_BATCHING_FIXES = (
    ("Last entry in allowed_batch_sizes", "allowed_batch_sizes", "end allowed_batch_sizes with {size}"),
    ("num_batch_threads", "num_batch_threads", "num_batch_threads {{ value: N }} with N of 1 or more"),
    ("batch_timeout_micros", "batch_timeout_micros", "batch_timeout_micros {{ value: 0 }} or more"),
    ("max_enqueued_batches", "max_enqueued_batches", "max_enqueued_batches {{ value: 100 }}"),
    ("enable_large_batch_splitting", "max_execution_batch_size", "a max_execution_batch_size from 1 to {limit}"),
    ("input_batch_size_limit", "max_batch_size", "max_batch_size {{ value: N }} with N of 1 or more"),
)


def lint_batching(path: Path, signatures: tuple[Signature, ...] = ()) -> list[Finding]:
    """The findings for batching parameters, and for signatures that are served with them. Raises OSError."""
    file = read_text_proto(path, messages.BatchingParameters())
    if file.message is None:
        return file.findings
    parameters = from_message(file.message)
    checks: tuple[Callable[[], None], ...] = (parameters.check_threads, parameters.check_batches)
    for check in checks:
        try:
            check()
        except ServingError as error:
            name, fix = next((name, fix) for part, name, fix in _BATCHING_FIXES if part in error.message)
            at = file.fields.all(name)
            fix = fix.format(size=parameters.largest_batch, limit=parameters.max_batch_size)
            file.add("batching", "error", at[-1] if at else None, error.message, fix)
    sizes, places = parameters.allowed_batch_sizes, file.fields.all("allowed_batch_sizes")
    for number in range(1, len(sizes)):
        if sizes[number] <= sizes[number - 1] and number < len(places):
            file.add(
                "batch-sizes-order",
                "warning",
                places[number],
                f"allowed_batch_sizes do not increase: {sizes[number]} follows {sizes[number - 1]}, and the first that "
                "is large enough is used",
                f"allowed_batch_sizes: [{', '.join(map(str, sorted(set(sizes))))}]",
            )
            break
    for signature in signatures:
        for reason, fix in unbatchable(signature, parameters):
            file.add("unbatchable-signature", "error", None, f"signature {signature.name}: {reason}", fix)
    return file.findings


def unbatchable(signature: Signature, parameters: BatchingParameters) -> list[tuple[str, str]]:
    """Why batches of several requests fail for a signature, each with a fix."""
    found = []
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if spec.shape == ():
                found.append(
                    (
                        f"Batching session Run() {kind} tensors must have at least one dimension, and {spec.name} is a scalar",
                        "export the signature with a batch dimension, or serve the model without batching",
                    )
                )
            elif spec.shape and spec.shape[0] is not None and spec.shape[0] != parameters.largest_batch:
                found.append(
                    (
                        f"{kind} {spec.name} has a fixed batch of {spec.shape[0]}, and a batch may have up to "
                        f"{parameters.largest_batch} rows",
                        "tfsctl export --batch-size none frees it, or serve the model without batching",
                    )
                )
    return found


def lint_monitoring(path: Path) -> list[Finding]:
    """The findings for a monitoring config. Raises OSError."""
    file = read_text_proto(path, messages.MonitoringConfig())
    if file.message is None:
        return file.findings
    config, at = file.message.prometheus_config, file.fields.first("prometheus_config")
    place = (at.first("path") if at else None) or at
    if config.path and not config.path.startswith("/"):
        file.add(
            "metrics-path",
            "error",
            place,
            f"The path of prometheus_config does not start with /: {config.path}",
            f'path: "/{config.path}"',
        )
    elif config.path.startswith("/v1/"):
        file.add(
            "metrics-path",
            "warning",
            place,
            f"{config.path} is below /v1/, the paths of the REST API",
            'path: "/monitoring/prometheus/metrics"',
        )
    if not config.enable:
        file.add(
            "metrics-off", "warning", at, "prometheus_config is not enabled: no metrics are served", "enable: true"
        )
    return file.findings


def lint_tls(path: Path, *, now_s: float | None = None) -> list[Finding]:
    """The findings for a TLS config (SSLConfig). Raises OSError."""
    import ssl

    file = read_text_proto(path, messages.SSLConfig())
    if file.message is None:
        return file.findings
    config = file.message
    if config.server_key and path.stat().st_mode & stat.S_IROTH:
        file.add(
            "key-readable",
            "warning",
            file.fields.first("server_key"),
            "every user of this machine can read the private key",
            f"chmod 600 {path}",
        )
    if config.custom_ca and not config.client_verify:
        at = file.fields.first("custom_ca")
        file.add(
            "clients-not-verified", "warning", at, "custom_ca is not used without client_verify", "client_verify: true"
        )
    if config.client_verify and not config.custom_ca:
        at = file.fields.first("client_verify")
        message = "client_verify without custom_ca accepts certificates of every public authority"
        file.add("clients-of-any-ca", "warning", at, message, "add custom_ca: the PEM text of your authority")
    missing = [name for name in ("server_key", "server_cert") if not getattr(config, name)]
    for name in missing:
        at = file.fields.first(name)
        message = f"Failed to BuildAndStart gRPC server: {name} is empty"
        file.add("tls-missing", "error", at, message, f"add {name}: its PEM text, not the name of a file")
    if missing:
        return file.findings
    now_s = time.time() if now_s is None else now_s
    for name in ("server_cert", "custom_ca"):
        _check_dates(file.add, file.fields.first(name), name, getattr(config, name), now_s)
    credentials = Credentials(config.server_key, config.server_cert, config.custom_ca, config.client_verify)
    try:
        credentials.ssl_context()
    except (ssl.SSLError, ValueError) as error:
        name, why, fix = _tls_reason(str(error), config.server_key, config.server_cert)
        at = file.fields.first(name)
        file.add("tls-unusable", "error", at, f"Failed to BuildAndStart gRPC server: {why}", fix)
    return file.findings


def _tls_reason(error: str, key: str, certificate: str) -> tuple[str, str, str]:
    """The field that is wrong, why, and the fix."""
    for name, text in (("server_key", key), ("server_cert", certificate)):
        if "-----BEGIN " not in text:
            return name, f"{name} is not PEM", f"put the contents of the PEM file in {name}, with \\n for line ends"
    if "MISMATCH" in error.upper():
        return "server_key", "server_key does not belong to server_cert", "use the key that server_cert was made for"
    if "ENCRYPTED" in key:
        return "server_key", "server_key is encrypted", "openssl pkey -in KEY -out PLAIN_KEY removes the password"
    return (
        "server_key",
        f"the key and certificates are not usable: {error}",
        "check each with openssl x509 and openssl pkey",
    )


def _check_dates(add: Callable[..., None], at: TextField | None, name: str, pem: str, now_s: float) -> None:
    for validity in certificates.validities(pem):
        end, start = (time.strftime(_DATE, time.gmtime(at_s)) for at_s in (validity.end_s, validity.start_s))
        if validity.end_s < now_s:
            add("certificate-expired", "error", at, f"a certificate in {name} expired on {end}", "renew it")
        elif validity.start_s > now_s:
            add(
                "certificate-not-yet-valid",
                "error",
                at,
                f"a certificate in {name} is valid from {start}",
                "wait, or correct the clock",
            )
        elif validity.end_s < now_s + _EXPIRES_SOON_DAYS * _DAY_S:
            add("certificate-expires", "warning", at, f"a certificate in {name} expires on {end}", "renew it before")
