import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from deploy import make_triton_repository, trt_infer
from deploy.backends.registry import is_url, load_predictor
from deploy.backends.served import _MODEL_URL, ServedPredictor, _model
from deploy.serving import triton
from deploy.serving.settings import Serving
from deploy.serving.triton import (
    ANY,
    CONFIG,
    ServedFile,
    add_version,
    model_config,
    read_config,
    read_served,
    versions,
)
from regenhance_data.dataset.importance_file import read_importance
from regenhance_data.errors import InputError
from tests.support.files import ROOT, content, encode, noise
from tests.support.inference_server import serving
from tests.support.predictors import GRID, HEIGHT, WIDTH, write_engine, write_red_predictor

FRAMES = np.stack(noise(5, HEIGHT, WIDTH))
TRITON = "deploy/make_triton_repository.py"


def importance_of(path: Path, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch = session.get_inputs()[0].shape[0]
    repeats = batch if isinstance(batch, int) else 1
    found = [session.run(None, {"frames": frame[None].repeat(repeats, axis=0)})[0][0] for frame in frames]
    return np.stack(found)


def make_repository(repository: Path, *models: Path, **flags: object) -> Path:
    words = ["--repository", repository, "--models", *models]
    for name, value in flags.items():
        words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    make_triton_repository.main(make_triton_repository.make_parser().parse_args([str(word) for word in words]))
    return repository


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository of four predictors, and the files they came from."""
    folder = tmp_path_factory.mktemp("triton")
    files = [
        write_red_predictor(folder / "one.onnx"),
        write_red_predictor(folder / "two.onnx", batch=2),
        write_red_predictor(folder / "any.onnx", batch=ANY),
        write_red_predictor(folder / "pixels.onnx", head="pixels"),
    ]
    make_repository(folder / "repository", *files)
    return folder


@pytest.fixture
def server(made):
    with serving(made / "repository") as (server, url):
        yield server, url


# the repository


def test_the_batch_is_a_dimension_of_a_graph_that_fixes_it_and_the_servers_otherwise(made):
    two, dynamic = (read_config(made / "repository" / name / CONFIG) for name in ("two", "any"))
    assert (two.max_batch_size, two.input[0].dims, two.output[0].dims) == (0, [2, 40, 52, 3], [2, 3, 4])
    assert (dynamic.max_batch_size, dynamic.input[0].dims, dynamic.output[0].dims) == (8, [40, 52, 3], [3, 4])
    assert dynamic.HasField("dynamic_batching")
    assert not two.HasField("dynamic_batching")


def test_a_model_lies_where_the_server_looks_for_it(made):
    folder = made / "repository" / "one"
    config = read_config(folder / CONFIG)
    assert (config.name, config.platform, config.backend) == ("one", "onnxruntime_onnx", "onnxruntime")
    assert (folder / "1" / config.default_model_filename).read_bytes() == (made / "one.onnx").read_bytes()
    assert config.parameters["mb_size"].string_value == "16"
    assert sorted(path.name for path in (made / "repository").iterdir()) == ["any", "one", "pixels", "two"]


def test_an_engine_is_served_as_its_json_describes_it(tmp_path):
    engine = write_engine(tmp_path / "street.engine")
    make_repository(tmp_path / "r", engine, instances=2, preferred_batch_size=[4, 16], max_queue_delay_us=500)
    config = read_config(tmp_path / "r" / "street" / CONFIG)
    assert (tmp_path / "r" / "street" / "1" / "model.plan").read_bytes() == b"an engine"
    assert (config.platform, config.max_batch_size, config.output[0].dims) == ("tensorrt_plan", 16, [3, 4])
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (2, config.instance_group[0].KIND_GPU)
    assert config.dynamic_batching.preferred_batch_size == [4, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500


@pytest.mark.parametrize(("accelerator", "device"), [("openvino", "cpu"), ("tensorrt", "gpu")])
def test_onnx_runtime_can_hand_the_graph_to_an_accelerator(made, tmp_path, accelerator, device):
    make_repository(tmp_path, made / "one.onnx", accelerator=accelerator, device=device)
    accelerators = read_config(tmp_path / "one" / CONFIG).optimization.execution_accelerators
    assert [a.name for a in getattr(accelerators, f"{device}_execution_accelerator")] == [accelerator]


def test_versions_follow_each_other_and_the_configuration_is_that_of_the_newest(made, tmp_path):
    for version in (1, 2, 7):
        file = write_red_predictor(tmp_path / f"made_{version}.onnx")
        flags = {"version": 7} if version == 7 else {}
        make_repository(tmp_path / "r", file, name="camera", num_versions=2, **flags)
    config = read_config(tmp_path / "r" / "camera" / CONFIG)
    assert sorted(versions(tmp_path / "r" / "camera")) == [1, 2, 7]
    assert config.version_policy.latest.num_versions == 2
    assert config.parameters["model"].string_value == "made_7"


def test_a_file_that_is_the_latest_version_is_not_added_again(made, tmp_path, capsys):
    repository = tmp_path / "r"
    first, second = (write_red_predictor(tmp_path / f"{name}.onnx") for name in ("first", "second"))
    for file in (first, second, second):
        make_repository(repository, file, name="camera")
    assert f"{second}: is version 2 already" in capsys.readouterr().out
    assert sorted(versions(repository / "camera")) == [1, 2]
    before = content(repository)
    make_repository(repository, second, name="camera")
    assert content(repository) == before
    # other flags change the configuration, not the version
    make_repository(repository, second, name="camera", instances=3)
    assert read_config(repository / "camera" / CONFIG).instance_group[0].count == 3
    assert sorted(versions(repository / "camera")) == [1, 2]
    # an earlier file that is added again, or a version that is asked for, is served as the latest
    make_repository(repository, first, name="camera")
    make_repository(repository, first, name="camera", version=7)
    assert sorted(versions(repository / "camera")) == [1, 2, 3, 7]
    engine = write_engine(tmp_path / "m.engine")
    for _ in range(2):
        make_repository(repository, engine)
    assert versions(repository / "m") == [1]


def test_half_a_version_is_never_there_to_be_seen(made, tmp_path, tmp_path_factory, monkeypatch):
    make_repository(tmp_path, made / "one.onnx")
    seen, write = [], triton.write_new

    def watching(path, content):
        seen.append(sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("one/**/*")))
        write(path, content)
        if len(seen) == 2:
            raise OSError(28, "no space")

    monkeypatch.setattr(triton, "write_new", watching)
    files = [write_red_predictor(tmp_path_factory.mktemp("made") / f"{name}.onnx") for name in ("newer", "newest")]
    make_repository(tmp_path, files[0], name="one")
    with pytest.raises(OSError, match="no space"):
        make_repository(tmp_path, files[1], name="one")
    assert seen == [
        ["one/1", "one/1/model.onnx", f"one/{CONFIG}"],
        [*seen[0][:2], "one/2", "one/2/model.onnx", seen[0][2]],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert sorted(versions(tmp_path / "one")) == [1, 2]


def test_what_a_killed_run_left_is_no_model_afterwards(made, tmp_path):
    (tmp_path / ".writing-one" / "1").mkdir(parents=True)
    make_repository(tmp_path, made / "one.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_a_killed_run_leaves_is_beside_the_repository_and_the_next_run_removes_it(made, tmp_path):
    repository = make_repository(tmp_path / "r", made / "one.onnx")
    code = "import os\nfrom deploy import make_triton_repository as made\nfrom deploy.serving import triton\n"
    code += "triton.write_new = lambda *_: os.kill(os.getpid(), 9)\nmade.main(made.make_parser().parse_args())"
    words = [sys.executable, "-c", code, "--models", made / "two.onnx", "--repository", repository]
    assert subprocess.run(words, cwd=ROOT).returncode == -9
    assert [path.name for path in repository.iterdir() if path.is_dir()] == ["one"]
    assert [*tmp_path.glob(".writing-*")]
    make_repository(repository, made / "one.onnx")  # which is version 1 already
    assert [path.name for path in (*tmp_path.iterdir(), *repository.iterdir())] == ["r", "one"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_version_is_staged_where_it_can_be_renamed_from(made, tmp_path, monkeypatch, linked):
    """A mount has the st_dev of what is beside it where both are of one file system."""
    repository = make_repository(tmp_path / "r", made / "one.onnx")
    mount = repository
    if linked:
        mount = (repository / "one").rename(tmp_path / "elsewhere")
        (repository / "one").symlink_to(mount)
    rename = os.rename

    def renamed(source, target):
        if (mount in Path(source).resolve().parents) != (mount in Path(target).resolve().parents):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", renamed)
    make_repository(repository, write_red_predictor(tmp_path / "newer.onnx"), name="one")
    assert sorted(versions(repository / "one")) == [1, 2]
    assert not [*tmp_path.glob("**/.writing-*")]


def test_a_repository_that_is_a_mount_of_the_same_file_system_takes_versions(made, tmp_path):
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this system lets no one mount in a namespace")
    repository = make_repository(tmp_path / "r", made / "one.onnx")
    mounted = [*namespace, "sh", "-c", 'mount --bind "$0" "$0" && exec "$@"', repository]
    command = [sys.executable, ROOT / TRITON, "--repository", repository, "--models", made / "any.onnx"]
    done = subprocess.run([*mounted, *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in repository.iterdir()) == ["any", "one"]


KEPT = {"device": "gpu", "instances": 2, "num_versions": 2, "accelerator": "tensorrt"}
KEPT |= {"max_batch_size": 16, "max_queue_delay_us": 500, "preferred_batch_size": [4]}


@pytest.mark.parametrize("is_new", [True, False])
def test_an_update_keeps_all_settings_that_it_gives_no_flag_for(made, tmp_path, is_new):
    def config_of(**flags):
        config = read_config(make_repository(tmp_path / "r", file, name="camera", **flags) / "camera" / CONFIG)
        config.ClearField("parameters")
        return config

    file = made / "any.onnx"
    before = config_of(**KEPT)
    file = write_red_predictor(tmp_path / "newer.onnx", batch=ANY) if is_new else file
    assert config_of() == before
    changed = config_of(instances=3, device="cpu", accelerator="none", preferred_batch_size=[])
    assert (changed.instance_group[0].count, changed.instance_group[0].kind) == (3, changed.instance_group[0].KIND_CPU)
    assert not changed.optimization.execution_accelerators.gpu_execution_accelerator
    assert not changed.dynamic_batching.preferred_batch_size
    assert (changed.max_batch_size, changed.dynamic_batching.max_queue_delay_microseconds) == (16, 500)
    assert sorted(versions(tmp_path / "r" / "camera")) == ([1, 2] if is_new else [1])


OPERATORS = """
version_policy { all {} }
instance_group { count: 1 kind: KIND_GPU gpus: [0] }
instance_group { count: 2 kind: KIND_GPU gpus: [1] profile: "1" }
dynamic_batching { preferred_batch_size: [4, 8] preserve_ordering: true }
optimization {
  cuda { graphs: true }
  execution_accelerators {
    gpu_execution_accelerator { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } }
  }
}
model_warmup {
  name: "full" batch_size: 8
  inputs { key: "frames" value { data_type: TYPE_UINT8 dims: [40, 52, 3] random_data: true } }
}
parameters { key: "intra_op_thread_count" value { string_value: "4" } }
response_cache { enable: true }
"""


@pytest.mark.parametrize("is_new", [True, False])
def test_what_an_operator_wrote_into_a_configuration_stays(made, tmp_path, is_new):
    path = make_repository(tmp_path / "r", made / "any.onnx", name="camera") / "camera" / CONFIG
    written = read_config(path)
    for field in ("version_policy", "instance_group", "dynamic_batching", "model_warmup"):
        written.ClearField(field)
    text_format.Merge(OPERATORS, written)
    path.write_text(text_format.MessageToString(written))
    newer = write_red_predictor(tmp_path / "newer.onnx", batch=ANY)
    flags = {"accelerator": "tensorrt"}  # which it has
    make_repository(tmp_path / "r", newer if is_new else made / "any.onnx", name="camera", **flags)
    written.parameters["model"].string_value = "newer" if is_new else "any"
    assert read_config(path) == written
    # a flag changes what it says alone
    make_repository(tmp_path / "r", newer, name="camera", instances=3, num_versions=2, max_queue_delay_us=500)
    changed = read_config(path)
    assert [(group.count, [*group.gpus]) for group in changed.instance_group] == [(3, [0]), (3, [1])]
    assert changed.version_policy.latest.num_versions == 2
    assert changed.dynamic_batching.preserve_ordering
    make_repository(tmp_path / "r", newer, name="camera", device="cpu", accelerator="none")
    changed = read_config(path)
    assert [(group.Kind.Name(group.kind), [*group.gpus]) for group in changed.instance_group] == [("KIND_CPU", [])] * 2
    assert changed.optimization.cuda.graphs
    with pytest.raises(InputError, match=r"--accelerator tensorrt takes an \.onnx and --device gpu"):
        make_repository(tmp_path / "r", newer, name="camera", accelerator="tensorrt")


def test_a_server_that_an_operator_told_to_make_no_batches_makes_none(made, tmp_path):
    path = make_repository(tmp_path / "r", made / "any.onnx") / "any" / CONFIG
    written = read_config(path)
    written.max_batch_size = 0
    written.ClearField("dynamic_batching")
    for port in (written.input[0], written.output[0], written.model_warmup[0].inputs["frames"]):
        port.dims.insert(0, -1)
    path.write_text(text_format.MessageToString(written))
    make_repository(tmp_path / "r", made / "any.onnx")
    assert read_config(path) == written
    make_repository(tmp_path / "r", made / "any.onnx", max_queue_delay_us=500)
    assert read_config(path).max_batch_size == 8


def test_preferred_sizes_of_earlier_versions_above_a_new_maximum_are_left_out_and_told(made, tmp_path, capsys):
    path = make_repository(tmp_path, made / "any.onnx", preferred_batch_size=[2, 4, 8]) / "any" / CONFIG
    written = read_config(path)
    written.model_warmup[0].batch_size = 8
    path.write_text(text_format.MessageToString(written))
    make_repository(tmp_path, made / "any.onnx", max_batch_size=4)
    told = capsys.readouterr().err
    assert f"any: takes 4 frames at most; preferred_batch_size 8 of its {CONFIG} is left out" in told
    assert read_config(path).dynamic_batching.preferred_batch_size == [2, 4]
    assert (read_config(path).max_batch_size, read_config(path).model_warmup[0].batch_size) == (4, 4)


@pytest.mark.parametrize(
    ("file", "flags", "says"),
    [
        ("one.onnx", {"max_batch_size": 4}, r"takes 1 frames, always; leave out --max_batch_size"),
        ("any.onnx", {"max_batch_size": 0}, "at least 1"),
        ("any.onnx", {"max_queue_delay_us": -1}, "at least 0"),
        ("any.onnx", {"preferred_batch_size": [4, 9]}, "at most --max_batch_size, which is 8"),
        ("one.onnx", {"version": 0}, "at least 1"),
        ("one.onnx", {"name": "a/b"}, "give one with --name"),
        ("one.onnx", {"name": ".."}, "give one with --name"),
        ("one.onnx", {"accelerator": "tensorrt"}, "takes an .onnx and --device gpu"),
        ("absent.onnx", {}, "no such predictor"),
        ("one.pt", {}, r"expected an .onnx of deploy/export_onnx.py"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_and_nothing_is_written(made, tmp_path, file, flags, says):
    with pytest.raises(InputError, match=says):
        make_repository(tmp_path / "r", made / file, **flags)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("changes", "flags", "says"),
    [
        ({"engine_sha256": "0"}, {}, "is not the engine that"),
        ({"metadata": {}}, {}, "describes no engine of this kit"),
        ({"metadata": []}, {}, "describes no engine of this kit"),
        ({"min_batch": 2, "opt_batch": 4}, {}, "takes 2 frames or more"),
        ({}, {"max_batch_size": 32}, "takes 16 frames at most"),
        ({}, {"device": "cpu"}, "runs on a GPU"),
        ({}, {"accelerator": "tensorrt"}, "takes an .onnx"),
    ],
)
def test_engines_that_cannot_be_served_are_refused(tmp_path, changes, flags, says):
    engine = write_engine(tmp_path / "m.engine", **changes)
    with pytest.raises(InputError, match=says):
        make_repository(tmp_path / "r", engine, **flags)


def test_versions_of_one_model_take_the_same_frames(made, tmp_path):
    make_repository(tmp_path, made / "one.onnx", name="camera")
    other = write_red_predictor(tmp_path / "other.onnx", hw=(HEIGHT, 2 * WIDTH))
    for file in (other, made / "two.onnx", made / "any.onnx", write_engine(tmp_path / "m.engine")):
        with pytest.raises(InputError, match=r"its versions have another (kind of file|frame size or batch)"):
            make_repository(tmp_path, file, name="camera")
    with pytest.raises(InputError, match="has version 1; give a --version above it"):
        make_repository(tmp_path, made / "one.onnx", name="camera", version=1)
    (tmp_path / "camera" / CONFIG).write_text("what: is this")
    with pytest.raises(InputError, match="is not a configuration of Triton"):
        make_repository(tmp_path, made / "one.onnx", name="camera")


@pytest.mark.parametrize(("key", "value"), [("scale", "2"), ("mb_size", "8"), ("head", "pixels")])
def test_versions_of_one_model_mean_the_same_by_their_importance(made, tmp_path, key, value):
    make_repository(tmp_path / "r", made / "one.onnx")
    other = onnx.load(str(made / "one.onnx"))
    next(entry for entry in other.metadata_props if entry.key == key).value = value
    onnx.save(other, tmp_path / "one.onnx")
    with pytest.raises(InputError, match=rf"its versions have another {key} than .*; give --name"):
        make_repository(tmp_path / "r", tmp_path / "one.onnx")


def test_another_batch_than_that_of_the_versions_is_refused_with_the_flag(made, tmp_path):
    make_repository(tmp_path / "r", made / "any.onnx", max_batch_size=16)
    newer = write_red_predictor(tmp_path / "newer.onnx", batch=ANY)
    with pytest.raises(InputError, match=r"another max_batch_size than .*; give --max_batch_size 16 or --name"):
        make_repository(tmp_path / "r", newer, name="any", max_batch_size=4)


def test_a_file_in_the_place_of_a_model_is_named(made, tmp_path):
    (tmp_path / "one").touch()
    with pytest.raises(InputError, match=f"{tmp_path}/one: is a file, where the model's folder would be"):
        make_repository(tmp_path, made / "one.onnx")


def test_what_is_no_predictor_is_refused(made, tmp_path):
    foreign = onnx.load(str(made / "one.onnx"))
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    open_rows = onnx.load(str(made / "any.onnx"))
    open_rows.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "H"
    onnx.save(open_rows, tmp_path / "open_rows.onnx")
    for name in ("foreign.onnx", "open_rows.onnx"):
        with pytest.raises(InputError, match="is not a predictor of this kit"):
            read_served(tmp_path / name)
    (tmp_path / "garbage.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="is not an ONNX file"):
        read_served(tmp_path / "garbage.onnx")
    (tmp_path / "bare.engine").write_bytes(b"")
    with pytest.raises(InputError, match=r"bare\.engine\.json: is missing"):
        read_served(tmp_path / "bare.engine")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(texts, texts), st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 64))
def test_whatever_a_predictor_says_of_itself_comes_back_from_the_configuration(
    tmp_path_factory, metadata, instances, delay_us, max_batch
):
    folder = tmp_path_factory.mktemp("r")
    file = ServedFile(folder / "m.onnx", metadata, (ANY, HEIGHT, WIDTH, 3), (ANY, *GRID.shape))
    serving = Serving(instances=instances, max_queue_delay_us=delay_us, max_batch_size=max_batch)
    config = model_config("m", file, serving)
    file.path.write_bytes(b"graph")
    add_version(folder / "r", config, file.path)
    found = read_config(folder / "r" / "m" / CONFIG)
    assert found == config
    assert {key: value.string_value for key, value in found.parameters.items()} == metadata


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_a_model_has_a_name_that_a_folder_and_a_url_can_have_or_is_refused(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("r")
    file = write_red_predictor(folder / "m.onnx")
    try:
        make_repository(folder / "r", file, name=name)
    except (InputError, SystemExit):  # argparse takes a leading - for a flag
        assert not (folder / "r").exists()
    else:
        assert (folder / "r" / name / CONFIG).is_file()
        assert _MODEL_URL.fullmatch(f"http://host:8000/v2/models/{name}")[2] == name


def test_the_command_says_how_to_serve_it(run, refused, made, tmp_path):
    told = run(TRITON, "--models", made / "one.onnx", "--repository", tmp_path / "r").stdout
    assert "tritonserver --model-repository=/models" in told
    assert "http://localhost:8000/v2/models/one" in told
    said = refused(TRITON, "--models", tmp_path / "absent.onnx", "--repository", tmp_path / "r")
    assert "absent.onnx: no such predictor" in said


# the client


@pytest.mark.parametrize("name", ["one", "two", "any", "pixels"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_served_predictor_says_what_the_file_says(made, name, binary):
    expected = importance_of(made / f"{name}.onnx", FRAMES)
    with serving(made / "repository", binary=binary) as (_, url):
        predictor = load_predictor(f"{url}/v2/models/{name}")
        found = predictor.predict(FRAMES)
        alone = predictor.predict_one(FRAMES[0, ..., ::-1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, GRID.mean(expected) if name == "pixels" else expected, atol=1e-6)
    np.testing.assert_array_equal(alone, found[0])
    assert predictor.batch == {"two": 2, "any": 8}.get(name, 1)
    assert (predictor.input_hw, predictor.grid, predictor.metadata["scale"]) == ((HEIGHT, WIDTH), GRID, "3")


def test_a_video_is_predicted_by_a_server_as_by_the_file(server, made, tmp_path):
    _, url = server
    video = encode(tmp_path / "camera.mp4", noise(7, HEIGHT, WIDTH), pixel_format="yuv444p")
    for folder, model in (("server", f"{url}/v2/models/any"), ("file", made / "any.onnx")):
        words = ["--model", str(model), "--video", str(video), "--save_dir", str(tmp_path / folder)]
        trt_infer.main(trt_infer.make_parser().parse_args(words))
    served, local = (read_importance(tmp_path / folder / "importance.npz")[0] for folder in ("server", "file"))
    np.testing.assert_allclose(served, local, atol=1e-6)


def test_an_interrupt_says_that_nothing_is_kept_of_a_server(server, tmp_path, monkeypatch):
    def infer():
        words = ["--model", f"{server[1]}/v2/models/one", "--video", str(video), "--save_dir", str(tmp_path / "out")]
        trt_infer.main(trt_infer.make_parser().parse_args(words))

    video = encode(tmp_path / "camera.mp4", noise(7, HEIGHT, WIDTH), pixel_format="yuv444p")
    answers, predict = iter(range(3)), ServedPredictor.predict

    def interrupted(*about):
        if next(answers, None) is None:
            raise KeyboardInterrupt
        return predict(*about)

    with monkeypatch.context() as patch:
        patch.setattr(ServedPredictor, "predict", interrupted)
        with pytest.raises(KeyboardInterrupt, match="nothing is kept, since a server may change its model"):
            infer()
    assert not (tmp_path / "out").exists()
    infer()
    assert len(read_importance(tmp_path / "out" / "importance.npz")[0]) == 7


def test_a_version_can_be_asked_for(server, made):
    _, url = server
    assert load_predictor(f"{url}/v2/models/one/versions/1").predict(FRAMES[:1]).shape == (1, 3, 4)
    with pytest.raises(InputError, match=r"not ready to run it|no such model"):
        load_predictor(f"{url}/v2/models/one/versions/2")


def test_threads_share_a_served_predictor(server, made):
    _, url = server
    expected = importance_of(made / "any.onnx", FRAMES)
    predictor = load_predictor(f"{url}/v2/models/any")
    turns = np.random.default_rng(0).integers(len(FRAMES), size=60)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda turn: predictor.predict(FRAMES[turn][None])[0], turns))
    np.testing.assert_allclose(np.stack(found), expected[turns], atol=1e-6)


def test_a_server_that_fails_for_a_moment_is_asked_again(server):
    service, url = server
    predictor = load_predictor(f"{url}/v2/models/one")
    faults, lock = iter([None, (503, {"error": "busy"}, b"")]), threading.Lock()

    def spoil(path, *answer):
        with lock:
            return next(faults, answer)

    service.spoil = spoil
    service.requests.clear()
    assert predictor.predict(FRAMES[:1]).shape == (1, 3, 4)
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("{}/v2/models/absent", "has no such model; it has any, one, pixels, two"),
        ("{}/v2/models/two", r"not ready to run it \(version 1: LOADING\)"),
        ("{}/models/one", "expected http://HOST:8000/v2/models/NAME"),
        ("http://user:secret@host/v2/models/one", "expected http://HOST:8000/v2/models/NAME"),
        ("http://127.0.0.1:1/v2/models/one", "127.0.0.1:1: no server answers .*Connection refused"),
    ],
)
def test_what_cannot_be_reached_is_said_in_one_line(server, url, says):
    service, base = server
    service.loading.add("two")
    with pytest.raises(InputError, match=says) as refusal:
        load_predictor(url.format(base))
    assert "\n" not in str(refusal.value)


MACROBLOCKS = {"head": {"string_value": "macroblock"}}


def changed(answer, key, value):
    """An inference's answer with something else in its output."""
    status, said, content = answer
    return status, {"outputs": [{**said["outputs"][0], key: value}]}, content


@pytest.mark.parametrize(
    "spoil",
    [
        lambda *answer: changed(answer, "name", "logits"),
        lambda *answer: changed(answer, "datatype", "FP64"),
        lambda *answer: changed(answer, "shape", [1, 4, 3]),
        lambda *answer: changed(answer, "parameters", 3),
        lambda *answer: (200, b"no JSON", b""),
        lambda *answer: (200, [], b""),
        lambda status, said, content: (status, said, content[:-4]),
        lambda status, said, content: (status, said, content[:-4] + b"\xff\xff\xff\x7f"),  # NaN
    ],
)
def test_what_is_no_importance_is_refused(server, spoil):
    service, url = server
    predictor = load_predictor(f"{url}/v2/models/one")
    service.spoil = lambda path, *answer: spoil(*answer)
    with pytest.raises(InputError, match="something else than finite importance"):
        predictor.predict(FRAMES[:1])


@pytest.mark.parametrize("value", [7e37, -5.0, 1.5])
def test_importance_outside_its_range_is_refused(server, value):
    service, url = server
    predictor = load_predictor(f"{url}/v2/models/one")
    service.spoil = lambda path, status, said, content: (
        (status, said, np.array([value], "<f4").tobytes() + content[4:]) if path.endswith("/infer") else None
    )
    with pytest.raises(InputError, match=r"gives importance from \S+ to \S+, expected 0 to 1"):
        predictor.predict(FRAMES[:1])


def test_a_batch_is_no_larger_than_frames_that_fit(server):
    service, url = server
    service.spoil = lambda path, status, said, content: (
        (status, {**said, "max_batch_size": 10**9} if path.endswith("any/config") else said, content)
    )
    predictor = load_predictor(f"{url}/v2/models/any")
    assert predictor.batch * HEIGHT * WIDTH * 3 <= 2**28
    assert predictor.predict(FRAMES).shape == (5, *GRID.shape)


def test_what_the_server_says_of_a_failure_is_passed_on(server):
    service, url = server
    predictor = load_predictor(f"{url}/v2/models/one")
    service.spoil = lambda path, *answer: (500, {"error": "out of memory"}, b"")
    with pytest.raises(InputError, match=r"did not run it \(500 out of memory\)"):
        predictor.predict(FRAMES[:1])
    with pytest.raises(InputError, match="takes uint8 frames of 52x40"):
        predictor.predict(FRAMES[:, :-1])


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"inputs": 3},
        {"inputs": [{}], "outputs": [{}]},
        {"inputs": [{"shape": [1, float("inf"), 5, 3]}], "outputs": [{}]},
        {"parameters": {"mb_size": 16}},
        {"parameters": {"mb_size": {"string_value": "0"}}},
        {"parameters": {"mb_size": {"string_value": "16"}, "scale": {"string_value": "400"}, **MACROBLOCKS}},
        [],
        b"<html>",
        b"[" * 9999,
    ],
)
@pytest.mark.parametrize("path", ["/v2/models/one", "/v2/models/one/config"])
def test_a_model_that_is_no_predictor_is_refused(server, path, said):
    service, url = server
    service.spoil = lambda asked, *answer: (200, said, b"") if asked == path else answer
    with pytest.raises(InputError, match=r"is not a predictor of this kit|no such model|not ready"):
        load_predictor(f"{url}/v2/models/one")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["shape", "mb_size"]), inner),
)


def ports(name: str, datatype: str, shape: list[int]) -> st.SearchStrategy:
    """A tensor as a server describes it, with anything in some places."""
    said = {"mb_size": "16", "scale": "3", "head": "macroblock"}
    right = {"name": name, "datatype": datatype, "shape": shape, "parameters": said}
    return st.lists(st.fixed_dictionaries({key: st.just(value) | anything for key, value in right.items()}), max_size=2)


@given(
    ports("frames", "UINT8", [1, HEIGHT, WIDTH, 3]) | anything,
    ports("importance", "FP32", [1, *GRID.shape]) | anything,
    st.dictionaries(st.sampled_from(["parameters", "max_batch_size"]), anything),
)
def test_whatever_a_server_says_is_a_predictor_or_none(inputs, outputs, config):
    model = _model({"inputs": inputs, "outputs": outputs}, config)
    assert model is None or (model.grid, model.batch) == (GRID, 1)


def test_a_server_without_configurations_may_say_it_with_the_output(server):
    """MLServer passes on what a model's settings say of its output, and has no extension for the configuration."""
    service, url = server
    metadata = {"mb_size": "16", "scale": "3", "head": "macroblock"}

    def spoil(path, status, said, content):
        if path.endswith("/config"):
            return 404, {}, b""
        if path == "/v2/models/one":
            said["outputs"][0]["parameters"] = metadata
        return status, said, content

    service.spoil = spoil
    assert load_predictor(f"{url}/v2/models/one").metadata == metadata


def test_addresses_are_told_from_files():
    for url in ("https://host/v2/models/one", "localhost:8123/v2/models/one", "10.0.0.7:8000", "edge/v2/models/one"):
        assert is_url(url)
    assert is_url("[::1]:8000/v2/models/one")
    for path in (Path("http.onnx"), "runs/v2/m.onnx", "C:/models/m.onnx", "a:b.onnx", "/srv/v2/models/one"):
        assert not is_url(path)


def test_an_address_may_lack_http_and_a_file_of_such_a_name_is_a_file(server, made, tmp_path, monkeypatch):
    _, url = server
    assert load_predictor(f"{url.removeprefix('http://')}/v2/models/one").predict(FRAMES[:1]).shape == (1, 3, 4)
    assert load_predictor(f"{url.replace('http', 'HTTP')}/v2/models/one").batch == 1
    with pytest.raises(InputError, match="expected http://HOST:8000/v2/models/NAME"):
        load_predictor(f"{url.removeprefix('http://')}/one")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "camera:1").write_bytes((made / "one.onnx").read_bytes())
    assert load_predictor("camera:1").backend != "served"


# the images


@pytest.mark.parametrize(("name", "command"), [("cpu", "trt_infer"), ("gpu", "trt_infer"), ("loop", "run_cameras")])
def test_an_image_is_made_of_files_that_are_there_and_does_not_run_as_root(name, command):
    text = (ROOT / f"deploy/Dockerfile.{name}").read_text().replace("\\\n", " ")
    base = re.search(r"^ARG PYTHON_IMAGE=(.*)$", text, re.MULTILINE)[1]
    text = text.replace("${PYTHON_IMAGE}", base)
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for words in lines:
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch(source.rstrip("/"), pattern) for pattern in kept)
        if words[0] == "FROM":
            assert re.search(r":[\w.-]*\d[\w.-]*$", words[1]) or words[1] in {w[3] for w in lines if len(w) == 4}
    users = [words[1] for words in lines if words[0] == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert "-c constraints.txt" in text
    entrypoint = json.loads(next(line for line in text.splitlines() if line.startswith("ENTRYPOINT")).split(" ", 1)[1])
    assert entrypoint == ["python", "-P", "-m", f"deploy.{command}"]
