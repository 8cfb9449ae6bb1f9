"""Whether a grammar can be compiled and sampled under without stopping the engine, tried before SGLang gets it.

SGLang compiles in threads that cannot be stopped and computes each token's mask in the loop that samples for everybody.
"""
