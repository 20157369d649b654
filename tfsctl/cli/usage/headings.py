"""The headings that the options of a command stand under in its help. An option without an entry is under "Options"."""

from __future__ import annotations

OPTIONS = "Options"
OTHER = "Other"

Headings = dict[str, tuple[str, ...]]

# In the order of a help, after "Arguments".
_ORDER = (
    *(OPTIONS, "Models", "Input", "Source", "Signatures", "Output", "Files", "Quality", "Thresholds", "Server", "TLS"),
    *("Comparison", "Docker", OTHER),
)
# Heading -> options, for all commands.
_COMMON: Headings = {
    "Input": ("--input", "--text", "--example", "--raw", "--signature"),
    "Output": (
        *("--only", "--labels", "--top", "--json", "--show", "--dry-run", "--output", "--force", "--html", "--junit"),
        *("--output-format", "--safe-csv"),
    ),
    "Files": (
        *("--file", "--format", "--column", "--keep", "--batch-size", "--concurrency", "--on-error", "--resume"),
        *("--delimiter", "--decimal", "--encoding", "--no-header", "--na", "--rows"),
    ),
    "Quality": ("--target", "--task", "--score", "--slice", "--atol", "--rtol"),
    "Thresholds": ("--fail-if", "--min-rows"),
    "Server": (
        *("--model", "--server", "--profile", "--host", "--port", "--url", "--grpc", "--rest", "--version", "--label"),
        *("--timeout", "--wait-timeout", "--connect-timeout", "--max-answer", "--header", "--header-env", "--proxy"),
        *("--compression", "--keepalive", "--lb"),
    ),
    "TLS": ("--tls", "--ca", "--cert", "--key", "--ssl-cert", "--ssl-key", "--ssl-client-ca", "--tls-server-name"),
}
# Heading -> options of some commands. These take precedence over the headings for all commands.
_SERVE: Headings = {
    "Models": ("--model", "--config", "--name", "--versions"),
    "Server": (
        *("--engine", "--host", "--publish-all-interfaces", "--rest-port", "--grpc-port", "--metrics", "--warmup"),
        *("--batching", "--batching-parameter", "--batching-file", "--env", "--server-arg", "--wait-timeout"),
    ),
    "TLS": ("--ssl-cert", "--ssl-key", "--ssl-client-ca"),
    "Docker": (
        *("--image", "--base-image", "--tag", "--pull", "--platform", "--gpus", "--memory", "--cpus", "--shm-size"),
        *("--network", "--user", "--label", "--restart", "--log-max-size", "--docker-arg", "--writable-root"),
        *("--new-privileges", "--cap-add"),
    ),
}
_EXPORT: Headings = {
    "Source": (*("--as", "--arg", "--custom-objects", "--weights", "--unsafe", "--keys", "--metric", "--k", "--oov"),),
    "Signatures": (
        *("--signature", "--input", "--output", "--batch-size", "--classify", "--regress", "--image-bytes"),
        *("--examples",),
    ),
    "Comparison": ("--compare", "--rows", "--fail-if"),
    "Output": ("--name", "--to", "--version", "--keep", "--allow-breaking", "--json", "--quiet"),
}
_LINT: Headings = {OPTIONS: ("--model", "--kind")}
OF_COMMAND: dict[str, Headings] = {
    "serve": _SERVE,
    "run": _SERVE,
    "compose": _SERVE,
    "image build": _SERVE,
    "export": _EXPORT,
    "canary": {OPTIONS: ("--version",)},
    "ab": {OPTIONS: ("--key",)},
    "shadow": {OPTIONS: ("--version",)},
    "lint": _LINT,
    "replay": {OPTIONS: ("--concurrency",)},
}
_LAST = ("--verbose", "--help")


def heading(command: str, options: list[str]) -> str:
    """The heading for an option, given by all of its names, in the help of a command (`predict`, `image build`)."""
    if any(name in options for name in _LAST):
        return OTHER
    for table in (OF_COMMAND.get(command, {}), _COMMON):
        for title, names in table.items():
            if any(name in options for name in names):
                return title
    return OPTIONS


def order(title: str) -> int:
    """The place of a heading in a help."""
    return _ORDER.index(title)
