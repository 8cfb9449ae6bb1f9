"""The learners that a training job can be built with; the only module that imports `trainer.megatron`."""

from collections.abc import Mapping

from trainer.learner.learner import CreateLearner
from trainer.megatron.learner import MegatronLearner

BACKENDS: Mapping[str, CreateLearner] = {"megatron": MegatronLearner.create}
