"""Hundreds of drawn requests to everything that the API says it has: an answer of the promised shape, never a 5xx.

`make fuzz` draws ten thousand.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from monosema.server import create_app

CASES = int(os.environ.get("MONOSEMA_FUZZ_CASES", "15"))
"""Drawn for each operation."""


@pytest.fixture(scope="module")
def api(served_run: Path) -> schemathesis.BaseSchema:
    """The API as its own description says it, over the small run."""
    return schemathesis.openapi.from_asgi(
        "/api/openapi.json", create_app([served_run], hosts=("testserver", "localhost"))
    )


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_brings_the_server_down(case: schemathesis.Case) -> None:
    if "run" in case.path_parameters and hash(str(case.path_parameters["run"])) % 4:
        case.path_parameters["run"] = "small"
    answer = case.call()
    case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance, content_type_conformance])
