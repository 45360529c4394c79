"""Errors of the API: every one is a JSON object that says what was wrong, in the user's language."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from monosema.core import InputError, MonosemaError
from monosema.core.language import LANGUAGES, translate
from monosema.server.replies import PlainJSON


class NotFoundError(InputError):
    """No such run, feature or job."""


class BusyError(MonosemaError):
    """Too much is asked for at once."""


BAD_REQUEST, NOT_FOUND, CONFLICT, UNPROCESSABLE, TOO_MANY = 400, 404, 409, 422, 429


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
    async def of_ours(request: Request, error: MonosemaError) -> JSONResponse:
        return reply(str(error), _status(error), request)

    @app.exception_handler(RequestValidationError)
    async def of_shape(request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5])
        return reply(f"The request can’t be read: {said}.", UNPROCESSABLE, request)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        said = "There is nothing at this address." if error.status_code == NOT_FOUND else str(error.detail)
        answer = reply(said, error.status_code, request)
        answer.headers.update(error.headers or {})
        return answer


def _status(error: MonosemaError) -> int:
    """Return the status of an answer that tells of an error."""
    known = ((NotFoundError, NOT_FOUND), (InputError, BAD_REQUEST), (BusyError, TOO_MANY))
    return next((status for kind, status in known if isinstance(error, kind)), CONFLICT)
