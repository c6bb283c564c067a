"""Exported predictors beside AccModel, PaddleSeg's own form and the bare engines; prints ratios, asserts no time.

make bench
"""

import json
from itertools import product

from deploy import benchmark
from deploy.backends.registry import CPU_BACKENDS
from deploy.export.accmodel import export_accmodel
from regenhance_data.predictors.accmodel.network import AccModel
from tests.support.files import fill_dataset

HEIGHT, WIDTH = 360, 640
NAMES = ("mb_nano", "pp_mobileseg_tiny", "mobileseg_mobilenetv2")


def test_predictors_beside_accmodel_and_paddle_inference(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"a": 1}, HEIGHT, WIDTH)
    export_accmodel(AccModel(), dataset, tmp_path / "accmodel.onnx")
    words = ["--models", *NAMES, tmp_path / "accmodel.onnx", "--input_size", HEIGHT, WIDTH, "--save_dir", tmp_path]
    words += ["--precisions", "fp32,int8", "--input_scales", 1, 0.5, "--backends", "openvino,onnxruntime,paddle"]
    words += ["--rounds", 3, "--repeats", 20, "--warmup", 5]
    benchmark.main(benchmark.make_parser().parse_args([str(word) for word in words]))
    rows = json.loads((tmp_path / "benchmark.json").read_text())

    def of(model: str, backend: str, precision: str = "fp32", input_scale: float = 1.0) -> dict:
        key = (model, backend, precision, input_scale)
        return next(r for r in rows if (r["model"], r["backend"], r["precision"], r["input_scale"]) == key)

    def ratio(what: str, slow: dict, fast: dict) -> None:
        times = slow["frame_ms_median"], fast["frame_ms_median"]
        print(f"  {what:72s} {times[0]:8.2f} / {times[1]:7.2f} ms = {times[0] / times[1]:6.1f}")

    print(f"\n  frame to importance, {WIDTH}x{HEIGHT}, random weights; times faster")
    for backend, (name, scale) in product(CPU_BACKENDS, product(NAMES, (1.0, 0.5))):
        fast = of(name, backend, input_scale=scale)
        ratio(f"AccModel / {name}, input scale {scale:g}, {backend}", of("accmodel", backend), fast)
    for name, backend in product(NAMES, CPU_BACKENDS):
        ratio(f"Paddle Inference, every pixel's argmax / {name}, {backend}", of(name, "paddle"), of(name, backend))
    for name, backend, scale in product(NAMES, CPU_BACKENDS, (1.0, 0.5)):
        pair = (of(name, backend, precision, scale) for precision in ("fp32", "int8"))
        ratio(f"fp32 / int8 of {name}, input scale {scale:g}, {backend}", *pair)
    print("  whole path over the bare engine, call by call")
    for row in rows:
        if row["backend"] != "paddle":
            name = f"{row['model']}, {row['precision']}, input scale {row['input_scale']:g}, {row['backend']}"
            print(f"  {name:72s} {row['frame_to_engine']:6.2f}")
