"""One SGLang server on this machine, on whatever hardware it has.

Runs inside the engine's own environment, whose pins differ from ours: it imports SGLang and nothing else of this
repository.
"""
