"""Bodies of requests -> checked schemas. Everything is refused that is not exactly what a route reads."""

import asyncio
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.server.errors import misread

Some = TypeVar("Some", bound=BaseModel)

JSON, FORM = "application/json", "multipart/form-data"
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
"""One of the events of a stream, which are what its schema is of."""
SMALL = 16 << 10
"""Bytes of JSON that are read on the spot; more is read beside the loop that everyone waits for."""


class Form(NamedTuple):
    """A form: its fields as text, and the bytes of its files, in order, by the name of their field."""

    fields: dict[str, Any]
    files: dict[str, list[bytes]]


def content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, schema: type[Some]) -> Some:
    """The body as `schema`.

    Raises:
        MaquetteError: MQ-2205 another content type, MQ-2201 what is no strict JSON object, MQ-2204 too many values,
            MQ-2202 and MQ-2203 what `schema` does not have.
    """
    if content_type(request) != JSON:
        raise MaquetteError("MQ-2205", wanted=JSON)
    data = await request.body()
    most = request.app.state.settings.commas
    if data.count(b",") > most:
        raise MaquetteError("MQ-2204", what="body", most=f"{most} values")
    if len(data) <= SMALL:
        return _checked(_parsed(data), schema, strict=True)
    return await asyncio.to_thread(lambda: _checked(_parsed(data), schema, strict=True))


async def read_form(request: Request, schema: type[Some], files: frozenset[str]) -> tuple[Some, dict[str, list[bytes]]]:
    """The fields of a multipart form as `schema`, and the bytes of its files, which may have the names `files`.

    Raises:
        MaquetteError: as `read_json`, and MQ-2204 for too many parts.
    """
    if content_type(request) != FORM:
        raise MaquetteError("MQ-2205", wanted=FORM)
    form = await _form(request)
    if strange := form.files.keys() - files:
        raise MaquetteError("MQ-2203", count=len(strange), near="files here: " + ", ".join(sorted(files) or ["none"]))
    return _checked(_listed(form.fields, schema), schema, strict=False), form.files


async def _form(request: Request) -> Form:
    limits = request.app.state.settings
    fields: dict[str, Any] = {}
    files: dict[str, list[bytes]] = {}
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=limits.files,
        max_fields=limits.fields,
        max_part_size=limits.field,
    )
    try:
        form = await parser.parse()
    except MultiPartException as bad:
        if not bad.message.startswith(("Too many", "Part exceeded")):
            raise MaquetteError("MQ-2201", reason="it is no whole multipart form") from None
        most = f"{limits.files} files and {limits.fields} fields of {limits.field} bytes"
        raise MaquetteError("MQ-2204", what="form", most=most) from None
    opened = parser._files_to_close_on_error
    try:
        for name, value in form.multi_items():
            bare = name.removesuffix("[]")
            if isinstance(value, UploadFile):
                files.setdefault(bare, []).append(await value.read())
            elif name.endswith("[]"):
                fields.setdefault(bare, []).append(value)
            elif bare in fields:
                raise MaquetteError("MQ-2202", "", path="the form", wanted="each field stands once", more="")
            else:
                fields[bare] = value
        if len(opened) != sum(map(len, files.values())):  # the last one never ended
            raise MaquetteError("MQ-2201", reason="it is no whole multipart form")
    finally:
        for left in opened:
            left.close()
    return Form(fields, files)


def _listed(fields: Mapping[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """Fields that `schema` holds as lists, as lists."""
    several = {name for name, field in schema.model_fields.items() if "list" in str(field.annotation)}
    single = {name: value[0] for name, value in fields.items() if isinstance(value, list) and name not in several}
    return dict(fields) | single


def _parsed(data: bytes) -> Any:
    try:
        tree = parse_json(data, "body")
    except MaquetteError as bad:
        said = bad.values["reason"]
        known = ("deeper than", "text with half", "a key stands", "Expecting", "Extra data", "Unterminated")
        raise MaquetteError("MQ-2201", reason=said if said.startswith(known) else "a value in it is none") from None
    if not isinstance(tree, dict):
        raise MaquetteError("MQ-2201", reason="it is no object")
    return tree


def _checked(tree: Any, schema: type[Some], strict: bool) -> Some:
    try:
        return schema.model_validate(tree, strict=strict)
    except ValidationError as bad:
        faults = bad.errors(include_input=False, include_url=False, include_context=False)
        raise misread(faults, sorted(schema.model_fields)) from None


def described(schema: type[BaseModel], *types: str, files: tuple[str, ...] = ()) -> dict[str, Any]:
    """What OpenAPI is told of a route that reads `schema`: the route reads its body itself, so that keys come first."""
    ref = {"$ref": f"#/components/schemas/{schema.__name__}"}
    content: dict[str, Any] = {}
    for kind in types or (JSON,):
        if kind == FORM:
            tree = schema.model_json_schema(ref_template="#/components/schemas/{model}")
            tree.pop("$defs", None)
            for name in files:
                tree.setdefault("properties", {})[name] = {"type": "string", "format": "binary"}
            content[kind] = {"schema": tree}
        else:
            content[kind] = {"schema": ref}
    return {"requestBody": {"required": True, "content": content}, "x-schema": schema.__name__}


def answers(*types: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI is told of the content types of an answer, where it is not JSON alone."""
    schemas = {JSON: {"type": "object"}, "text/event-stream": EVENT}
    content = {kind: {"schema": schemas.get(kind, {"type": "string", "format": "binary"})} for kind in types}
    return {200: {"description": "What was asked for", "content": content}}


def all_schemas(module: typing.Any) -> dict[str, Any]:
    """The JSON schemas of all models of `module`, for OpenAPI's components."""
    found: dict[str, Any] = {}
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__:
            tree = value.model_json_schema(ref_template="#/components/schemas/{model}")
            found |= tree.pop("$defs", {})
            found[value.__name__] = tree
    return found
