"""The PEM files of a TLS connection, read once and alike for both transports."""

from __future__ import annotations

import ssl
from pathlib import Path

from tfsctl.clients.connection import ClientTls
from tfsctl.errors import InvalidInput, NotFound


def context(tls: ClientTls) -> ssl.SSLContext:
    """What REST needs: a context that trusts the authority, else the system's, and shows the certificate.

    Raises NotFound for a file that is not there, InvalidInput for one that is not what it should be.
    """
    try:
        made = ssl.create_default_context(cafile=None if tls.ca is None else str(_readable(tls.ca)))
        if tls.cert is not None:
            made.load_cert_chain(_readable(tls.cert), None if tls.key is None else _readable(tls.key), _no_password)
    except ssl.SSLError as error:
        files = ", ".join(str(file) for file in (tls.ca, tls.cert, tls.key) if file is not None)
        hint = "if the key is in a file of its own, name it with --key FILE" if tls.cert and not tls.key else ""
        raise InvalidInput(f"not the PEM files TLS needs: {files} ({error.reason or error})", hint=hint) from error
    return made


def pem(tls: ClientTls) -> tuple[bytes | None, bytes | None, bytes | None]:
    """What gRPC needs: the authority, else the system's if it is one file; the key and the certificate, or None.

    Raises as `context` does.
    """
    context(tls)  # gRPC does not say what is wrong with a file
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
        "the key is encrypted, and nobody is asked for its password", hint="openssl pkey -in KEY -out PLAIN_KEY"
    )
