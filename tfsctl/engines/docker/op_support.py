"""Check before the start that TensorFlow Serving's own image has the operations that a model uses.

The server itself reports a missing operation only after retries, which take a minute.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from tfsctl.core.saved_model import SavedModelInfo
from tfsctl.engines.docker import image as docker_image
from tfsctl.errors import EngineError

# Libraries that the image includes in an older release than TensorFlow's (tensorflow_serving/BUILD).
_BUNDLED_LIBRARIES = (
    (
        "TensorFlow Text",
        re.compile(
            r"TFText>|Sentencepiece|FastSentencepiece|FastWordpiece|FastBertNormalize|Wordpiece|WhitespaceTokenize|"
            r"RegexSplitWithOffsets|NormalizeUTF8|FindSourceOffsets|ConstrainedSequence|MaxSpanningTree|RougeL$|"
            r"SentenceFragments|SplitMerge|Phrase|ByteSplit|UnicodeScriptTokenize|TokenizerFromLogits|NgramsStringJoin"
        ),
    ),
    ("TensorFlow Decision Forests", re.compile("SimpleML")),
)
_VERSION = re.compile(r"(\d+)\.(\d+)")


@cache
def _stock_ops() -> dict[str, tuple[int, ...]]:
    """TensorFlow's own operations, and the version that introduced each; () for old operations."""
    text = files("tfsctl.engines.docker").joinpath("stock_operations.txt").read_text(encoding="utf-8")
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: version_of(since) for name, _, since in lines}


def version_of(text: str) -> tuple[int, ...]:
    """Major and minor version at the start of a tag or version; () if there is none."""
    found = _VERSION.match(text)
    return tuple(int(part) for part in found.groups()) if found else ()


def check(model: str, saved_model: SavedModelInfo, image: str) -> None:
    """Raise EngineError if the model uses operations that a stock image certainly lacks."""
    if not docker_image.is_stock(image):
        return
    has = version_of(docker_image.split_reference(image)[1])
    stock = _stock_ops()
    newest = max(stock.values())
    newer = sorted(op for op in saved_model.ops & stock.keys() if has and stock[op] > has)
    if newer:
        since = ".".join(map(str, max(stock[op] for op in newer)))
        raise EngineError(
            f"{model} uses {_op_list(newer)}, which came with TensorFlow {since}; the image is {image}",
            hint=f"--tag {since}.0, or --engine embedded",
        )
    custom = sorted(op for op in saved_model.ops - stock.keys() if not _library_of(op))
    if custom and has and has <= newest:
        raise EngineError(
            f"{model} uses {_op_list(custom)}, which {image} does not have: custom operations are part of the server",
            hint="--image NAME of a server built with them, or "
            "--engine embedded --server-arg --custom_op_library=FILE.so",
        )


def notes(model: str, saved_model: SavedModelInfo, image: str) -> list[str]:
    """Notes on what might keep the image from running the model."""
    found: list[str] = []
    if not docker_image.is_stock(image):
        return found
    has, wrote = version_of(docker_image.split_reference(image)[1]), version_of(saved_model.tensorflow_version)
    if has and wrote > has:
        found.append(f"{model} was written by TensorFlow {saved_model.tensorflow_version}, newer than {image}")
    for library, pattern in _BUNDLED_LIBRARIES:
        used = sorted(op for op in saved_model.ops - _stock_ops().keys() if pattern.match(op))
        if used:
            found.append(f"{model} uses {_op_list(used)} of {library}, of which {image} has an older release, or none")
    return found


def _library_of(op: str) -> str | None:
    return next((library for library, pattern in _BUNDLED_LIBRARIES if pattern.match(op)), None)


def _op_list(ops: list[str]) -> str:
    rest = f" and {len(ops) - 3} more" if len(ops) > 3 else ""
    return f"the operation{'s' if len(ops) > 1 else ''} {', '.join(ops[:3])}{rest}"
