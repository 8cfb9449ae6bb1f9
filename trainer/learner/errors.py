"""What can be wrong with a learner's inputs; each is raised before a weight is touched.

LearnerError
├── ModelNotSupported   the architecture, or an option of it, has no map
├── LoraNotSupported    the adapters asked for cannot be had on this model
├── ImagesNotSupported  a sequence shows images to models that read text
├── WeightsMismatch     the weight files and the model disagree
├── CheckpointError     the checkpoint is unfinished, damaged or of another model
└── LayoutError         the processes cannot be arranged as asked
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


class LayoutError(LearnerError):
    pass
