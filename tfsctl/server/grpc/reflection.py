"""gRPC server reflection (--enable_reflection): lets tools like grpcurl list and describe the services.

Protocol: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md; its v1 is v1alpha under another name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from tfsctl.core import protos
from tfsctl.server.grpc.streaming import StreamingCall
from tfsctl.server.status import Code

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
PATHS = tuple(f"/{service}/ServerReflectionInfo" for service in SERVICES)


class Reflection:
    """Describes the services of this server, given by their full names."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = sorted((*services, *SERVICES))

    async def info(self, call: StreamingCall) -> None:
        """Answer the requests of one stream. Each file is sent once per stream, with all files that it imports."""
        pool = await asyncio.to_thread(_pool)  # the first call loads messages that nothing else needs
        sent: set[str] = set()
        async for raw in call.messages():
            request = protos.ServerReflectionRequest.FromString(raw)
            response = protos.ServerReflectionResponse(valid_host=request.host, original_request=request)
            self._answer(request, response, pool, sent)
            await call.send(response.SerializeToString())

    def _answer(
        self,
        request: protos.ServerReflectionRequest,
        response: protos.ServerReflectionResponse,
        pool: DescriptorPool,
        sent: set[str],
    ) -> None:
        """Fill the response to one request. `sent` holds the names of the files that the stream has sent."""
        question = request.WhichOneof("message_request")
        try:
            if question == "list_services":
                for service in self._services:
                    response.list_services_response.service.add(name=service)
            elif question == "all_extension_numbers_of_type":
                _add_extension_numbers(response, pool, request.all_extension_numbers_of_type)
            elif question in _FILE_FINDERS:
                _add_files(response, [_FILE_FINDERS[question](pool, request)], sent)
            else:
                _fail(response, Code.INVALID_ARGUMENT, "The request has no known field")
        except KeyError:
            name = str(getattr(request, question or "")).strip()
            _fail(response, Code.NOT_FOUND, f"{name} not found")


def _fail(response: protos.ServerReflectionResponse, code: Code, message: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = message


def _file_by_filename(pool: DescriptorPool, request: protos.ServerReflectionRequest) -> FileDescriptor:
    return pool.FindFileByName(request.file_by_filename)


def _file_by_symbol(pool: DescriptorPool, request: protos.ServerReflectionRequest) -> FileDescriptor:
    symbol = request.file_containing_symbol
    try:
        return pool.FindFileContainingSymbol(symbol)
    except KeyError:  # Python's pool leaves methods out
        return pool.FindMethodByName(symbol).containing_service.file


def _file_by_extension(pool: DescriptorPool, request: protos.ServerReflectionRequest) -> FileDescriptor:
    wanted = request.file_containing_extension
    extended = pool.FindMessageTypeByName(wanted.containing_type)
    extension: Any = pool.FindExtensionByNumber(extended, wanted.extension_number)  # types-protobuf lacks its `file`
    file: FileDescriptor = extension.file
    return file


_FILE_FINDERS = {
    "file_by_filename": _file_by_filename,
    "file_containing_symbol": _file_by_symbol,
    "file_containing_extension": _file_by_extension,
}
"""By the field that a request has set: the function that finds the file it asks for. All raise KeyError."""


def _add_extension_numbers(response: protos.ServerReflectionResponse, pool: DescriptorPool, type_name: str) -> None:
    extended = pool.FindMessageTypeByName(type_name)
    response.all_extension_numbers_response.base_type_name = extended.full_name
    numbers = sorted(extension.number for extension in pool.FindAllExtensions(extended))
    response.all_extension_numbers_response.extension_number.extend(numbers)


def _add_files(response: protos.ServerReflectionResponse, files: Iterable[FileDescriptor], sent: set[str]) -> None:
    """Add the requested files, followed by their imports that were not sent before."""
    to_send = list(files)
    for file in to_send:  # grows while it is iterated
        response.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)
        sent.add(file.name)
        to_send += [imported for imported in file.dependencies if imported.name not in sent and imported not in to_send]


@cache
def _pool() -> DescriptorPool:
    """The pool of all loaded messages, with the services' files in it."""
    from google.protobuf import descriptor_pb2, text_format

    protos.service("PredictionService")
    protos.service("ModelService")
    alpha = protos.ServerReflectionRequest.DESCRIPTOR.file
    pool = protos.HealthCheckRequest.DESCRIPTOR.file.pool
    file = descriptor_pb2.FileDescriptorProto()
    alpha.CopyToProto(file)
    text = text_format.MessageToString(file).replace("v1alpha", "v1")
    pool.Add(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()))
    return pool
