"""`python -m rollout.engine_server`: one inference server on this machine, in the engine's own environment."""

import sys

from rollout.engine.sglang.server.launcher import main

if __name__ == "__main__":
    sys.exit(main())
