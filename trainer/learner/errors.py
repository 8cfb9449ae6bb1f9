"""Errors in the inputs of a learner; each is raised before any weight is changed.

LearnerError
├── ModelNotSupported   the architecture, or one of its options, is not implemented
├── LoraNotSupported    this model cannot have the requested adapters
├── ImagesNotSupported  a sequence contains images, and the learner reads text only
├── WeightsMismatch     the weight files and the model disagree
├── CheckpointError     the checkpoint is of another model or release
│   └── CheckpointDamaged   it is incomplete, or its files have changed
└── LayoutError         the processes cannot be arranged in the requested layout
"""


class LearnerError(ValueError):
    pass


class ModelNotSupported(LearnerError):
    pass


class LoraNotSupported(LearnerError):
    pass


class ImagesNotSupported(LearnerError):
    pass


class WeightsMismatch(LearnerError):
    pass


class CheckpointError(LearnerError):
    pass


class CheckpointDamaged(CheckpointError):
    pass


class LayoutError(LearnerError):
    pass
