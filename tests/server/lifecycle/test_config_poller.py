"""Polling of the model config file: no content of the file ends it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest
from text_protos import nested_struct
from waiting import wait_for

from tfsctl.server.lifecycle.config_poller import poll_config_file
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.serving_config.model_config import ModelConfig


class Core:
    """A core that notes the models which it is to serve. `error` is raised by the next reload."""

    def __init__(self) -> None:
        self.models: tuple[ModelConfig, ...] = ()
        self.error: Exception | None = None

    @property
    def model_names(self) -> list[str]:
        """The names of the models."""
        return [model.name for model in self.models]

    async def reload(self, models: tuple[ModelConfig, ...]) -> None:
        """Serve these models."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.models = models


def config(name: str) -> str:
    """A file with one model."""
    return f'model_config_list {{ config {{ name: "{name}" base_path: "/m" model_platform: "tensorflow" }} }}'


@pytest.mark.parametrize("kind", ["deep", "pipe", "directory", "loop", "bug"])
def test_the_file_is_polled_after_one_that_cannot_be_read(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next valid content is applied; a named pipe is not opened, as that waits for its writer."""
    file, core = tmp_path / "models.config", Core()
    if kind == "deep":
        file.write_text(nested_struct(2000))
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file)
    else:
        file.write_text(config("a"))
        core.error = KeyError("a bug")

    async def poll() -> None:
        polling = asyncio.create_task(poll_config_file(str(file), cast("ServerCore", core), wait_s=0.01))
        await asyncio.to_thread(
            wait_for, lambda: "ModelServerConfig file" in caplog.text or "failed to ReloadConfig" in caplog.text
        )
        if kind == "directory":
            file.rmdir()
        draft = tmp_path / "draft"
        draft.write_text(config("b"))
        draft.replace(file)
        await asyncio.to_thread(wait_for, lambda: core.model_names == ["b"])
        polling.cancel()

    asyncio.run(poll())
