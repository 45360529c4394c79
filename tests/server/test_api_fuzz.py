"""Hundreds of drawn requests to everything that the API says it has: an answer of the promised shape, never a 5xx.

`make fuzz` draws ten thousand.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from monosema.server import create_app

CASES = int(os.environ.get("MONOSEMA_FUZZ_CASES", "12"))
"""Drawn for each operation."""
CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]


def test_no_drawn_request_brings_the_server_down(served_run: Path) -> None:
    app = create_app([served_run], hosts=("testserver",))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    answers: Counter[int] = Counter()
    failures = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        def ask(case: schemathesis.Case) -> None:
            # Three of four ask for the run that there is, so that what lies behind its name is reached.
            if "run" in (case.path_parameters or {}) and sum(map(ord, str(case.path_parameters["run"]))) % 4:
                case.path_parameters["run"] = "small"
            answer = case.call()
            answers[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        try:
            ask()
        except (Exception, BaseExceptionGroup) as error:
            failures.append(f"{operation.label}: {error}")
    print(f"{sum(answers.values())} requests: {dict(sorted(answers.items()))}")
    assert not failures, "\n\n".join(failures)
    assert answers[200] > CASES
