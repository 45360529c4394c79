"""Hundreds of drawn requests to everything that the API says it has: never a 5xx, and every refusal says why.

`make fuzz` draws ten thousand.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # at once: within a test Python 3.11 can be too deep to parse what it brings
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error

from monosema.server import create_app

CASES = int(os.environ.get("MONOSEMA_FUZZ_CASES", "10"))
"""Drawn for each operation."""


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
def test_no_drawn_request_brings_the_server_down(served_run: Path) -> None:
    app = create_app([served_run], hosts=("testserver",))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    answers: Counter[int] = Counter()
    failures: dict[str, str] = {}
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        def ask(case: schemathesis.Case) -> None:
            # Three of four ask for the run that there is, so that what lies behind its name is reached.
            if "run" in (case.path_parameters or {}) and sum(map(ord, str(case.path_parameters["run"]))) % 4:
                case.path_parameters["run"] = "small"
            try:
                answer = case.call()
                answers[answer.status_code] += 1
                case.validate_response(answer, checks=[not_a_server_error])
                assert answer.status_code < 400 or answer.json()["error"]["message"]
            except (Exception, BaseExceptionGroup) as error:
                failures[case.operation.label] = str(error)

        ask()
    print(f"{sum(answers.values())} requests: {dict(sorted(answers.items()))}")
    assert not failures, failures
    assert answers[200] > CASES
