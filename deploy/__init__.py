"""From a checkpoint to a predictor that runs: export, runtimes, latency."""
