"""What the processor of the tests can do."""

from pathlib import Path

import pytest

_CPU = Path("/proc/cpuinfo")
# without VNNI, the runtimes of x86 cut sums of products of 8 bits at 16 bits, and their values are others
_HAS_VNNI = not _CPU.exists() or "avx" not in _CPU.read_text() or "vnni" in _CPU.read_text()
needs_vnni = pytest.mark.skipif(not _HAS_VNNI, reason="this processor cuts sums of 8 bits at 16")
