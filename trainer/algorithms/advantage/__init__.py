"""The advantages, each with its record; a new one is a file here and a line in the table."""

from trainer.algorithms.advantage.gae import GAE
from trainer.algorithms.advantage.group_relative import (
    DR_GRPO,
    GRPO,
    LITE_PPO,
    MAX_RL,
    REINFORCE,
    RLOO,
)
from trainer.algorithms.advantage.rejection import BEST_OF_GROUP, REJECTION_SAMPLING

ADVANTAGES = (
    *(GRPO, DR_GRPO, RLOO, LITE_PPO, MAX_RL),
    *(BEST_OF_GROUP, REJECTION_SAMPLING, REINFORCE, GAE),
)
