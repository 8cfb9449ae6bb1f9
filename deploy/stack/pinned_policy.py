"""The files of a policy, kept while an engine starts.

An engine reads them minutes after it was told which: by then the trainer may have published many, and deleted this one.
"""

import os
import shutil
from pathlib import Path

from deploy.gateway_api.served_policy import ServedPolicy


def pinned(policy: ServedPolicy, directory: Path) -> ServedPolicy:
    """The same policy by other names of its files, in `directory`; the policy itself where files cannot have two names."""
    shutil.rmtree(directory, ignore_errors=True)
    kept = directory / policy.path.name
    try:
        shutil.copytree(policy.path, kept, copy_function=_link)
    except OSError:  # shutil.Error too: another file system
        shutil.rmtree(directory, ignore_errors=True)
        return policy
    return ServedPolicy(kept, policy.version)


def _link(source: str, name: str) -> None:
    """A second name of the file itself: a downloaded model has relative links, which lead nowhere from another directory."""
    os.link(os.path.realpath(source), name)
