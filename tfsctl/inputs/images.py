"""Converts image files to an input of a signature: their bytes for strings, otherwise decoded, resized and cast.

Pixel values stay 0 to 255, as `keras.utils.load_img` returns them: a signature does not say whether a model takes 0 to 1.
Images are decoded by Pillow, an optional dependency (`pip install 'tfsctl[images]'`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfsctl.core import dtypes
from tfsctl.core.types import Shape, TensorSpec
from tfsctl.errors import InvalidInput, TfsctlError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a tensor holds one image.

    `height` and `width` are None if they are free. `channels` is 0 if the tensor has no channel dimension.
    """

    height: int | None
    width: int | None
    channels: int
    channels_first: bool = False


def takes_images(spec: TensorSpec) -> bool:
    """Whether an input can hold images: strings, or numbers in the shape of an image."""
    return spec.dtype == "string" or _layout(spec) is not None


def decode_image(content: bytes, spec: TensorSpec) -> np.ndarray:
    """One row of an input from the bytes of an image file: the shape of the input without its batch dimension.

    Raises InvalidInput if the bytes are not an image or the input cannot hold one, TfsctlError without Pillow.
    """
    import numpy as np

    if spec.dtype == "string":
        row = np.empty((1,) * len((spec.shape or ())[1:]), dtype=object)
        row[...] = content
        return row
    return _row(_pixels(content, _required_layout(spec)), spec)


def image_row(image: Image, spec: TensorSpec) -> np.ndarray:
    """One row of an input from a PIL image: its pixels, or a PNG file for an input of strings. Raises InvalidInput."""
    if spec.dtype == "string":
        content = io.BytesIO()
        image.save(content, "PNG")
        return decode_image(content.getvalue(), spec)
    return _row(_scaled_pixels(image, _required_layout(spec)), spec)


def _required_layout(spec: TensorSpec) -> _Layout:
    layout = _layout(spec)
    if layout is None:
        raise InvalidInput(f"input {spec.name!r} is {spec.dtype} {spec.shape_text}: an image does not fit this shape")
    return layout


def _row(values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The row of an input from pixels, uint8 [height, width, channels]."""
    import numpy as np

    layout = _required_layout(spec)
    if not layout.channels:
        values = values[:, :, 0]
    elif layout.channels_first:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, dtype=dtypes.BY_NAME[spec.dtype].numpy)


def _pixels(content: bytes, layout: _Layout) -> np.ndarray:
    """Decode to uint8 [height, width, channels], rotated as the EXIF data say."""
    try:
        from PIL import Image
    except ImportError as error:
        raise TfsctlError("decoding images needs Pillow, which is not installed", hint="pip install pillow") from error
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return _scaled_pixels(opened, layout)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        words = (
            "too many pixels"
            if isinstance(error, Image.DecompressionBombError)
            else "not an image that Pillow can decode"
        )
        raise InvalidInput(words) from error


def _scaled_pixels(image: Image, layout: _Layout) -> np.ndarray:
    """The pixels of an image, uint8 [height, width, channels], rotated as the EXIF data say and scaled to the layout."""
    import numpy as np
    from PIL import Image as PilImage
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # Pillow would clip 16-bit values at 255 instead of scaling them
        upright = PilImage.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    image = upright.convert(_MODE_OF_CHANNELS[layout.channels or 1])
    size = (layout.width or image.width, layout.height or image.height)
    if image.size != size:
        image = image.resize(size, PilImage.Resampling.BILINEAR)
    return np.asarray(image).reshape(size[1], size[0], -1)


def _layout(spec: TensorSpec) -> _Layout | None:
    """The layout of the images of an input; None if its dtype or shape is not that of an image."""
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or not (dtype.is_floating or dtype.is_integer) or spec.dtype in ("int8", "int4", "uint4"):
        return None
    shape = spec.shape
    if shape is None:
        return _Layout(None, None, 3)
    if len(shape) == 4:
        return _image_layout(shape[1:])
    if len(shape) == 3:
        return _image_layout(shape) if shape[2] in _MODE_OF_CHANNELS else _Layout(shape[1], shape[2], 0)
    return None


def _image_layout(shape: Shape) -> _Layout | None:
    """The layout of an image of three dimensions."""
    if shape[2] is None and shape[0] not in _MODE_OF_CHANNELS:
        return _Layout(shape[0], shape[1], 3)
    if shape[2] in _MODE_OF_CHANNELS:
        return _Layout(shape[0], shape[1], shape[2])
    return _Layout(shape[1], shape[2], shape[0], channels_first=True) if shape[0] in _MODE_OF_CHANNELS else None
