"""Parses the option `-i`: `name=value` or `name=@file`; `@file` alone if the model has one input.

The suffix of a file tells its format: `.npy` is an array, `.json` a JSON value, `.txt` text, anything else an image. For
an input of strings, a file with another suffix is one string: its bytes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core.types import Signature, TensorSpec
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.literals import load_json

if TYPE_CHECKING:
    import numpy as np


def split_pair(text: str, only_name: str | None = None) -> tuple[str, str]:
    """The name and value of `name=value`. `@file` alone gets the name `only_name`, if given. Raises InvalidInput."""
    if text.startswith("@") and only_name is not None:
        return only_name, text
    name, equals, value = text.partition("=")
    if not equals or not name or value == "@":
        raise InvalidInput(f"-i {text!r} is not NAME=VALUE", hint="-i NAME=VALUE, or -i NAME=@FILE")
    return name, value


def only_name(signature: Signature) -> str | None:
    """The name of the only input; None if there are several."""
    return signature.inputs[0].name if len(signature.inputs) == 1 else None


def read_bytes(path: str, *, hint: str = "to send text that begins with @, write NAME=@… without -i") -> bytes:
    """The contents of a file. Raises NotFound, with the hint, or InvalidInput if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"no file {path}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def read_text(content: bytes) -> str:
    """The text of a file without the byte order mark and the final line break that editors add."""
    return content.decode("utf-8-sig", "surrogateescape").removesuffix("\n").removesuffix("\r")


def read_json(content: bytes, path: str) -> object:
    """The value of a JSON file. Raises InvalidInput."""
    try:
        return load_json(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error


def read_file(path: str, spec: TensorSpec) -> object:
    """The value of a file for an input: an array (a batch or a row), a JSON value, text or bytes.

    Raises NotFound for a missing file, InvalidInput for one that cannot be read or has another format than its suffix.
    """
    content, suffix = read_bytes(path), Path(path).suffix.lower()
    if suffix == ".npy":
        return read_array(content, path)
    if suffix == ".json":
        return read_json(content, path)
    if suffix == ".txt":
        return read_text(content)
    if spec.dtype == "string":
        return content
    return _image(content, path, spec)


def read_array(content: bytes, path: str) -> np.ndarray:
    """The array of a `.npy` file. Raises InvalidInput."""
    import numpy as np

    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise InvalidInput(f"{path} is not a .npy file of numbers or text: {error}") from error
    if not isinstance(array, np.ndarray):  # an archive of arrays
        raise InvalidInput(f"{path} is a .npz file, and holds several arrays", hint="numpy.save writes one array")
    return array


def _image(content: bytes, path: str, spec: TensorSpec) -> np.ndarray:
    from tfsctl.inputs.images import decode_image, takes_images

    if not takes_images(spec):
        raise InvalidInput(f"{path}: values for {spec.name} ({spec.dtype} {spec.shape_text}) go in .npy, .json or .txt")
    try:
        return decode_image(content, spec)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}", hint=error.hint) from error
