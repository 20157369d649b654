"""What Envoy keeps away from the application: paths it could not answer, and more connections than there are files for.

A path whose percent-escapes are no UTF-8 makes pyvoy raise in the event loop, and never answer. Connections take open
files, which loading a model needs too.
"""

from __future__ import annotations

from typing import Any

from tfsctl.server import open_files

Json = dict[str, Any]

_HEX, _NO_HEX = "[0-9a-fA-F]", "[^0-9a-fA-F%]"
_NEXT = f"%[89aAbB]{_HEX}"  # a byte of a character but its first
# Beyond ASCII (RFC 3629): two, three and four bytes, which share their ends to keep RE2's program small.
_FOUR = f"%[fF](?:0%[9aAbB]{_HEX}|[1-3]{_NEXT}|4%8{_HEX}){_NEXT}"
_THREE = f"%[eE](?:0%[aAbB]{_HEX}|[1-9a-cA-CeEfF]{_NEXT}|[dD]%[89]{_HEX})"
_CHARACTER = f"(?:%[cC][2-9a-fA-F]|%[dD]{_HEX}|{_THREE}|{_FOUR}){_NEXT}"
_LITERAL = f"(?:%{_HEX}?)*"  # percent signs that escape nothing, before one that does or at the end
DECODABLE = f"(?:[^%]|{_LITERAL}(?:%[0-7]{_HEX}|{_CHARACTER}|%{_NO_HEX}|%{_HEX}{_NO_HEX}))*{_LITERAL}"

_PAGE = "<HTML><HEAD>\n<TITLE>400 Bad Request</TITLE>\n</HEAD><BODY>\n<H1>Bad Request</H1>\n</BODY></HTML>\n"
_FORBIDDEN = 403  # what the filter answers with; nothing else here does
_TYPES = "type.googleapis.com/envoy.extensions."
_OWN_FILES = 256  # open files that are no connections: libraries, logs, event loops, the files of a model being loaded
_FILES_A_CONNECTION = 3  # at most: one that comes in over TLS, and both ends of the private one it is passed on by


def refuse_undecodable_paths(manager: Json) -> None:
    """Put a filter before the application (in a HttpConnectionManager) that answers such paths with 400."""
    path = {"path": {"safe_regex": {"regex": DECODABLE}}}
    policy = {"permissions": [{"not_rule": {"url_path": path}}], "principals": [{"any": True}]}
    rules = {"action": "DENY", "policies": {"undecodable": policy}}
    typed = {"@type": f"{_TYPES}filters.http.rbac.v3.RBAC", "rules": rules}
    manager["http_filters"].insert(0, {"name": "envoy.filters.http.rbac", "typed_config": typed})
    denied = {
        "status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": _FORBIDDEN, "runtime_key": "_"}}}
    }
    mapper = {
        "filter": denied,
        "status_code": 400,
        "body": {"inline_string": _PAGE},
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "text/html",
        },
    }
    manager["local_reply_config"] = {"mappers": [mapper]}


def limit_connections(config: Json, *, over_tls: bool) -> None:
    """Refuse connections beyond what this process may have open."""
    files = open_files.limit()
    free = max(files - _OWN_FILES, files // 2)
    typed = {
        "@type": f"{_TYPES}resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": free // (_FILES_A_CONNECTION if over_tls else 1),
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": typed}
    config["overload_manager"] = {"resource_monitors": [monitor]}
