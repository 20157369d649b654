"""Post the decisions of a rollout to a URL, without delaying the rollout."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from tfsctl.errors import InvalidInput

TIMEOUT_S = 5.0


def check(url: str) -> None:
    """Raise InvalidInput for a URL that nothing can be posted to."""
    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"--on-change {url} is not a URL", hint="--on-change http://HOST:PORT/PATH")


def post(url: str, document: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Post a JSON document in another thread. A failure is only logged."""
    threading.Thread(target=_post, args=(url, document, say), daemon=True).start()


def _post(url: str, document: Mapping[str, Any], say: Callable[[str], None]) -> None:
    request = urllib.request.Request(  # noqa: S310 - `check` allows HTTP only
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            pass
    except (OSError, ValueError) as error:
        say(f"cannot post to {url}: {error}")
