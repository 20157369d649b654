"""Options for loading a source, and for the signatures to write. The defaults are enough for most sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from tfsctl.errors import InvalidInput
from tfsctl.exporter.exported import CHECK_TIMEOUT_S

OOV_RULES = "--oov TOKEN (a line of the file), --oov ID (such as -1), --oov hash:N (N more ids) or --oov error"
KEYS_HINT = "--keys KEYS.txt, a file with the key of each vector on a line of its own"
ChoiceT = TypeVar("ChoiceT", bound=str)
BatchSize = int | Literal["none"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of an export.

    Loading:

    - `arguments`: for a Python file: `NAME=VALUE` for a parameter of the function that builds the model, anything else
      for the file's command line (see `source_arguments`).
    - `custom_objects`: modules (`package.module` or a .py file) with classes that a Keras file needs.
    - `unsafe`: load Keras files that contain Python code (Lambda layers).
    - `weights`: a file of weights for the model of a Python file.

    Signatures:

    - `signatures`: the signatures to write, with their new names (the same name keeps it). Empty: all.
    - `inputs`, `outputs`: new names by old name or position ("0" is the first), for the default signature.
      `SIGNATURE:NAME` as the old name is for another signature.
    - `batch_size`: the number of rows of every request; "none" for any number; None leaves it as the model declares it.
    - `image_bytes`: the default signature takes encoded images (JPEG, PNG, BMP or GIF) instead of pixels.
    - `examples`: the default signature takes serialized tf.Examples.
    - `classify`: a file with one label per line; adds the signature `classify`. `regress` adds the signature `regress`.

    Servables that are not models:

    - `kind`: the kind of SOURCE, for files with an ambiguous suffix.
    - `keys`: a file with the key of each vector. `metric` (default: cosine) and `k` (default: 10) of nearest neighbours.
    - `oov`: the rule for tokens that a vocabulary does not have (see `servables.vocabulary`).

    `check_timeout_s`: how long loading the written version, and each run of it, may take.
    """

    arguments: Sequence[str] = ()
    custom_objects: Sequence[str] = ()
    unsafe: bool = False
    weights: str | Path | None = None
    signatures: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    batch_size: BatchSize | None = None
    image_bytes: bool = False
    examples: bool = False
    classify: str | Path | None = None
    regress: bool = False
    kind: Literal["embeddings", "vocabulary"] | None = None
    keys: str | Path | None = None
    metric: Literal["cosine", "dot", "l2"] | None = None
    k: int | None = None
    oov: str | None = None
    check_timeout_s: float = CHECK_TIMEOUT_S

    @property
    def changes_signatures(self) -> bool:
        """Whether the signatures differ from those of the model."""
        return bool(
            self.signatures
            or self.inputs
            or self.outputs
            or self.batch_size is not None
            or self.image_bytes
            or self.examples
            or self.classify
            or self.regress
        )

    def refuse_for(self, kind: str) -> None:
        """Raise InvalidInput if there are options that do not belong to a kind of source (`ModelSource.kind`)."""
        given = {
            "--arg": ("python", self.arguments),
            "--weights": ("python", self.weights),
            "--custom-objects": ("keras", self.custom_objects),
            "--unsafe": ("keras", self.unsafe),
            "--keys": ("embeddings", self.keys),
            "--metric": ("embeddings", self.metric),
            "--k": ("embeddings", self.k),
            "--oov": ("vocabulary", self.oov),
        }
        names = {
            "python": "a Python file",
            "keras": "a Keras file",
            "saved_model": "a SavedModel",
            "embeddings": "a file of vectors",
            "vocabulary": "a vocabulary",
        }
        for option, (belongs_to, value) in given.items():
            if value and kind != belongs_to:
                raise InvalidInput(f"{option} is for {names[belongs_to]}, but SOURCE is {names[kind]}")
        if kind == "vocabulary" and self.oov is None:
            raise InvalidInput("a vocabulary needs a rule for unknown tokens", hint=OOV_RULES)


def parse_renames(texts: Sequence[str], option: str) -> dict[str, str]:
    """Parse the `OLD=NEW` texts of an option. Raises InvalidInput."""
    renames = {}
    for text in texts:
        old, _, new = text.rpartition("=")
        if not old or not new:
            raise InvalidInput(f"{option} {text}: expected OLD=NEW", hint=f"for example {option} 0=score")
        renames[old] = new
    return renames


def parse_signatures(texts: Sequence[str]) -> dict[str, str]:
    """Parse the `NAME` and `NAME=NEW` texts of --signature."""
    pairs = (text.rpartition("=") for text in texts)
    return {old or new: new for old, _, new in pairs}


def parse_batch_size(text: str | None) -> BatchSize | None:
    """Parse the value of --batch-size. Raises InvalidInput."""
    if text is None or text == "none":
        return text  # type: ignore[return-value]  # mypy does not narrow str to the literal
    if text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0:
        return int(text)
    raise InvalidInput(f"--batch-size {text}: expected `none`, or the number of rows (1 or more)")


def one_of(text: str | None, option: str, values: tuple[ChoiceT, ...]) -> ChoiceT | None:
    """The value of an option, which is None or one of `values`. Raises InvalidInput."""
    found = next((value for value in values if value == text), None)
    if text is not None and found is None:
        raise InvalidInput(f"{option} {text}: expected one of {', '.join(values)}", hint=f"{option} {values[0]}")
    return found
