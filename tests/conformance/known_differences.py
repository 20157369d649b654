"""Where our answers differ from the recorded ones, and why. Exact: a case that agrees does not belong here."""

from __future__ import annotations

COUNTED: dict[str, str] = {}

_NO_ROWS = "a request without rows is answered at once; TensorFlow Serving has it wait for the next one"
OTHER_SERVERS = {
    "B": {"batching: 0 rows (nothing else queued)": _NO_ROWS},
    "Bpad": {
        "batching: 0 rows (nothing else queued)": _NO_ROWS,
        "batching: overload": "more calls than threads wait for a thread; TensorFlow Serving refuses them",
    },
}

# Of these calls made at the same moment only the kinds of answer are compared.
MERGED_ANSWERS = {
    "batching: concurrent different inner shapes": "how far an answer is padded depends on what it was merged with",
}
