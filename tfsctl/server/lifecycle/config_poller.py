"""Polls the --model_config_file and serves the models it lists (--model_config_file_poll_wait_seconds)."""

from __future__ import annotations

import asyncio
import logging
import os

from tfsctl.core import protos
from tfsctl.errors import InvalidInput
from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.status import ServingError, invalid_argument
from tfsctl.serving_config.model_config import PLATFORM, ModelConfig, models_from_proto

log = logging.getLogger(__name__)


async def poll_config_file(path: str, core: ServerCore, *, wait_s: float) -> None:
    """Read the file every `wait_s` seconds and reload the models if they have changed. Never returns.

    A file that cannot be read or applied changes nothing; the next poll tries again.
    """
    reloads: set[asyncio.Task[None]] = set()
    while True:
        await asyncio.sleep(wait_s)
        try:
            message = await asyncio.to_thread(_read, path)
            models = models_from_proto(message, platforms=dict.fromkeys(core.model_names, PLATFORM))
        except (ServingError, InvalidInput) as error:
            log.error("Failed to read ModelServerConfig file: %s", error)  # noqa: TRY400 - the file is at fault
            continue
        except Exception:  # polling continues after an error
            log.exception("Failed to read ModelServerConfig file")
            continue
        if models != core.models:
            # In a separate task: polling continues while a reload waits for a model that is missing.
            reload = asyncio.create_task(_reload(core, models))
            reloads.add(reload)
            reload.add_done_callback(reloads.discard)


def _read(path: str) -> protos.ModelServerConfig:
    """Read the file. Raises ServingError, also for a pipe: a thread that waits for its writer could not be ended."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise invalid_argument(f"{path}; it is not a regular file")
    return read_config_file(path, protos.ModelServerConfig())


async def _reload(core: ServerCore, models: tuple[ModelConfig, ...]) -> None:
    try:
        await core.reload(models)
    except ServingError as error:
        log.error("PollFilesystemAndReloadConfig failed to ReloadConfig: %s", error)  # noqa: TRY400 - the config is
    except Exception:
        log.exception("PollFilesystemAndReloadConfig failed to ReloadConfig")
