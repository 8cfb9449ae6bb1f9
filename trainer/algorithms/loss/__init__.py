"""The policy losses, each with its record; a new one is a file here and a line in the table."""

from trainer.algorithms.loss.cispo import CISPO
from trainer.algorithms.loss.dppo import DPPO_TV
from trainer.algorithms.loss.gspo import GSPO, GSPO_TOKEN
from trainer.algorithms.loss.m2po import M2PO
from trainer.algorithms.loss.ppo import PPO_CLIP, SCORE_FUNCTION
from trainer.algorithms.loss.sapo import SAPO

POLICY_LOSSES = (SCORE_FUNCTION, PPO_CLIP, GSPO, GSPO_TOKEN, CISPO, SAPO, DPPO_TV, M2PO)
