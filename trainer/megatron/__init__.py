"""The learner on Megatron-Core. Nothing outside this package imports `megatron`, and only `platform.py` knows that a machine may lack a GPU."""
