"""Ranks the policies by their held-out episodes, and says whose weights are on disk."""

import asyncio
from dataclasses import dataclass

from gateway.api.admin_responses import EvaluationObject
from gateway.services import Services
from rollout.ledger.evaluation import Evaluation, ranked
from rollout.policies import PolicyStore


@dataclass(frozen=True, slots=True)
class PolicyRanking:
    evaluations: dict[int, Evaluation]  # by version
    on_disk: frozenset[int]
    best: int | None

    @classmethod
    async def read(cls, services: Services, project: str) -> "PolicyRanking":
        """The weights directory is the served project's. Raises LedgerUnavailable."""
        evaluations = await services.ledger.evaluations(project)
        policies = PolicyStore(services.settings.weights_dir)
        is_served = project == services.store.project
        on_disk = frozenset(await asyncio.to_thread(policies.versions) if is_served else ())
        order = ranked(evaluations, min_episodes=services.settings.best_min_episodes)
        best = next((version for version in order if version in on_disk), None)
        return cls({each.version: each for each in evaluations}, on_disk, best)

    def evaluation(self, version: int) -> EvaluationObject | None:
        """The evaluation of one version; None before any of its held-out episodes was rewarded."""
        found = self.evaluations.get(version)
        return None if found is None else EvaluationObject.model_validate(found)
