"""tfsctl/core/protos.pyi, the types of the messages, is what its script generates."""

from __future__ import annotations

import pytest
from generate_protos_stub import STUB, stub_text, versions


def test_the_stub_is_up_to_date() -> None:
    """The file equals what the script writes for the installed messages."""
    text = STUB.read_text(encoding="utf-8")
    if f"from the messages of {versions()};" not in text:
        pytest.skip("the stub was generated from other versions of TensorFlow and gRPC")

    assert text == stub_text()
