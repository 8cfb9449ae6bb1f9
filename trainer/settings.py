"""The settings of `python -m trainer`, read from its environment once, at start.

The defaults of the learner are for the demo, which trains 0.35 M parameters.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from rollout.settings import SharedSettings
from trainer.batch.staleness import Beyond
from trainer.composition.composition import Composition
from trainer.composition.presets import DEFAULT, PRESETS, Preset, preset, starting_point
from trainer.composition.registry import choosing_from
from trainer.feed.replay_buffer import Order
from trainer.learner.lora import PROJECTIONS, Projection
from trainer.learner.optimizer import Schedule
from trainer.plugins.loading import load_plugins
from trainer.telemetry.metric_writers import ensure_installed


class Settings(Composition, SharedSettings):
    """Every part of the composition is a setting; those that are not set have the algorithm's value."""

    composition: ClassVar[type[Composition]] = Composition
    presets: ClassVar[Mapping[str, Preset]] = PRESETS
    model_config = SettingsConfigDict(env_prefix="TURNGATE_TRAINER_", extra="ignore")

    metrics_host: str = Field(default="127.0.0.1", description="where /metrics listens")
    metrics_port: int = Field(
        default=9102, ge=0, le=65535, description="0 takes a free one, named in the ready file"
    )
    ready_file: Path | None = Field(
        default=None, description="written with host and port when training can start"
    )
    checkpoint_dir: Path = Field(
        default=Path("checkpoints"), description="training resumes from here"
    )
    checkpoint_every_steps: int = Field(
        default=1,
        ge=1,
        description="a checkpoint is written after this number of optimizer steps, and at every shutdown; a death costs what was trained since",
    )
    checkpoints_kept: int = Field(default=2, ge=1, description="older ones are deleted")
    policies_kept: int = Field(
        default=8,
        ge=2,
        description="published directories that are kept; an engine may still load one",
    )
    best_kept: int = Field(
        default=1,
        ge=0,
        description="policies that are best on held-out episodes and are kept, with their checkpoints, however old they are",
    )
    tensorboard_dir: Path | None = Field(
        default=None, description="the numbers of every step are written here as TensorBoard events"
    )
    wandb_dir: Path | None = Field(
        default=None, description="the same, as offline runs of Weights & Biases"
    )
    seed: int = Field(default=0, description="seed of dropout and initialization")

    groups_per_batch: int = Field(
        default=8, ge=1, description="groups that one policy is trained on"
    )
    group_size: int = Field(
        default=8, ge=1, description="expected episodes per group; admission depends on it"
    )
    key_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="the part of all places of admission that one key may hold; 1 lets one key take all",
    )
    max_staleness: int = Field(
        default=4, ge=0, description="in policy versions; admission depends on it, 0 is synchronous"
    )
    stale_tokens: Beyond = Field(
        default="drop",
        description="if a token is older than max_staleness: drop its group, mask stale tokens, or down_weight them",
    )
    buffer_groups: int = Field(
        default=0, ge=0, description="groups held for the next batches; 0: those of one batch"
    )
    batch_order: Order = Field(
        default="oldest",
        description="order in a buffer larger than a batch: oldest first, or by priority, groups whose rewards differ before others",
    )
    lease_seconds: float = Field(
        default=60.0, gt=0, description="lease of a claim; it is renewed while training"
    )

    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="dtype of the model's weights"
    )
    tensor_parallel: int = Field(default=1, ge=1, description="processes per layer")
    pipeline_parallel: int = Field(default=1, ge=1, description="pipeline stages")
    sequence_parallel: bool = Field(default=False, description="needs tensor_parallel of 2 or more")
    expert_parallel: int = Field(
        default=1, ge=1, description="processes that share a layer's experts"
    )
    context_parallel: int = Field(
        default=1, ge=1, description="processes that share the tokens of each sequence"
    )
    recompute: Literal["none", "selective", "full"] = Field(
        default="none",
        description="activations that the backward pass computes again to save memory: selective those of attention, full all",
    )
    lora_rank: int = Field(
        default=0,
        ge=0,
        description="rank of adapters that are trained instead of the weights; 0: none",
    )
    lora_alpha: float = Field(
        default=32.0, gt=0, description="an adapter's product is scaled by alpha / rank"
    )
    lora_target_modules: Annotated[tuple[Projection, ...], NoDecode] = Field(
        default=PROJECTIONS, description="projections with an adapter, comma separated"
    )
    lora_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="dropout of an adapter's input, in optimizer steps"
    )
    tokens_per_microbatch: int = Field(
        default=8192, ge=1, description="packed tokens per forward-backward"
    )
    learning_rate: float = Field(
        default=3e-4, gt=0, description="use about 1e-6 for models over 1B parameters"
    )
    schedule: Schedule = Field(
        default="constant", description="of the learning rate, after the warm-up"
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="optimizer steps in which the learning rate grows from 0"
    )
    decay_steps: int = Field(
        default=0,
        ge=0,
        description="the step, warm-up included, after which the learning rate is at its minimum",
    )
    minimum_learning_rate_ratio: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the minimum of the learning rate, as a fraction of learning_rate",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="Adam")
    epsilon: float = Field(default=1e-8, gt=0, description="Adam")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled, as in AdamW; norms and biases do not decay"
    )
    clip_gradient_norm: float = Field(default=1.0, ge=0, description="0 does not clip")

    plugins: str = Field(
        default="",
        description="files (`my_rl.py`) and entry points of `turngate.plugins` whose losses, advantages, corrections, reward transforms, episode filters and presets can be chosen, comma separated",
    )
    algorithm: str = Field(
        default=DEFAULT, description="the preset that every part below comes from unless it is set"
    )
    reference_dir: Path | None = Field(
        default=None,
        description="Hugging Face directory of the reference policy of a KL term; the starting policy by default",
    )

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """With the entries, settings and presets of the plug-ins that the environment names."""
        names = environment.get(cls.variable("plugins"), "")
        if not names:
            return super().load(environment)
        catalog = load_plugins(names, taken=cls.model_fields)
        kind = choosing_from(catalog.composition.known)(cls)
        kind.composition, kind.presets = catalog.composition, catalog.presets
        return super(Settings, kind).load(environment)

    @model_validator(mode="before")
    @classmethod
    def _start_from_the_algorithm(cls, values: dict[str, Any]) -> dict[str, Any]:
        algorithm = values.get("algorithm", DEFAULT)
        if algorithm not in cls.presets:
            return values
        return starting_point(algorithm, values, cls.presets) | values

    @field_validator("lora_target_modules", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("algorithm")
    @classmethod
    def _is_an_algorithm(cls, algorithm: str) -> str:
        preset(algorithm, cls.presets)
        return algorithm

    @field_validator("group_size")
    @classmethod
    def _can_be_opened(cls, size: int, info: ValidationInfo) -> int:
        if size > info.data.get("max_group_size", size):
            raise ValueError(
                f"no group of {size} could open; set TURNGATE_MAX_GROUP_SIZE to {size} or more"
            )
        return size

    @field_validator("tensorboard_dir", "wandb_dir")
    @classmethod
    def _can_be_written(cls, directory: Path | None, info: ValidationInfo) -> Path | None:
        if directory is not None:
            ensure_installed(str(info.field_name).removesuffix("_dir"))
        return directory

    @field_validator("decay_steps")
    @classmethod
    def _fits_the_schedule(cls, steps: int, info: ValidationInfo) -> int:
        schedule, warmup = info.data.get("schedule", "constant"), info.data.get("warmup_steps", 0)
        if schedule == "constant" and steps > 0:
            raise ValueError("a constant schedule never decays; set schedule to linear or cosine")
        if schedule != "constant" and steps <= warmup:
            raise ValueError(
                f"a {schedule} schedule needs decay_steps above the {warmup} steps of the warm-up"
            )
        return steps

    @field_validator("minimum_learning_rate_ratio")
    @classmethod
    def _is_reached(cls, ratio: float, info: ValidationInfo) -> float:
        if ratio > 0 and info.data.get("schedule", "constant") == "constant":
            raise ValueError("a constant schedule never decays; set schedule to linear or cosine")
        return ratio

    @field_validator("correction_high")
    @classmethod
    def _not_below_correction_low(cls, high: float, info: ValidationInfo) -> float:
        if high < info.data.get("correction_low", 0.0):
            raise ValueError("below correction_low no token would train; raise it")
        return high

    @field_validator("buffer_groups")
    @classmethod
    def _holds_a_batch(cls, groups: int, info: ValidationInfo) -> int:
        if 0 < groups < info.data.get("groups_per_batch", 0):
            raise ValueError("a batch would never be complete; set at least groups_per_batch, or 0")
        return groups

    @property
    def parts(self) -> Composition:
        """The algorithm as it will run."""
        kind = self.composition
        return kind.model_validate({name: getattr(self, name) for name in kind.model_fields})

    @property
    def max_live_episodes(self) -> int:
        """The places of admission. More than stay fresh, so that a key which is alone fills those, and others need not wait."""
        return int(self.max_live_episodes_per_key / self.key_share)

    @property
    def max_live_episodes_per_key(self) -> int:
        """A group admitted beyond this would be stale when it is trained."""
        return (self.max_staleness + 1) * self.groups_per_batch * self.group_size
