"""Signatures that take encoded images (JPEG, PNG, BMP, or the first frame of a GIF) instead of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import object_array
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.exporter.export_signature import ExportSignature

if TYPE_CHECKING:
    import tensorflow as tf

_SUFFIX = "_bytes"  # TensorFlow Serving's REST API writes such tensors in base64
_CHANNELS = (1, 3, 4)


def image_signature(signature: ExportSignature) -> ExportSignature:
    """The signature with a string [batch] instead of its image input [batch, height, width, channels].

    Images are resized to height and width (bilinear); pixels have values from 0 to 255. Raises InvalidInput if there is
    no such input, or several.
    """
    import tensorflow as tf

    position = _image_input(signature)
    image = signature.inputs[position]
    batch, height, width, channels = image.shape or ()

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        return tf.ensure_shape(tf.image.resize(pixels, [height, width], antialias=True), [height, width, channels])

    def call(*tensors: tf.Tensor) -> dict[str, Any]:
        pixels = tf.map_fn(decode, tensors[position], fn_output_signature=tf.float32)
        if not tf.as_dtype(image.dtype).is_floating:
            pixels = tf.clip_by_value(tf.round(pixels), 0, 255)
        arguments = list(tensors)
        arguments[position] = tf.cast(pixels, image.dtype)
        return signature.call(*arguments)

    inputs = list(signature.inputs)
    inputs[position] = TensorSpec(encoded_name(image.name), "string", (batch,))
    note = (
        f"input {encoded_name(image.name)} takes JPEG or PNG files: they are resized to {height}x{width}, "
        "with values from 0 to 255"
    )
    return replace(signature, inputs=tuple(inputs), call=call, notes=(*signature.notes, note))


def encoded_name(name: str) -> str:
    """The name of the input for encoded images: `photo_bytes` for `photo`; `image_bytes` for an unnamed input."""
    name = "image" if name == "inputs" else name
    return name if name.endswith(_SUFFIX) else name + _SUFFIX


def encoded_columns(signature: ExportSignature, columns: Mapping[str, np.ndarray]) -> dict[str | None, np.ndarray]:
    """Rows of a signature with their images as PNG files. Raises InvalidInput if they are not whole numbers of a byte."""
    import tensorflow as tf

    spec = signature.inputs[_image_input(signature)]
    pixels = columns[spec.name]
    if not np.array_equal(pixels, np.clip(np.round(pixels), 0, 255)):
        raise InvalidInput("their pixels are not whole numbers from 0 to 255")
    files = [tf.io.encode_png(image).numpy() for image in pixels.astype(np.uint8)]
    return {
        **{name: column for name, column in columns.items() if name != spec.name},
        encoded_name(spec.name): object_array(files),
    }


def _image_input(signature: ExportSignature) -> int:
    """The position of the image input. Raises InvalidInput if there is none or there are several."""
    found = [number for number, spec in enumerate(signature.inputs) if _is_image(spec)]
    if len(found) != 1:
        shapes = ", ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in signature.inputs)
        raise InvalidInput(
            f"--image-bytes needs one input [batch, height, width, channels] with fixed sizes; the model has {shapes}"
        )
    return found[0]


def _is_image(spec: TensorSpec) -> bool:
    dtype = dtypes.BY_NAME.get(spec.dtype)
    numeric = dtype is not None and dtype is not dtypes.STRING and not dtype.is_complex
    shape = spec.shape or ()
    return numeric and len(shape) == 4 and None not in shape[1:] and shape[3] in _CHANNELS
