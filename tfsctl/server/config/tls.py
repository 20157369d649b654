"""TLS from --ssl_config_file: the server's key and certificate, and whether clients need a certificate."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.config.flags import Flags
from tfsctl.server.process.open_files import scratch_file
from tfsctl.server.status import invalid_argument
from tfsctl.serving_config import messages

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

PROTOCOLS = ("h2", "http/1.1")  # offered to clients (ALPN)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The server's key and certificate, as PEM texts.

    With `verifies_clients`, clients need a certificate signed by `client_ca` (default: one of the system's roots).
    """

    key: str = field(repr=False)
    certificate: str
    client_ca: str = ""
    verifies_clients: bool = False

    def ssl_context(self) -> ssl.SSLContext:
        """The context of the server's connections. Raises ssl.SSLError if the key is invalid or does not fit the certificate."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(PROTOCOLS))
        with scratch_file() as (chain, path):  # the ssl module reads keys from files
            chain.write(f"{self.key}\n{self.certificate}\n".encode())
            context.load_cert_chain(path, password="")  # refuse an encrypted key instead of asking for a password
        if self.client_ca:
            context.load_verify_locations(cadata=self.client_ca)
        if self.verifies_clients:
            if not self.client_ca:
                context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def read_credentials(flags: Flags) -> Credentials | None:
    """The credentials from the flags, None for no TLS. Raises ServingError like the real server, and logs the reason."""
    if flags.use_alts_credentials:
        raise invalid_argument("--use_alts_credentials needs Google's own machines; use --ssl_config_file for TLS")
    if not flags.ssl_config_file:
        if flags.rest_api_enable_ssl:
            raise invalid_argument("--rest_api_enable_ssl needs --ssl_config_file, which says with what certificate")
        return None
    import ssl

    config = read_config_file(flags.ssl_config_file, messages.SSLConfig())
    credentials = Credentials(config.server_key, config.server_cert, config.custom_ca, config.client_verify)
    try:
        credentials.ssl_context()
    except (ssl.SSLError, ValueError) as error:
        log.error("%s: the key and certificates are not usable: %s", flags.ssl_config_file, error)  # noqa: TRY400
        raise invalid_argument("Failed to BuildAndStart gRPC server") from error
    return credentials
