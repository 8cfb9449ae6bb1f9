"""What a trainer on a CPU holds does not grow with the number of different batch lengths."""

import os
import subprocess
import sys

from deploy.stack.services import FEW_SHAPES

LENGTHS = 200
GROWTH_MB = 120  # 450 without the limits
PROGRAM = f"""
import torch
from trainer.megatron.kernels.linear import _product

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

weights = [torch.randn(rows, 128) for rows in (128, 512, 444)]
_product(torch.randn(60, 128), weights[0])
before = held()
for length in range({LENGTHS}):
    for weight in weights:
        _product(torch.randn(60 + length, 128), weight)
print(held() - before)
"""


def test_batches_of_many_lengths_do_not_fill_the_memory() -> None:
    """With the trainer's environment, products of hundreds of shapes keep the code of a few."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=os.environ | FEW_SHAPES,
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(ran.stdout) < GROWTH_MB
