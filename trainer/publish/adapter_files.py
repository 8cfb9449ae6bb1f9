"""An adapter directory in PEFT's format.

SGLang 0.5.23 stacks q, k, v and gate, up in one product each: it refuses q_proj without v_proj, and up_proj without gate_proj.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from trainer.learner.lora import Lora

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def write_adapter(
    directory: Path, tensors: Iterable[tuple[str, Tensor]], lora: Lora, *, base_dir: Path
) -> None:
    """Write the tensors and the configuration, which names their base model. Raises OSError."""
    try:
        save_file(dict(tensors), directory / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    (directory / WEIGHTS).chmod(0o644)  # safetensors lets only its owner read it
    (directory / CONFIG).write_text(json.dumps(_config(lora, base_dir), indent=2) + "\n")


def _config(lora: Lora, base_dir: Path) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base_dir),
        "r": lora.rank,
        # PEFT declares an integer, and accepts a float.
        "lora_alpha": int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(lora.target_modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
