"""What the gateway shows, as frozen records. Fields that this release does not know are left out."""

from turngate.records.episode import (
    EpisodeDetail,
    EpisodeSummary,
    Group,
    GroupMember,
    NewReward,
    Opened,
    RecordedReward,
    RewardAnswer,
    Segment,
    TokenSequence,
    Turn,
)
from turngate.records.key import Key, NewKey
from turngate.records.policy import Activation, Evaluation, Model, Policy, Training

__all__ = [
    "Activation",
    "EpisodeDetail",
    "EpisodeSummary",
    "Evaluation",
    "Group",
    "GroupMember",
    "Key",
    "Model",
    "NewKey",
    "NewReward",
    "Opened",
    "Policy",
    "RecordedReward",
    "RewardAnswer",
    "Segment",
    "TokenSequence",
    "Training",
    "Turn",
]
