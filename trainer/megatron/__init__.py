"""The learner on Megatron-Core. Nothing outside this package imports `megatron`, and only `platform.py` knows that a machine may lack a GPU."""

import warnings

# Megatron warns at every import, and once about its optimizer, that Apex and TransformerEngine are missing. `platform.py`
# handles that, and the user can do nothing about it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"megatron\.")

from trainer.megatron.megatron_import import import_megatron  # noqa: E402 - after the filter

import_megatron()
