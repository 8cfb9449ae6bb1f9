"""The control plane answers as its own description in OpenAPI says, whatever is sent."""

import pytest
import schemathesis
from anyio import to_thread
from hypothesis import given
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.gateways import ADMIN_KEY, Gateway
from tests.profiles import examples, per_profile

KEY = {"Authorization": f"Bearer {ADMIN_KEY}"}
EXCEPT = [
    # A schema cannot say that one of two fields is needed, or what the limit of this installation is.
    positive_data_acceptance,
    # A number may be written in a string, and 8.0 is an integer.
    negative_data_rejection,
]


def failures(operation: APIOperation, mode: GenerationMode) -> list[str]:
    @examples(per_profile(ci=0.04, nightly=0.1))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_described(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=KEY, excluded_checks=EXCEPT)

    try:
        answers_as_described()
    except FailureGroup as found:
        return [str(found)]
    except Unsatisfiable:  # nothing wrong can be sent to an operation without parameters
        return []
    return []


def all_failures(url: str) -> list[str]:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 20
    return [f for each in operations for mode in GenerationMode for f in failures(each, mode)]


@pytest.mark.timeout(900)
async def test_every_answer_is_described(served: Gateway) -> None:
    """Right and wrong parameters and bodies get a status, a content type and a body that the description names."""
    assert await to_thread.run_sync(all_failures, served.url) == []
