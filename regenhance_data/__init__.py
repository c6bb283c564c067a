"""From camera video to a PaddleSeg dataset of macroblock importance."""

import os
import sys

__version__ = "0.1.0"
KIT = "regenhance-kit"  # signs the predictors it exports

# Libraries that tell their makers of their use, or look for them, unless this is said before they are imported: ONNX
# Runtime, Ray and OpenVINO, which then takes its package of telemetry as absent. Processes of this one inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
