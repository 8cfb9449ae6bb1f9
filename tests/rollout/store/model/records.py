"""An episode and a group of the model, and what they wait for."""

from dataclasses import dataclass, field

from rollout import errors

Refusal = type[errors.StoreError] | None


TERMINAL = ("trained", "discarded")


MAX_DELIVERIES = 3


FAILED = 2  # seconds in which a failed episode may still get a reward


GIVE_UP = 10  # seconds to call again after a turn failed


TOKENS_A_TURN = 2


@dataclass
class Episode:
    id: str
    kind: str
    group: str | None
    opened: float
    idle_at: float
    status: str = "open"
    reason: str | None = None
    outcome: str = ""
    sealed_at: float = 0.0
    num_turns: int = 0  # ever committed; the data may be gone
    num_begun: int = 0
    least_begun: int = 0  # if Redis forgets all that it keeps in memory only
    committed_at: float = -1e9  # when a turn last wrote the deadlines
    withdrawn: set[str] = field(default_factory=set)
    turns: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    rewards: dict[str, float] = field(default_factory=dict)
    num_recorded: int = 0  # rewards, amended ones included
    policy_version: int | None = None
    forget_at: float | None = None
    key: str = ""
    holder: str | None = None  # of its place; None: it has none
    quiet_at: float | None = None  # when its place is given back
    began_at: float = 0.0  # its last sign of life
    in_outbox: bool = False

    @property
    def has_signal(self) -> bool:
        return self.kind != "side" and bool(self.versions)

    @property
    def is_waiting(self) -> bool:
        """Whether it ends at `idle_at`: if open, if sealed without a trainable turn, and if failed without a reward."""
        is_over = not self.has_signal or self.outcome == "failed"
        return self.status == "open" or (self.status == "sealed" and is_over)

    @property
    def disposition(self) -> str | None:
        return (
            self.reason
            if self.status == "discarded"
            else "trained"
            if self.policy_version
            else None
        )


@dataclass
class Group:
    id: str
    size: int
    wait: float
    key: str = ""
    ahead: int = 0  # places of members that have not opened
    ahead_until: float = 0.0
    is_late: bool = False  # it became ready without a place
    opened: int = 0
    status: str = "open"
    members: list[str] = field(default_factory=list)
    rewarded: int = 0
    discarded: int = 0
    deadline: float | None = None
    ready_at: float | None = None
    owner: str = ""
    lease: float = 0.0
    deliveries: int = 0
    version: int = 0
    restorable: bool = False
