"""Memory of the CPU that is freed stays with the process, as the GPU's does in torch.

glibc gives large blocks back to the system at once. A training step allocates the same blocks
again, and the system clears every page of them: a tenth to a fifth of a step.
"""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt (malloc.h).
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, from now on; whether there was a glibc to tell.

    Settings in the environment (``MALLOC_TRIM_THRESHOLD_``, …) of other allocators are not touched.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # macOS, musl, Windows
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))
