"""`python -m rollout.engine_server`: one inference server on this machine, in the engine's own environment.

`--kind` chooses the server; every other argument is for the launcher of that kind.
"""

import argparse
import sys
from importlib import import_module

# Imported only when chosen, because each kind of server has an environment of its own.
LAUNCHERS = {"sglang": "rollout.engine.sglang.server.launcher"}


def main() -> int:
    """Serve until a signal stops it; return the exit status."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--kind", choices=LAUNCHERS, default="sglang")
    chosen, arguments = parser.parse_known_args()
    launcher = import_module(LAUNCHERS[chosen.kind])
    return int(launcher.main(arguments))


if __name__ == "__main__":
    sys.exit(main())
