"""From a checkpoint to an ONNX graph and a TensorRT engine."""
