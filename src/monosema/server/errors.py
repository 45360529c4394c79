"""Errors of the API: every one is a JSON object that says what was wrong, in the user's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from monosema.core import InputError, MonosemaError
from monosema.core.language import LANGUAGES, translate
from monosema.server.replies import PlainJSON


class NotFoundError(InputError):
    """No such run, feature or job."""


class UnreadableError(InputError):
    """A request that does not fit its shape.

    Attributes:
        wrong: what is wrong with its fields, as pydantic tells.
        place: what they are fields of.
    """

    def __init__(self, wrong: Sequence[Mapping[str, Any]], place: str | None = None) -> None:
        self.wrong, self.place = wrong, place
        super().__init__(self.said("en"))

    def said(self, code: str) -> str:
        """Say in a language what is wrong with the first five."""
        place = () if self.place is None else (self.place,)
        fields = [(".".join(map(str, (*place, *one["loc"]))), translate(_shape(one), code)) for one in self.wrong[:5]]
        return translate(f"The request can’t be read: {'; '.join(f'{field}: {said}' for field, said in fields)}.", code)


class BusyError(MonosemaError):
    """Too much is asked for at once."""


BAD_REQUEST, NOT_FOUND, NOT_ALLOWED, CONFLICT, UNPROCESSABLE, TOO_MANY = 400, 404, 405, 409, 422, 429
SHAPES: Mapping[str, str] = {
    "missing": "is missing",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a number, not NaN or infinity",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
}
"""Sentences by the name that pydantic has for what is wrong with a value; of others its own are shown."""


def reply(message: str, status: int, request: Request | None = None, **more: object) -> JSONResponse:
    """Return an error as JSON; its text is in the first language that the request accepts and we speak."""
    said = message if request is None else translate(message, language_of(request))
    return PlainJSON({"error": {"message": said, **more}}, status)


def language_of(request: Request) -> str:
    """Return the code of the first language that a request accepts and we speak; English where there is none."""
    accepted = [one.split(";")[0].strip().lower()[:2] for one in request.headers.get("accept-language", "").split(",")]
    return next((code for code in accepted if code in LANGUAGES), "en")


def install(app: FastAPI) -> None:
    """Answer every error in the same shape: 404 for what is not there, 4xx for whatever else can't be done as asked."""

    @app.exception_handler(MonosemaError)
    async def of_ours(request: Request, error: MonosemaError) -> Response:
        return _answer(str(error), _status(error), request)

    @app.exception_handler(UnreadableError)
    async def of_shape(request: Request, error: UnreadableError) -> Response:
        return _answer(error.said(language_of(request)), UNPROCESSABLE, request)

    @app.exception_handler(RequestValidationError)
    async def of_request(request: Request, error: RequestValidationError) -> Response:
        if said := _no_json(request, error):
            return _answer(said, UNPROCESSABLE, request)
        return await of_shape(request, UnreadableError(error.errors()))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        said = {
            NOT_FOUND: "There is nothing at this address.",
            NOT_ALLOWED: f"This address does not take {request.method}.",
            BAD_REQUEST: "The request’s body can’t be read.",
        }.get(error.status_code, str(error.detail))
        answer = _answer(said, error.status_code, request)
        answer.headers.update(error.headers or {})
        return answer


def _answer(message: str, status: int, request: Request) -> Response:
    """Return an error as a page to a browser that opens one, else as JSON."""
    from monosema.server.shells import trouble

    reads = "text/html" in request.headers.get("accept", "") and request.method == "GET"
    if reads and not request.url.path.startswith(("/api/", "/static/")):
        return trouble(request, message, status)
    return reply(message, status, request)


def _no_json(request: Request, error: RequestValidationError) -> str | None:
    """Say where a body is no JSON, and what is expected; None for one that is."""
    body, wrong = error.body, error.errors()[0]
    if wrong["type"] == "json_invalid":
        place = wrong["loc"][-1]
        rest = body[place : place + 20]
        where = f"it can’t be read from character {place + 1} on, {rest!r}" if rest else "it ends too early"
    elif isinstance(body, bytes):
        kind = request.headers.get("content-type")
        where = "its content type is not 'application/json'"
        if kind is not None:
            where = f"its content type is {kind[:80]!r}, not 'application/json'"
    else:
        return None
    return f"The request’s body is no JSON: {where}. An object with these fields is expected: {_fields(request)}."


def _fields(request: Request) -> str:
    """Return the names of the fields of the body that an address takes."""
    return ", ".join(request.scope["route"].body_field.field_info.annotation.model_fields)


def _shape(wrong: Mapping[str, Any]) -> str:
    kind, context = wrong["type"], wrong.get("ctx", {})
    if kind in ("too_short", "too_long") and isinstance(wrong.get("input"), str):
        kind = f"string_{kind}"
    if context.get("min_length") == 1:
        return "must not be empty"
    said = SHAPES.get(kind)
    return str(wrong["msg"]).removeprefix("Value error, ") if said is None else said.format_map(context)


def _status(error: MonosemaError) -> int:
    """Return the status of an answer that tells of an error."""
    known = ((NotFoundError, NOT_FOUND), (InputError, BAD_REQUEST), (BusyError, TOO_MANY))
    return next((status for kind, status in known if isinstance(error, kind)), CONFLICT)
