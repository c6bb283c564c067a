"""Build a TensorRT engine from an ONNX file."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.artifacts.engine import Sidecar, sidecar_path
from deploy.artifacts.onnx import OnnxPredictor
from deploy.backends.cuda import gpu_name
from deploy.backends.tensorrt import TensorRtLog
from deploy.contract import INPUT
from regenhance_data.errors import InputError
from regenhance_data.io.files import write_bytes, write_json

if TYPE_CHECKING:
    import tensorrt as trt


def build_engine(
    file: OnnxPredictor,
    engine: Path,
    batches: tuple[int, int, int],
    workspace_mib: int,
    timing_cache: Path | None,
    tf32: bool,
) -> Sidecar:
    """Build an engine for this machine's GPU and write it, its sidecar and the timing cache.

    batches: (smallest, usual, largest) of the optimisation profile, all the graph's own where that is fixed. tf32:
    allow rounding of float32 to TF32, which was not compared. InputError with TensorRT's message where it fails.
    """
    import tensorrt as trt

    gpu = gpu_name()
    log = TensorRtLog()
    builder = trt.Builder(log.logger)
    network = builder.create_network(_typing())
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(file.content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise InputError(f"{file.path}: TensorRT {trt.__version__} does not parse it ({reasons[:200]})")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    _obey_types(config, network, file.metadata["precision"])
    if file.batch == 0:
        profile = builder.create_optimization_profile()
        smallest, usual, largest = (trt.Dims4(size, *file.input_hw, 3) for size in batches)
        profile.set_shape(INPUT, smallest, usual, largest)
        config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timing_cache.read_bytes() if timing_cache and timing_cache.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InputError(f"{timing_cache}: is not a timing cache of this GPU and TensorRT; remove it or give another")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"{file.path}: TensorRT {trt.__version__} builds no engine of it ({log.last()})")
    content = bytes(plan)
    sidecar = Sidecar(
        hashlib.sha256(file.content).hexdigest(),
        hashlib.sha256(content).hexdigest(),
        trt.__version__,
        gpu,
        file.metadata["precision"],
        *batches,
        list(file.input_hw),
        file.metadata,
    )
    write_bytes(engine, content)
    write_json(sidecar_path(engine), asdict(sidecar))
    if timing_cache:
        write_bytes(timing_cache, bytes(cache.serialize()))
    return sidecar


def _typing() -> int:
    """Flags for a strongly typed network. TensorRT 11 has no others and ignores the flag."""
    import tensorrt as trt

    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED if hasattr(flags, "STRONGLY_TYPED") else flags.EXPLICIT_BATCH)


def _obey_types(config: "trt.IBuilderConfig", network: "trt.INetworkDefinition", precision: str) -> None:
    """Make TensorRT 8.6, which has no strong typing, keep the graph's types, and let contexts share a profile."""
    import tensorrt as trt

    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return
    for name in {"fp16": ["FP16"], "int8": ["INT8"]}.get(precision, []):
        config.set_flag(getattr(trt.BuilderFlag, name))
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        kind = layer.get_output(0).dtype
        if precision == "fp16" and kind in (trt.float32, trt.float16):  # else the flag allows half for all
            layer.precision = kind
            layer.set_output_type(0, kind)
    # for several execution contexts; needs no flag from TensorRT 9 on
    config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
