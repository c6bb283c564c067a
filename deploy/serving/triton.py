"""Triton model repositories: configurations and versions."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format  # type: ignore[import-untyped]

from deploy.artifacts.engine import read_sidecar
from deploy.artifacts.onnx import read_onnx, shape_of
from deploy.contract import ENGINE_SUFFIX, INPUT, ONNX_SUFFIX, OUTPUT
from deploy.serving.settings import DEVICE_OF, MAX_BATCH_SIZE, NO_ACCELERATOR, Serving
from regenhance_data import console
from regenhance_data.errors import InputError, one_line
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import sha256, write_new, write_text
from regenhance_data.io.leftovers import remove_abandoned, remove_unfinished, temporary_folder

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


CONFIG = "config.pbtxt"
ANY = -1  # a dimension that each request sets, as Triton writes it
_BATCH = "max_batch_size"
# (platform, backend, file name, default device). All are written: Triton guesses missing ones from the first folder
# that it finds.
_KINDS = {
    ONNX_SUFFIX: ("onnxruntime_onnx", "onnxruntime", "model.onnx", "cpu"),
    ENGINE_SUFFIX: ("tensorrt_plan", "tensorrt", "model.plan", "gpu"),
}


@dataclass(frozen=True)
class ServedFile:
    """A predictor's file and what a server must know about it.

    input_shape, output_shape: all dimensions, batch included; ANY where each request sets it, from 1 to `max_batch`
    (None: no limit). metadata: what the export wrote, all strings.
    """

    path: Path
    metadata: dict[str, str]
    input_shape: Sequence[int]
    output_shape: Sequence[int]
    max_batch: int | None = None

    @property
    def is_dynamic(self) -> bool:
        return self.input_shape[0] == ANY


def read_served(path: Path) -> ServedFile:
    """Read what a server must know about a predictor. InputError for a file that is not a predictor of this kit."""
    if path.suffix not in _KINDS:
        raise InputError(f"{path}: expected an .onnx of deploy/export_onnx.py or an .engine of deploy/onnx2trt.py")
    return _read_onnx(path) if path.suffix == ONNX_SUFFIX else _read_engine(path)


def _read_onnx(path: Path) -> ServedFile:
    file = read_onnx(path)
    graph = file.model.graph
    frames, importance = ([size or ANY for size in shape_of(port)] for port in (graph.input[0], graph.output[0]))
    return ServedFile(path, file.metadata, frames, importance)


def _read_engine(path: Path) -> ServedFile:
    about = read_sidecar(path)
    low, high = about.min_batch, about.max_batch
    if low != high and low != 1:
        raise InputError(f"{path}: takes {low} frames or more, a server sends single ones; build it for 1 to {high}")
    height, width = about.input_hw
    grid = MacroblockGrid(height, width, int(about.metadata["mb_size"]))
    picture = grid.shape if about.metadata["head"] == "macroblock" else (height, width)
    batch = high if low == high else ANY
    return ServedFile(path, about.metadata, (batch, height, width, 3), (batch, *picture), high)


def model_config(name: str, served: ServedFile, serving: Serving, kept: "ModelConfig | None" = None) -> "ModelConfig":
    """Triton's configuration of a predictor, in its own schema. InputError where file and settings do not fit.

    kept: that of the model's earlier versions. What neither the file nor `serving` says stays as it is there; of
    another kind of file nothing does, and `add_version` refuses it.
    """
    schema = _schema()
    platform, backend, filename, device = _KINDS[served.path.suffix]
    kept = kept if kept is not None and kept.platform == platform else None
    max_batch = _max_batch(served, serving, None if kept is None else kept.max_batch_size)
    start = 1 if max_batch else 0
    input_dims, output_dims = served.input_shape[start:], served.output_shape[start:]
    warmup = schema.ModelWarmup.Input(data_type=schema.TYPE_UINT8, dims=input_dims, zero_data=True)
    said = schema.ModelConfig(
        name=name,
        platform=platform,
        backend=backend,
        default_model_filename=filename,
        input=[schema.ModelInput(name=INPUT, data_type=schema.TYPE_UINT8, dims=input_dims)],
        output=[schema.ModelOutput(name=OUTPUT, data_type=schema.TYPE_FP32, dims=output_dims)],
        # engines initialise at their first frame, which should not be a camera's
        model_warmup=[schema.ModelWarmup(name="zeros", batch_size=1, inputs={INPUT: warmup})],
        parameters={key: schema.ModelParameter(string_value=value) for key, value in served.metadata.items()},
    )
    config = schema.ModelConfig(
        instance_group=[schema.ModelInstanceGroup(count=1, kind=f"KIND_{device.upper()}")],
        version_policy={"latest": {"num_versions": 1}},
        dynamic_batching={},  # even where all its fields are defaults
    )
    if kept is not None:
        config.CopyFrom(kept)
    is_same = [*config.input, *config.output] == [*said.input, *said.output]
    for field in ("input", "output", "model_warmup"):  # a warm-up of the same input may be the operator's
        (said if is_same else config).ClearField(field)
    config.MergeFrom(said)
    config.max_batch_size = max_batch
    _set_batching(config, serving)
    _set_devices(config, served.path, serving)
    if serving.num_versions:
        config.version_policy.latest.num_versions = serving.num_versions
    return config


def _max_batch(served: ServedFile, serving: Serving, kept: int | None) -> int:
    """Triton's max_batch_size: 0 for a graph of a fixed batch, which is a dimension like the others then, and where
    that of earlier versions, `kept`, is 0 and no flag is about batches.
    """
    asked = {name: getattr(serving, name) for name in ("max_batch_size", "preferred_batch_size", "max_queue_delay_us")}
    flags = " ".join(f"--{name}" for name, value in asked.items() if value is not None)
    if flags and not served.is_dynamic:
        frames = served.input_shape[0]
        raise InputError(f"{served.path}: takes {frames} frames, always; leave out {flags}, or export it dynamic")
    if not served.is_dynamic or (kept == 0 and not flags):
        return 0
    most = served.max_batch or kept or MAX_BATCH_SIZE
    found = serving.max_batch_size or min(kept or most, most)
    if served.max_batch and found > served.max_batch:
        raise InputError(f"{served.path}: takes {served.max_batch} frames at most, --max_batch_size says {found}")
    if max(serving.preferred_batch_size or [1]) > found:
        raise InputError(f"--preferred_batch_size: expected at most --max_batch_size, which is {found}")
    return found


def _set_batching(config: "ModelConfig", serving: Serving) -> None:
    """Set what flags say of batches, and limit what earlier versions have to a new maximum."""
    most, batching = config.max_batch_size, config.dynamic_batching
    if not most:
        config.ClearField("dynamic_batching")
        return
    kept, asked = [*batching.preferred_batch_size], serving.preferred_batch_size
    sizes = [size for size in (kept if asked is None else asked) if size <= most]
    if sizes != kept:
        if asked is None:
            large = " ".join(str(size) for size in kept if size > most)
            what = f"preferred_batch_size {large} of its {CONFIG} is left out"
            console.warn(f"{config.name}: takes {most} frames at most; {what}")
        batching.ClearField("preferred_batch_size")
        batching.preferred_batch_size.extend(sizes)
    if serving.max_queue_delay_us is not None:
        batching.max_queue_delay_microseconds = serving.max_queue_delay_us
    for warmup in config.model_warmup:
        warmup.batch_size = min(warmup.batch_size, most)


def _set_devices(config: "ModelConfig", path: Path, serving: Serving) -> None:
    """Set what flags say of instances, device and accelerator. InputError where these do not go together."""
    is_engine = config.backend == "tensorrt"
    if is_engine and serving.device == "cpu":
        raise InputError(f"{path}: an engine runs on a GPU; leave out --device cpu, or give the .onnx")
    if serving.instances or serving.device:
        for group in config.instance_group or [config.instance_group.add()]:
            group.count = serving.instances or group.count
            if serving.device:
                group.kind = group.Kind.Value(f"KIND_{serving.device.upper()}")
            if serving.device == "cpu":
                group.ClearField("gpus")
    listed = [f"{device}_execution_accelerator" for device in ("cpu", "gpu")]
    names = [one.name for key in listed for one in getattr(config.optimization.execution_accelerators, key)]
    if serving.accelerator and serving.accelerator not in names:
        names = [serving.accelerator]
        config.optimization.ClearField("execution_accelerators")
        if serving.accelerator != NO_ACCELERATOR:
            key = f"{DEVICE_OF[serving.accelerator]}_execution_accelerator"
            getattr(config.optimization.execution_accelerators, key).add(name=serving.accelerator)
    kinds = [group.Kind.Name(group.kind) for group in config.instance_group]
    for name, device in DEVICE_OF.items() if serving.accelerator or serving.device else ():
        if name in names and (is_engine or f"KIND_{device.upper()}" not in kinds):
            raise InputError(
                f"{path}: --accelerator {name} takes an .onnx and --device {device}; for another device, give "
                f"--accelerator {NO_ACCELERATOR}"
            )


def kept_config(folder: Path) -> "ModelConfig | None":
    """The configuration of the earlier versions in a model's folder, if there is one."""
    return read_config(folder / CONFIG) if (folder / CONFIG).is_file() else None


def read_config(path: Path) -> "ModelConfig":
    """Read a config.pbtxt with Triton's own schema. InputError where it is none."""
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _schema().ModelConfig())
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; the folder is no Triton model, give another --name") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a configuration of Triton ({one_line(error)}); fix or remove it") from None


def add_version(repository: Path, config: "ModelConfig", model: Path, version: int | None = None) -> Path:
    """Add a version of a model to the repository, by default the next; returns the path of the model's file there.

    InputError for a version that is not above the latest, and where `_shared` differs from that of earlier versions,
    since all share one configuration.
    """
    folder = repository / config.name
    latest = max(versions(folder), default=0)
    version = latest + 1 if version is None else version
    if version <= latest:
        raise InputError(f"{folder}: has version {latest}; give a --version above it, or none for the next")
    if latest:
        kept, new = (_shared(each) for each in (read_config(folder / CONFIG), config))
        other = [name for name in new if kept[name] != new[name]]
        if other:
            flag = f"--max_batch_size {kept[_BATCH]} or " if other == [_BATCH] else ""
            raise InputError(f"{folder}: its versions have another {', '.join(other)} than {model}; give {flag}--name")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, where the model's folder would be; remove it, or give another --name")
    text = text_format.MessageToString(config)
    repository.mkdir(parents=True, exist_ok=True)
    with temporary_folder(_staging_place(repository, folder if folder.is_dir() else repository)) as made:
        staged = made / config.name
        (staged / str(version)).mkdir(parents=True)
        write_new(staged / str(version) / config.default_model_filename, model.read_bytes())
        if folder.is_dir():
            os.rename(staged / str(version), folder / str(version))
            write_text(folder / CONFIG, text)
        else:
            write_new(staged / CONFIG, text.encode())
            os.rename(staged, folder)
    return folder / str(version) / config.default_model_filename


def remove_leftovers(repository: Path) -> None:
    """Remove what killed runs left in a repository, and beside it. The command holds the repository's lock."""
    for folder in [repository, *repository.glob("*/")]:
        remove_unfinished(folder)
    remove_abandoned(repository.resolve().parent)


def same_version(repository: Path, config: "ModelConfig", model: Path) -> int | None:
    """The latest version of a model, where it is this very file; its configuration becomes `config`, which may differ.

    None where there is none, or where it is another: an earlier version that is added again is served again.
    """
    folder = repository / config.name
    latest = max(versions(folder), default=0)
    kept = folder / str(latest) / config.default_model_filename
    if not kept.is_file() or sha256(kept) != sha256(model):
        return None
    if read_config(folder / CONFIG) != config:
        write_text(folder / CONFIG, text_format.MessageToString(config))
    return latest


def _shared(config: "ModelConfig") -> dict[str, Any]:
    """What all versions of a model must have in common, by what it is called."""
    said = {key: value.string_value for key, value in config.parameters.items()}
    ports = {"kind of file": config.platform, "frame size or batch": [*config.input], "output": [*config.output]}
    return {**ports, _BATCH: config.max_batch_size, **{key: said.get(key) for key in ("mb_size", "scale", "head")}}


def versions(folder: Path) -> list[int]:
    """The versions in a model's folder, by the rules of Triton."""
    return [int(path.name) for path in folder.glob("*") if re.fullmatch("[1-9][0-9]*", path.name)]


def _staging_place(repository: Path, target: Path) -> Path:
    """Where a version is prepared that is moved to `target`, the repository or a model's folder: beside the repository,
    in which a server takes every folder for a model. Where nothing can be moved from there, as between mounts, even of
    one file system: in the repository, else in the model's folder, where a server takes it for no version.
    """
    return next(place for place in (repository.resolve().parent, repository, target) if _can_move(place, target))


def _can_move(place: Path, target: Path) -> bool:
    """Whether folders can be moved from one to the other, tried with a file, which no server takes for a model."""
    if place == target:
        return True
    try:
        with temporary_folder(place) as made:
            (made / "file").touch()
            os.rename(made / "file", target / made.name)
            (target / made.name).unlink()
    except OSError:
        return False
    return True


def _schema() -> Any:
    try:
        from tritonclient.grpc import model_config_pb2
    except (ImportError, RuntimeError):  # RuntimeError: grpcio is missing
        raise InputError("tritonclient or grpcio is not installed; pip install tritonclient grpcio") from None
    return model_config_pb2
