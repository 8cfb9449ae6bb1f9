"""Groups whose data cannot be made into a batch: they are found one by one, so that the others train."""

from collections.abc import Callable, Sequence

from rollout.episode.group import Claim
from trainer.batch.batch import Batch


class BrokenGroups(Exception):
    """These claims cannot be prepared."""

    def __init__(self, claims: Sequence[Claim], cause: Exception) -> None:
        super().__init__(repr(cause))
        self.claims = claims

    @property
    def names(self) -> str:
        return ",".join(claim.group_id for claim in self.claims)

    @classmethod
    def named(cls, claims: Sequence[Claim], prepare: Callable[[Sequence[Claim]], Batch]) -> Batch:
        """The batch; raises BrokenGroups with those that cannot be prepared alone, or with all."""
        try:
            return prepare(claims)
        except Exception as error:  # what agents left in the store stops its own group alone
            broken = [claim for claim in claims if _fails(prepare, claim)]
            raise cls(broken or claims, error) from error


def sound(claims: Sequence[Claim], broken: BrokenGroups) -> list[Claim]:
    """The other claims."""
    return [claim for claim in claims if claim not in broken.claims]


def _fails(prepare: Callable[[Sequence[Claim]], Batch], claim: Claim) -> bool:
    try:
        prepare([claim])
    except Exception:  # as above
        return True
    return False
