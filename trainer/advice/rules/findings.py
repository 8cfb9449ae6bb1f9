"""Findings: compositions that cannot learn, or that do something else than their settings suggest.

An error stops the start before any weight is touched, a warning is logged, only `explain` shows a note.
"""

import logging
from dataclasses import dataclass

from rollout.settings import SettingsError
from trainer.advice.rules.critic import CRITIC_RULES
from trainer.advice.rules.ratios import RATIO_RULES
from trainer.advice.rules.rewards import REWARD_RULES
from trainer.advice.rules.rule import Severity
from trainer.advice.rules.setup import Setup
from trainer.composition.composition import Composition
from trainer.settings import Settings

log = logging.getLogger("trainer")

RULES = (*REWARD_RULES, *CRITIC_RULES, *RATIO_RULES)


@dataclass(frozen=True, slots=True)
class Finding:
    rule: str
    severity: Severity
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


def findings(at: Setup) -> list[Finding]:
    """Problems of a setup, errors first."""
    found = [
        Finding(rule.name, rule.severity, rule.problem.format(**at.values), rule.remedy)
        for rule in RULES
        if rule.applies(at)
    ]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def vetted(settings: Settings) -> Composition:
    """The composition to train with; its errors are raised as one SettingsError, its warnings are logged."""
    at = Setup.of(settings)
    found = findings(at)
    errors = [str(finding) for finding in found if finding.severity is Severity.ERROR]
    if errors:
        raise SettingsError(f"algorithm {settings.algorithm}: {'. '.join(errors)}")
    for finding in found:
        if finding.severity is Severity.WARNING:
            fields = {"finding": finding.rule, "problem": finding.problem, "remedy": finding.remedy}
            log.warning("algorithm", extra=fields)
    return at.parts
