"""How models compute here: without gradients, and with a number of threads that results may depend on, so that it is fixed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def inference(threads: int) -> Iterator[None]:
    """No gradients, and this many threads on a CPU; the caller's own number comes back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)
