"""Parse the URL of `--url`: a server behind a gateway, or the whole URL of a model, as users paste it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tfsctl.errors import InvalidInput

PORT_OF_SCHEME = {"http": 80, "https": 443}
# The paths of TensorFlow Serving's REST API: http_rest_api_handler.cc.
_MODEL_PATH = re.compile(
    r"(?P<gateway_path>.*?)/v1/models/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?:/metadata|:predict|:classify|:regress)?/?"
)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The parts of such a URL; `path` is the gateway's, in front of `/v1/models`."""

    host: str
    port: int
    is_encrypted: bool = False
    path: str = ""
    model: str | None = None
    version: int | None = None
    label: str | None = None


_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/[\w./:%-]*)?", re.ASCII)


def parse_server_url(text: str) -> ServerUrl:
    """Parse a URL. Raises InvalidInput, whose text never repeats a password, if it is not a URL of a server."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"--url is not a valid URL: {error}") from error
    if parts.scheme not in PORT_OF_SCHEME or not host:
        example = f"http://{text}" if _HOST_AND_PORT.fullmatch(text) else "https://gateway/models"
        raise InvalidInput("--url must begin with http:// or https:// and a host", hint=f"--url {example}")
    if parts.username is not None:
        raise InvalidInput("--url contains a password", hint="--header-env 'authorization=Basic CREDENTIALS' sends it")
    if parts.query or parts.fragment:
        raise InvalidInput("--url must not contain ? or #", hint="remove the part from ? or # on")
    address = (host, port or PORT_OF_SCHEME[parts.scheme], parts.scheme == "https")
    match = _MODEL_PATH.fullmatch(parts.path)
    if match is None:
        return ServerUrl(*address, path=parts.path.rstrip("/"))
    return ServerUrl(
        *address,
        path=match["gateway_path"].rstrip("/"),
        model=unquote(match["model"]),
        version=None if match["version"] is None else int(match["version"]),
        label=None if match["label"] is None else unquote(match["label"]),
    )
