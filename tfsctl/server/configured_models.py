"""Which models a command line asks for, refused in the real server's words when it asks for none or for nonsense."""

from __future__ import annotations

from pathlib import Path

from tfsctl.core.serving_config import ModelConfig, check_base_path, parse_model_config
from tfsctl.errors import InvalidInput
from tfsctl.server.flags import Flags
from tfsctl.server.status import Code, ServingError, invalid_argument


def configured_models(flags: Flags) -> tuple[ModelConfig, ...]:
    """The models the flags ask for. Raises INVALID_ARGUMENT or NOT_FOUND as the real server's start does."""
    if flags.model_config_file:
        path = flags.model_config_file
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise invalid_argument(f"Invalid protobuf file: '{path}'") from error
        if not text:
            raise invalid_argument(f"{path}; Invalid argument")
        try:
            return parse_model_config(text, source=path)
        except InvalidInput as error:
            raise invalid_argument(error.message) from error
    if not flags.model_base_path:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
    try:
        check_base_path(flags.model_name, flags.model_base_path)
    except InvalidInput as error:
        raise invalid_argument(error.message) from error
    return (ModelConfig(flags.model_name, flags.model_base_path),)
