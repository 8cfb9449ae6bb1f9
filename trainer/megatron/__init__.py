"""The learner on Megatron-Core. Nothing outside this package imports `megatron`, and only `platform.py` knows that a machine may lack a GPU."""

import warnings

# Megatron says at every import, and once per run about its own optimizer, that it goes without Apex and Transformer
# Engine. `platform.py` chose that; who started the trainer can do nothing about it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"megatron\.")
