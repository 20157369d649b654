"""Reads the PEM files of a TLS connection for both transports, with the same errors."""

from __future__ import annotations

import ssl
from pathlib import Path

from tfsctl.clients.connection import ClientTls
from tfsctl.errors import InvalidInput, NotFound


def ssl_context(tls: ClientTls) -> ssl.SSLContext:
    """An SSL context (for REST) that trusts the given authority or the system's, and presents the certificate.

    Raises NotFound for a missing file, InvalidInput for a file with other contents.
    """
    try:
        made = ssl.create_default_context(cafile=None if tls.ca is None else str(_readable(tls.ca)))
        if tls.cert is not None:
            made.load_cert_chain(_readable(tls.cert), None if tls.key is None else _readable(tls.key), _no_password)
    except ssl.SSLError as error:
        files = ", ".join(str(file) for file in (tls.ca, tls.cert, tls.key) if file is not None)
        hint = "if the key is in another file, add --key FILE" if tls.cert and not tls.key else ""
        raise InvalidInput(f"not valid PEM files for TLS: {files} ({error.reason or error})", hint=hint) from error
    return made


def read_pem(tls: ClientTls) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The contents of the PEM files (for gRPC): authorities, key and certificate, each or None.

    Without a given authority, the system's file of authorities is used, if there is one. Raises as `ssl_context` does.
    """
    ssl_context(tls)  # checks the files: gRPC does not say what is wrong with one
    system = ssl.get_default_verify_paths().cafile
    ca = tls.ca or (Path(system) if system else None)
    key = tls.key or tls.cert  # one file may hold both
    return _bytes(ca), _bytes(key if tls.cert else None), _bytes(tls.cert)


def _bytes(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()


def _readable(file: Path) -> Path:
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror}") from error


def _no_password() -> str:
    raise InvalidInput(
        "the key is encrypted, and tfsctl does not ask for passwords", hint="openssl pkey -in KEY -out PLAIN_KEY"
    )
