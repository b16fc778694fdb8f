"""AWS JSON 1.0 and 1.1 over botocore's own service models, which check requests and shape answers."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from homeport.aws.errors import ApiError

_Handler = Callable[..., Awaitable[Mapping[str, Any]]]

# The model admits names of AWS's own registries alone; here any registry's are good.
_ANY_PATTERN = frozenset({"ImageIdentifier"})


@cache
def service_model(name: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


class Service:
    """A service of AWS's, whatever its protocol, and which of its operations are answered here.

    `operations` have an async method for each operation that is answered, named as boto3 names it; it takes
    the request's members by keyword and returns the response's.
    """

    def __init__(self, name: str, *operations: object) -> None:
        self.name = name
        self._model = service_model(name)
        self._handlers: dict[str, _Handler] = {
            operation: getattr(answerer, xform_name(operation))
            for operation in self._model.operation_names
            for answerer in operations
            if hasattr(answerer, xform_name(operation))
        }

    @property
    def answered(self) -> list[str]:
        """Names of the operations that are answered, as AWS writes them."""
        return list(self._handlers)

    def knows(self, operation: str) -> bool:
        """Whether AWS's service has such an operation."""
        return operation in self._model.operation_names


class JsonService(Service):
    """Answers the operations of one service in AWS JSON."""

    @property
    def target_prefix(self) -> str:
        return str(self._model.metadata["targetPrefix"])

    @property
    def media_type(self) -> str:
        return f"application/x-amz-json-{self._model.metadata['jsonVersion']}"

    async def answer(self, operation: str, body: bytes) -> bytes:
        """Raises ApiError for whatever is wrong with the call."""
        if not self.knows(operation):
            raise ApiError("UnknownOperationException", f"{self.name} has no operation {operation[:100]}")
        handler = self._handlers.get(operation)
        if handler is None:
            raise ApiError("UnknownOperationException", f"homeport does not answer {self.name} {operation}")
        model = self._model.operation_model(operation)
        result = await handler(**_request(model, body))
        return json.dumps(_response(model, result)).encode()

    def refusal(self, error: ApiError) -> bytes:
        return json.dumps({"__type": error.code, "message": str(error), "Message": str(error)}).encode()


def _request(model: OperationModel, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ApiError("SerializationException", f"the request is not JSON: {error}") from error
    return checked(model, document, _invalid_code(model))


def checked(model: OperationModel, document: Any, code: str) -> dict[str, Any]:
    """The request's members, if they are as the model says. Raises ApiError with `code`."""
    shape = model.input_shape
    if shape is None:
        return {}
    try:
        parsed: dict[str, Any] = _parse(shape, document, "")
    except _InvalidError as error:
        raise ApiError(code, str(error)) from error
    return parsed


def _invalid_code(model: OperationModel) -> str:
    """The error that this service uses for a request that makes no sense."""
    names = [shape.name for shape in model.error_shapes]
    known = ("InvalidRequestException", "InvalidParameterException")
    return next((name for name in known if name in names), "ValidationException")


class _InvalidError(Exception):
    """A member of the request is not what the model says."""


def _parse(shape: Shape, value: Any, path: str) -> Any:
    where = path or "the request"
    match shape:
        case StructureShape():
            return _structure(shape, _typed(value, dict, where), path)
        case ListShape():
            items = _typed(value, list, where)
            _bounded(shape, len(items), where, "items")
            return [_parse(shape.member, item, f"{path}[{index}]") for index, item in enumerate(items)]
        case MapShape():
            entries = _typed(value, dict, where)
            _bounded(shape, len(entries), where, "entries")
            return {
                _parse(shape.key, key, f"{path}.{key}"): _parse(shape.value, item, f"{path}.{key}")
                for key, item in entries.items()
            }
        case _:
            return _scalar(shape, value, where)


def _scalar(shape: Shape, value: Any, where: str) -> Any:
    match shape.type_name:
        case "string":
            return _string(shape, _typed(value, str, where), where)
        case "integer" | "long":
            number = _typed(value, int, where)
            _bounded(shape, number, where, "")
            return number
        case "boolean":
            return _typed(value, bool, where)
        case "double" | "float":
            return float(_typed(value, (int, float), where))
        case "timestamp":
            try:
                return datetime.fromtimestamp(_typed(value, (int, float), where), UTC)
            except (OverflowError, ValueError) as error:
                raise _InvalidError(f"{where} is no time") from error
        case "blob":
            try:
                return base64.b64decode(_typed(value, str, where), validate=True)
            except binascii.Error as error:
                raise _InvalidError(f"{where} is not base64") from error
    raise AssertionError(f"no AWS model has a type {shape.type_name}")


def _structure(shape: StructureShape, value: Mapping[str, Any], path: str) -> dict[str, Any]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            raise _InvalidError(f"{prefix}{name} is missing")
    unknown = value.keys() - shape.members.keys()
    if unknown:
        raise _InvalidError(f"{prefix}{min(unknown)} is not a member of {shape.name}")
    return {
        name: _parse(shape.members[name], member, f"{prefix}{name}")
        for name, member in value.items()
        if member is not None
    }


def _string(shape: Shape, value: str, where: str) -> str:
    _bounded(shape, len(value), where, "characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _InvalidError(f"{where} holds half of a surrogate pair")  # JSON can say it, UTF-8 cannot
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        raise _InvalidError(f"{where} is {value!r}, not one of {', '.join(allowed)}")
    pattern = shape.metadata.get("pattern")
    if pattern and shape.name not in _ANY_PATTERN and not re.fullmatch(readable(pattern), value, re.DOTALL):
        raise _InvalidError(f"{where} is {value!r}, which does not match {pattern}")
    return value


def readable(pattern: str) -> str:
    """AWS's patterns are Java's: letters, spaces and digits of all languages have another name there."""
    return pattern.replace(r"\p{L}\p{Z}\p{N}", r"\w\s")


def _bounded(shape: Shape, size: int, where: str, unit: str) -> None:
    lowest, highest = shape.metadata.get("min"), shape.metadata.get("max")
    if lowest is not None and size < lowest:
        raise _InvalidError(f"{where} is {size} {unit}".rstrip() + f", less than {lowest}")
    if highest is not None and size > highest:
        raise _InvalidError(f"{where} is {size} {unit}".rstrip() + f", more than {highest}")


def _typed(value: Any, kind: type | tuple[type, ...], where: str) -> Any:
    wrong_bool = isinstance(value, bool) and kind is not bool
    if not isinstance(value, kind) or wrong_bool:
        expected = kind[-1] if isinstance(kind, tuple) else kind
        raise _InvalidError(f"{where} is not of type {expected.__name__}")
    return value


def _response(model: OperationModel, result: Mapping[str, Any]) -> Any:
    return {} if model.output_shape is None else _shaped(model.output_shape, result)


def _shaped(shape: Shape, value: Any) -> Any:
    match shape:
        case StructureShape():
            # A member that the model lacks is our mistake, and a KeyError says so.
            return {
                name: _shaped(shape.members[name], item) for name, item in value.items() if item is not None
            }
        case ListShape():
            return [_shaped(shape.member, item) for item in value]
        case MapShape():
            return {key: _shaped(shape.value, item) for key, item in value.items()}
        case _:
            return value.timestamp() if shape.type_name == "timestamp" else value
