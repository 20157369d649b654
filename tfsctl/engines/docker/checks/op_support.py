"""Check before the start that TensorFlow Serving's own image has the operations that a model uses.

The server itself reports a missing operation only after retries, which take a minute.
"""

from __future__ import annotations

import re

from tfsctl.core.saved_model import SavedModelInfo
from tfsctl.engines.docker import image as docker_image
from tfsctl.errors import EngineError
from tfsctl.serving_config.stock_image import list_operations, newer_operations, parse_release, stock_operations

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


def check(model: str, saved_model: SavedModelInfo, image: str) -> None:
    """Raise EngineError if the model uses operations that a stock image certainly lacks."""
    if not docker_image.is_stock(image):
        return
    tag = docker_image.split_reference(image)[1]
    newer, since = newer_operations(saved_model.ops, tag)
    if newer:
        raise EngineError(
            f"{model} uses {list_operations(newer)}, which came with TensorFlow {since}; the image is {image}",
            hint=f"--tag {since}.0, or --engine embedded",
        )
    has, stock = parse_release(tag), stock_operations()
    custom = sorted(op for op in saved_model.ops - stock.keys() if not _library_of(op))
    if custom and has and has <= max(stock.values()):
        raise EngineError(
            f"{model} uses {list_operations(custom)}, which {image} does not have: custom operations are part of the server",
            hint="--image NAME of a server built with them, or "
            "--engine embedded --server-arg --custom_op_library=FILE.so",
        )


def notes(model: str, saved_model: SavedModelInfo, image: str) -> list[str]:
    """Notes on what might keep the image from running the model."""
    if not docker_image.is_stock(image):
        return []
    found = library_notes(model, saved_model, image)
    has, wrote = parse_release(docker_image.split_reference(image)[1]), parse_release(saved_model.tensorflow_version)
    if has and wrote > has:
        found.insert(0, f"{model} was written by TensorFlow {saved_model.tensorflow_version}, newer than {image}")
    return found


def library_notes(model: str, saved_model: SavedModelInfo, image: str) -> list[str]:
    """Notes on operations of libraries of which a stock image has an older release."""
    found: list[str] = []
    for library, pattern in _BUNDLED_LIBRARIES:
        used = sorted(op for op in saved_model.ops - stock_operations().keys() if pattern.match(op))
        if used:
            found.append(
                f"{model} uses {list_operations(used)} of {library}, and {image} has an older release of it, or none"
            )
    return found


def _library_of(op: str) -> str | None:
    return next((library for library, pattern in _BUNDLED_LIBRARIES if pattern.match(op)), None)
