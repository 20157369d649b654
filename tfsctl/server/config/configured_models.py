"""The models that a command line configures, with the real server's errors for missing or invalid ones."""

from __future__ import annotations

from tfsctl.core import protos
from tfsctl.errors import InvalidInput
from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.config.flags import Flags
from tfsctl.server.status import invalid_argument
from tfsctl.serving_config.model_config import ModelConfig, check_base_path, models_from_proto


def configured_models(flags: Flags) -> tuple[ModelConfig, ...]:
    """The models that the flags configure. Raises INVALID_ARGUMENT or NOT_FOUND like the real server at its start."""
    try:
        if flags.model_config_file:
            message = read_config_file(flags.model_config_file, protos.ModelServerConfig())
            return models_from_proto(message)
        if not flags.model_base_path:
            raise invalid_argument(
                "Both server_options.model_base_path and server_options.model_config_file are empty!"
            )
        check_base_path(flags.model_name, flags.model_base_path)
    except InvalidInput as error:
        raise invalid_argument(error.message) from error
    return (ModelConfig(flags.model_name, flags.model_base_path),)
