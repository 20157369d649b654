"""`--url`: a server behind a gateway, or the whole URL of a model as people paste it."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from tfsctl.cli.options.target import Asked
from tfsctl.clients.connection import ClientTls
from tfsctl.errors import InvalidInput

PORT_OF_SCHEME = {"http": 80, "https": 443}
# What TensorFlow Serving's own URLs end with: http_rest_api_handler.cc.
_OF_A_MODEL = re.compile(
    r"(?P<before>.*?)/v1/models/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?:/metadata|:predict|:classify|:regress)?/?"
)


def with_url(asked: Asked, url: str) -> Asked:
    """What was asked, with host, port, encryption and path of the URL, and the model if it names one.

    Raises InvalidInput for what is no such URL, or contradicts other options.
    """
    if asked.host is not None or asked.port is not None:
        raise InvalidInput("--url says host and port", hint="leave out --host and --port")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"--url is no URL: {error}") from error
    if parts.scheme not in PORT_OF_SCHEME or not host:
        raise InvalidInput("--url wants http:// or https:// and a host", hint="--url https://gateway/models")
    if parts.username is not None:
        raise InvalidInput("--url holds a password", hint="--header-env 'authorization=Basic CREDENTIALS' sends it")
    if parts.query or parts.fragment:
        raise InvalidInput("--url ends with its path", hint="leave out what follows ? or #")
    path, named = parts.path, asked
    if match := _OF_A_MODEL.fullmatch(path):
        path, model, version, label = match["before"], unquote(match["model"]), match["version"], match["label"]
        if asked.model not in (None, model):
            raise InvalidInput(f"--url is about {model}, --model about {asked.model}", hint="leave one out")
        named = replace(
            asked,
            model=model,
            version=asked.version if version is None else int(version),
            label=asked.label if label is None else unquote(label),
        )
    tls = asked.connection.tls or (ClientTls() if parts.scheme == "https" else None)
    connection = replace(asked.connection, tls=tls, path=path.rstrip("/"))
    return replace(named, host=host, port=port or PORT_OF_SCHEME[parts.scheme], connection=connection)
