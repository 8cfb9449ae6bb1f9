"""How the model and the batch are spread over the processes of one training job."""

from dataclasses import dataclass

from trainer.learner.errors import LayoutError


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of the parallel dimensions; data parallelism uses the remaining processes."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: int = 1  # processes that share the experts of a layer
    context_parallel: int = 1  # processes that share the tokens of each sequence
    sequence_parallel: bool = False  # activations between tensor-parallel regions are split too
    distributed_optimizer: bool = True  # optimizer state is split over the data-parallel ranks

    def data_parallel(self, world_size: int) -> int:
        """How many copies of the model `world_size` processes hold; LayoutError if they cannot hold whole copies."""
        model_size = self.tensor_parallel * self.pipeline_parallel * self.context_parallel
        if model_size < 1 or world_size % model_size:
            raise LayoutError(
                f"{world_size} processes cannot hold copies of a model spread over {model_size} "
                f"(tensor {self.tensor_parallel} x pipeline {self.pipeline_parallel} x context {self.context_parallel}); "
                "start a multiple of it"
            )
        if self.sequence_parallel and self.tensor_parallel == 1:
            raise LayoutError("sequence_parallel needs tensor_parallel of 2 or more")
        self._check_experts(world_size)
        return world_size // model_size

    @property
    def expert_tensor_parallel(self) -> int:
        """Processes per expert. Without expert parallelism experts are split like all layers, because Megatron 0.16 sums
        their gradients wrongly otherwise; with it each expert is whole.
        """
        return self.tensor_parallel if self.expert_parallel == 1 else 1

    def _check_experts(self, world_size: int) -> None:
        expert_size = self.expert_parallel * self.expert_tensor_parallel * self.pipeline_parallel
        if self.expert_parallel < 1 or world_size % expert_size:
            raise LayoutError(
                f"{world_size} processes cannot share experts over {self.expert_parallel} "
                f"(x tensor {self.expert_tensor_parallel} x pipeline {self.pipeline_parallel}); start a multiple of it"
            )
