"""Whether the gateways' metrics say what the store's totals say."""

from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from rollout.audit.counts import ENDED
from rollout.audit.offender import Offender, Suspects

CALL_SECONDS = 10.0


async def read_metrics(url: str, project: str) -> dict[str, float]:
    """`turngate_episodes_total` by disposition, and `opened`. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(timeout=CALL_SECONDS) as http:
        reply = (await http.get(url)).raise_for_status()
    found = {}
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            if sample.labels.get("project", project) != project:
                continue
            if sample.name == "turngate_episodes_opened_total":
                found["opened"] = sample.value
            elif sample.name == "turngate_episodes_total":
                found[sample.labels["disposition"]] = sample.value
    return found


def check_metrics(
    url: str, shown: Mapping[str, float], totals: Mapping[str, str]
) -> list[Offender]:
    """The counts that a gateway shows; they were read after the totals, and before they changed."""
    suspects = Suspects("metric", url)
    for name in ("opened", *ENDED):
        known = float(totals.get(name, 0))
        suspects.expect(shown.get(name, 0.0) == known, f"{name} {known:g}", shown.get(name))
    return suspects.found
