"""`python -m rollout.engine_server`.

SGLang's workers are spawned, and a spawned child re-imports the parent's main module, which is what carries the CPU
shim into it. Multiprocessing leaves a package's `__main__` out of that, so `server` is made the main module instead.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("rollout.engine_server.server", run_name="__main__", alter_sys=True)
