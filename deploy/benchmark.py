"""Benchmark predictors: latency, throughput, memory and size, with the accuracy of an evaluation.

--models takes files (.onnx, .engine, folders of Paddle Inference) and names of paddleseg_configs, or all of them. Names
are exported in every precision and input scale: with the weights of --runs, else with random weights, which are marked
and mean nothing but latency. Each row is measured in its own process, so peak memory is its own. Each round measures
all rows, so other load affects all of them. Measurements are kept: the same command continues where it was stopped, and
adds --evaluation without measuring again.

engine_ms is the engine call alone, with its input bound before. frame_ms is the time from a frame in memory, decoded to
BGR at the model's size (uint8), to the importance of its macroblocks on the host. Both are milliseconds a frame: the
time of a call divided by its batch. p95 is of frame_ms; frames/s is of its mean. peak_memory_mb is the memory that
loading and running a row adds to its process.
"""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import BACKENDS, CPU_BACKENDS, local_backends
from deploy.benchmarking.settings import CONFIGS, MeasurementSettings
from deploy.contract import PRECISIONS
from regenhance_data import cli
from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import read_evaluation
from regenhance_data.io.files import alone, write_json

EXAMPLES = """
python deploy/benchmark.py --models runs/predictor/pp_mobileseg_tiny.onnx --save_dir runs/benchmark
python deploy/benchmark.py --models all --data my_dataset --runs runs --precisions fp32,fp16,int8 --save_dir S
python deploy/benchmark.py --models all accmodel.onnx --input_size 360 640 --backends openvino,paddle --save_dir S
python deploy/benchmark.py --models A.onnx B.onnx --data my_dataset --evaluation evaluation.json --save_dir S
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--models", nargs="+", required=True, help="files, names of paddleseg_configs, or all")
    parser.add_argument(
        "--backends", nargs="+", default=[",".join(CPU_BACKENDS)], help="of: " + ", ".join(local_backends())
    )
    parser.add_argument("--video", type=Path, help="measure on frames of a video (default: noise)")
    parser.add_argument("--data", type=Path, help="measure on frames of a dataset (default: noise)")
    parser.add_argument(
        "--evaluation",
        type=Path,
        nargs="+",
        help="evaluation.json of tools/evaluate.py, for F1 (int8: of the same backend)",
    )
    named = parser.add_argument_group("for names of configs")
    named.add_argument("--runs", type=Path, nargs="+", default=[], help="folders that hold NAME/best_model (trained)")
    named.add_argument("--precisions", nargs="+", default=["fp32"], help="of: " + ", ".join(PRECISIONS))
    named.add_argument(
        "--input_scales",
        nargs="+",
        type=float,
        default=[1.0],
        help="input sizes, as shares of the frame's",
    )
    named.add_argument("--batch_sizes", nargs="+", type=int, default=[1], help="frames at once")
    named.add_argument("--input_size", nargs=2, type=int, metavar=("H", "W"), help="(default: of --data, or 360 640)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all rows")
    parser.add_argument("--repeats", type=int, default=50, help="measured calls of each row in a round")
    parser.add_argument("--warmup", type=int, default=10, help="calls before measuring")
    parser.add_argument("--threads", type=int, help="threads of the engines (default: their own choice)")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for benchmark.json, .md and .png")
    return parser


def settings_from(args: argparse.Namespace) -> MeasurementSettings:
    """The settings of the flags; `all` and lists separated by commas are resolved. InputError for what cannot be."""
    fields = {name: getattr(args, name) for name in MeasurementSettings.__dataclass_fields__}
    models = [name for word in args.models for name in (CONFIGS if word == "all" else [word])]
    fields["models"] = tuple(dict.fromkeys(models))
    for name in ("backends", "precisions"):
        fields[name] = tuple(dict.fromkeys(word for word in ",".join(fields[name]).split(",") if word))
    if args.input_size is None and args.data is None:
        fields["input_size"] = (360, 640)
    return MeasurementSettings(**fields)


@alone("benchmark")
def main(args: argparse.Namespace) -> None:
    settings = settings_from(args)
    evaluations = [read_evaluation(path) for path in args.evaluation or []]
    from deploy.backends.environment import environment
    from deploy.benchmarking.cases import listed_cases
    from deploy.benchmarking.measure import f1_of, measure_all, refuse_unreadable_frames, summarise
    from deploy.benchmarking.report import benchmark_table, write_markdown, write_pareto_plot

    refuse_unreadable_frames(settings)
    where = environment(settings.threads)
    measured = measure_all(listed_cases(settings), where, settings)
    if not measured:
        runs = ", ".join(f"{name} runs {BACKENDS[name].artifact}" for name in local_backends())
        raise InputError(
            f"--backends {' '.join(settings.backends)}: no row is left to measure ({runs}); see the warnings"
        )
    rows = [summarise(row, *f1_of(case, row["precision"], evaluations)) for case, row in measured.items()]
    write_json(settings.save_dir / "benchmark.json", rows)
    write_json(settings.save_dir / "environment.json", where)
    write_markdown(settings.save_dir / "benchmark.md", rows, where)
    written = ["benchmark.json", "benchmark.md", "environment.json"]
    if write_pareto_plot(settings.save_dir / "benchmark", rows):
        written.append("benchmark.png")
    print(benchmark_table(rows))
    print(f"wrote {settings.save_dir}/{', '.join(written)}")


if __name__ == "__main__":
    cli.run(main, make_parser())
