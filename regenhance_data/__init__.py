"""From camera video to a PaddleSeg dataset of macroblock importance."""

__version__ = "0.1.0"
KIT = "regenhance-kit"  # signs the predictors it exports
