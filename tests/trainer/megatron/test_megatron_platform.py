"""The CPU replacements: each replaces an existing name."""

import pytest
import torch

from trainer.megatron import platform
from trainer.megatron.platform import Patch


def test_every_replaced_name_is_in_place() -> None:
    """After installing, twice, each listed name of torch and Megatron is its replacement."""
    platform.install(0)
    platform.install(0)
    patches = list(platform.patches())
    assert len(patches) > (5 if platform.has_cuda() else 30)
    assert all(hasattr(patch.owner, patch.name) for patch in patches)
    assert torch.zeros(1).cuda().device == platform.device()


def test_a_name_that_upstream_no_longer_has_is_reported() -> None:
    """A replacement without its original names the module and the symbol."""
    with pytest.raises(RuntimeError, match="torch has no 'no_such_name'"):
        Patch(torch, "no_such_name", None).apply()
