"""Images are converted to the input of a signature."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfsctl.core.types import Shape, TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.inputs.images import decode_image, takes_images


def encoded(pixels: Any, *, orientation: int = 1) -> bytes:
    """A PNG file of these pixels; `orientation` is what a camera notes of how it was held."""
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "png", exif=exif)
    return file.getvalue()


RED_AND_BLUE = encoded([[[255, 0, 0], [0, 0, 255]]])


@pytest.mark.parametrize(
    ("dtype", "shape", "wanted"),
    [
        ("uint8", (None, None, None, 3), [[[255, 0, 0], [0, 0, 255]]]),
        ("uint8", (None, None, None, None), [[[255, 0, 0], [0, 0, 255]]]),
        ("float32", (None, 1, 2, 4), [[[255.0, 0, 0, 255], [0, 0, 255, 255]]]),
        ("float32", (None, 1, 2, 1), [[[76.0], [29]]]),
        ("int32", (None, 1, 2), [[76, 29]]),
        ("uint8", (None, 3, 1, 2), [[[255, 0]], [[0, 0]], [[0, 255]]]),
        ("uint8", (1, 2, 3), [[[255, 0, 0], [0, 0, 255]]]),
        ("uint8", None, [[[255, 0, 0], [0, 0, 255]]]),
    ],
)
def test_decoded_to_the_dtype_and_layout_of_the_input(dtype: str, shape: Shape | None, wanted: Any) -> None:
    """Channels last or first, none, one, three or four; the dtype is the input's, the values are 0 to 255."""
    row = decode_image(RED_AND_BLUE, TensorSpec("image", dtype, shape))

    assert row.tolist() == wanted
    assert row.dtype == dtype


def test_16_bit_images_are_scaled() -> None:
    """Not cut off at 255, as Pillow would."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 30000, 65535]], np.uint16)).save(file, "png")

    row = decode_image(file.getvalue(), TensorSpec("image", "uint8", (None, 1, 3, 3)))

    assert row[0, :, 0].tolist() == [0, 117, 255]


def test_resized_to_the_size_of_the_input() -> None:
    """An image of another size is resized, in both directions."""
    row = decode_image(encoded([[[9, 9, 9]] * 30] * 20), TensorSpec("image", "uint8", (None, 4, 60, 3)))

    assert row.shape == (4, 60, 3)
    assert (row == 9).all()


def test_a_rotated_photograph_stands_upright() -> None:
    """A photograph taken with the camera on its side stands upright."""
    row = decode_image(
        encoded([[[1, 1, 1], [2, 2, 2]]], orientation=6), TensorSpec("i", "uint8", (None, None, None, 1))
    )

    assert row.tolist() == [[[1]], [[2]]]


@pytest.mark.parametrize(("shape", "row_shape"), [((None,), ()), ((None, 1), (1,)), (None, ())])
def test_image_for_an_input_of_strings(shape: Shape | None, row_shape: tuple[int, ...]) -> None:
    """A model that decodes images itself gets the file."""
    row = decode_image(RED_AND_BLUE, TensorSpec("image", "string", shape))

    assert row.shape == row_shape
    assert row.ravel().tolist() == [RED_AND_BLUE]


def test_damaged_images_are_refused() -> None:
    """Neither other bytes nor an image cut short pass for one."""
    spec = TensorSpec("image", "uint8", (None, 1, 2, 3))
    for content in (b"", b"text", RED_AND_BLUE[:-30]):
        with pytest.raises(InvalidInput, match="not an image"):
            decode_image(content, spec)


@pytest.mark.parametrize("spec", [TensorSpec("x", "float32", (None, 3)), TensorSpec("x", "bool", (None, 2, 2, 3))])
def test_inputs_that_take_no_images(spec: TensorSpec) -> None:
    """An input of another shape or dtype is named."""
    assert not takes_images(spec)
    with pytest.raises(InvalidInput, match="'x' is"):
        decode_image(RED_AND_BLUE, spec)
