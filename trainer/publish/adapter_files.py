"""An adapter directory as PEFT writes it, for all who read PEFT's.

SGLang 0.5.23 stacks q, k, v and gate, up as its products do: it takes no q_proj without v_proj, and no up_proj without gate_proj.
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
    """Fill a directory with the tensors and what they are to be added to. Raises OSError."""
    try:
        save_file(dict(tensors), directory / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    (directory / WEIGHTS).chmod(0o644)  # safetensors writes it for its owner only; engines read it
    (directory / CONFIG).write_text(json.dumps(_config(lora, base_dir), indent=2) + "\n")


def _config(lora: Lora, base_dir: Path) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base_dir),
        "r": lora.rank,
        # PEFT declares an integer and divides it by the rank, whatever it is.
        "lora_alpha": int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(lora.target_modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
