"""The demo's report: one HTML file that holds everything it shows, from the files that the stages left."""

import html
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.dataset.folder import Dataset, Frame
from regenhance_data.dataset.label_png import level_colours, read_label
from regenhance_data.errors import InputError
from regenhance_data.evaluation.curves import CURVES, METRIC_NAMES, curve_figure
from regenhance_data.evaluation.evaluate import Predict
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import FramePair
from regenhance_data.importance.pairs import read_pair
from regenhance_data.io.files import read_json
from regenhance_data.regions.overlay import OUTLINE_RGB, draw_heatmap, draw_outline
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.reports import page

BUDGET = "0.1"  # the budget that the headline speaks of
MOST_VIDEO_BYTES = 12_000_000  # a page over some 20 MB is slow to open


def write_report(folder: Path, dataset: Dataset, predict: Predict) -> str:
    """Write `folder`/report.html from what the demo's stages left there; return its headline as plain text.

    Reads evaluation.json, benchmark.json, stages.json, overlay.mp4, predictor/val.json and predictor/train_log.json
    beside the dataset's own files. InputError when one is missing.
    """
    evaluation = read_json(folder / "evaluation.json")
    stages = read_json(folder / "stages.json")
    frame, oracle = _shown_frame(dataset)
    pair = read_pair(dataset, frame, _clear_folder(dataset))
    predicted = predict(pair.lr)
    headline = _headline(evaluation)
    record, metric = dataset.record, _metric(evaluation)
    clip = record.clips[frame.clip]
    assert clip.origin_hw is not None
    assert record.detector is not None
    height, width = clip.origin_hw
    page.write_page(
        folder / "report.html",
        f"Which macroblocks matter: {clip.source}",
        "demo_template.html",
        headline=html.escape(headline),
        made_of=html.escape(
            f"{clip.frames} frames of {width}×{height}, clear frames {dataset.scale} times as large "
            f"({_clear_folder(dataset).split('_')[0]}), detector {record.detector['spec']}, "
            f"{evaluation['frames']} test frames that nothing was fitted on. "
            f"Kit version {record.kit_version}."
        ),
        tiles=_tiles(evaluation),
        curve_words=_curve_words(evaluation),
        curve_chart=page.chart(curve_figure(evaluation), f"{metric} against the share of macroblocks enhanced"),
        curve_table=_curve_table(evaluation),
        panels=_panels(dataset, frame, pair, oracle, predicted),
        scales=page.heat_scale("importance 0", "1") + page.level_scale(dataset.levels),
        outline=", ".join(map(str, OUTLINE_RGB)),
        maps=json.dumps(
            {
                "predictor": order_of_choice(predicted).tolist(),
                "oracle": order_of_choice(oracle).tolist(),
                "size": pair.grid.mb_size,
                "cols": pair.grid.cols,
            }
        ),
        clear_width=str(pair.grid.width),
        clear_height=str(pair.grid.height),
        blurred_image=page.picture(pair.upsampled),
        clear_image=page.picture(pair.hr),
        video=_video(folder / "overlay.mp4", dataset),
        training_words=_training_words(read_json(folder / "predictor" / "val.json")),
        training_chart=_training_chart(read_json(folder / "predictor" / "train_log.json")),
        levels_chart=page.levels_chart(record.level_pixels),
        latency_table=_latency_table(read_json(folder / "benchmark.json")),
        machine=f"{os.cpu_count()} cores, {platform.machine()}",
        stages_table=_stages_table(stages),
    )
    return headline


def order_of_choice(scores: np.ndarray) -> np.ndarray:
    """The macroblocks' flat indices, such that the first p % of them are those `choose` takes at p %, for p = 0 … 100.

    scores: float [rows, cols]. The page cannot sort by itself and agree: `choose` has an order of its own for equals.
    """
    times_chosen = sum(select_macroblocks(scores, percent / 100).ravel().astype(int) for percent in range(101))
    return np.argsort(-np.asarray(times_chosen), kind="stable")


def _clear_folder(dataset: Dataset) -> str:
    return str(dataset.record.importance.hr_folder)


def _shown_frame(dataset: Dataset) -> tuple[Frame, np.ndarray]:
    """The test frame where most is at stake, the largest sum of importance, and its importance [rows, cols]."""
    frames = dataset.split_frames("test")
    importance = {clip: dataset.importance(clip) for clip in {frame.clip for frame in frames}}
    pairs = [(frame, importance[frame.clip][frame.number]) for frame in frames]
    return max(pairs, key=lambda pair: pair[1].sum())


def _metric(evaluation: dict[str, Any]) -> str:
    return METRIC_NAMES[evaluation["metric"]]


def _headline(evaluation: dict[str, Any]) -> str:
    gains = {curve: evaluation["recovered"][curve][BUDGET] for curve in ("predictor", "random")}
    if None in gains.values():
        return "Enhancing every macroblock gains this detector nothing: there is nothing for a predictor to recover."
    return (
        f"Enhancing the {float(BUDGET):.0%} of the macroblocks that the predictor picks recovers "
        f"{gains['predictor']:.0%} of the {_metric(evaluation)} that enhancing every macroblock would recover; "
        f"a random {float(BUDGET):.0%} recovers {gains['random']:.0%}."
    )


def _tiles(evaluation: dict[str, Any]) -> str:
    values = [("", "nothing enhanced", evaluation["none"])]
    for curve in ("random", "difference", "predictor", "oracle"):
        words = f"{CURVES[curve][0]}, {float(BUDGET):.0%}"
        values.append((" main" if curve == "predictor" else "", words, evaluation["curves"][curve][BUDGET]))
    values.append(("", "everything enhanced", evaluation["all"]))
    return "".join(
        f'<div class="tile{kind}"><b>{value:.3f}</b><span>{_metric(evaluation)}, {html.escape(words)}</span></div>'
        for kind, words, value in values
    )


def _curve_words(evaluation: dict[str, Any]) -> str:
    words = (
        f"{_metric(evaluation)} of the detector on {evaluation['frames']} test frames, against what it finds "
        "on the clear frames, when only the chosen macroblocks are clear. Oracle: the importance that the detector’s "
        "gradient gives with the clear frame at hand. Difference: where clear and blurred frames differ most. "
        "Boxes: where the detector already finds something on the blurred frame."
    )
    truth = evaluation.get("truth")
    if truth:
        words += (
            f" Against the scene’s true boxes: {truth['none']:.3f} with nothing enhanced, "
            f"{truth['curves']['predictor'][BUDGET]:.3f} by the predictor at {float(BUDGET):.0%}, "
            f"{truth['all']:.3f} with everything."
        )
    return html.escape(words)


def _curve_table(evaluation: dict[str, Any]) -> str:
    budgets = sorted(evaluation["curves"]["predictor"], key=float)
    shares = (f"{float(b):.0%}".replace("%", " %") for b in ("0", *budgets, "1"))
    head = [f"{_metric(evaluation)} when this share is enhanced", *shares]
    rows = []
    for name, (words, _) in CURVES.items():
        if name not in evaluation["curves"]:  # segmentation has no boxes
            continue
        values = [evaluation["none"], *(evaluation["curves"][name][b] for b in budgets), evaluation["all"]]
        rows.append((name == "predictor", [words, *(f"{value:.3f}" for value in values)]))
    return page.table(head, rows)


def _panels(dataset: Dataset, frame: Frame, pair: FramePair, oracle: np.ndarray, predicted: np.ndarray) -> str:
    blurred, clear, grid = pair.upsampled, pair.hr, pair.grid
    # every map is shown through the normaliser, which is what the levels are cut from
    normalised = dataset.record.read_normaliser()(oracle)
    level_grid = read_label(dataset.path("labels", frame))[:: dataset.mb_size, :: dataset.mb_size]
    chosen = draw_outline(blurred, select_macroblocks(predicted, float(BUDGET)), grid)
    panels = [
        (blurred, f"origin image, interpolated up {dataset.scale} times: the blurred frame"),
        (clear, "clear frame"),
        (draw_heatmap(clear, normalised, grid), "importance from the detector’s gradient"),
        (_levels_picture(level_grid, grid, dataset.levels), f"label: {dataset.levels} levels"),
        (draw_heatmap(blurred, predicted, grid), "prediction, from the origin image alone"),
        (chosen, f"overlay: the {float(BUDGET):.0%} of the macroblocks it would enhance, outlined"),
        (page.zoom(blurred, oracle, grid), "around the most important macroblock: the blurred frame…"),
        (page.zoom(clear, oracle, grid), "…and the clear frame"),
    ]
    return "".join(page.shown(picture, words) for picture, words in panels)


def _levels_picture(level_grid: np.ndarray, grid: MacroblockGrid, levels: int) -> np.ndarray:
    return level_colours(levels)[grid.spread(level_grid)]


def _video(path: Path, dataset: Dataset) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; make it with deploy/trt_infer.py")
    if path.stat().st_size > MOST_VIDEO_BYTES:
        return f"<section><h2>On the whole clip</h2><p>The overlay video is {html.escape(path.name)}.</p></section>"
    frames = dataset.record.split.frames
    return (
        "<section><h2>On the whole clip</h2><p>The exported ONNX at work: predicted importance as heat, the chosen "
        f"macroblocks outlined. The predictor was trained on {frames['train']} of these frames, so this shows what it "
        f"does; how well it does it, the curve above tells, from the {frames['test']} test frames alone.</p>"
        "<video controls muted loop playsinline preload='metadata' "
        f"src='{page.data_uri(path.read_bytes(), 'video/mp4')}'></video></section>"
    )


def _training_words(val: dict[str, Any]) -> str:
    return html.escape(
        f"On the validation block the best checkpoint ranks macroblocks with a Spearman correlation of "
        f"{val['spearman']:.3f} and finds {val[f'recall_at_{BUDGET}']:.0%} of the most important tenth. Labels are "
        "skewed, so the order tells more than per-pixel accuracy: the checkpoint that is kept has the best ranking, "
        "the mean of Spearman’s correlation and the recall of the top 5, 10 and 20 %."
    )


def _training_chart(log: list[dict[str, Any]]) -> str:
    """The loss, and on the right the ranking on the validation block, over iterations."""
    losses = [(row["iter"], row["loss"]) for row in log if "loss" in row]
    ranks = [(row["iter"], row["ranking"]) for row in log if "ranking" in row]
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = plots.plain_axes(figure.add_subplot(), "iteration", "loss")
    axes.plot(*zip(*losses, strict=True), color="#0072B2", linewidth=1.6)
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    right.plot(*zip(*ranks, strict=True), "o-", color="#D55E00", markersize=4)
    right.set_ylabel("ranking on the validation block", color="#D55E00")
    axes.yaxis.label.set_color("#0072B2")
    return page.chart(figure, "training curve")


def _latency_table(rows: list[dict[str, Any]]) -> str:
    head = ["model", "backend", "precision", "engine, ms", "frame, ms", "frame p95, ms", "frames/s"]
    return page.table(
        head,
        [
            (
                False,
                [
                    *(str(row[key]) for key in ("model", "backend", "precision")),
                    *(f"{row[key]:.1f}" for key in ("engine_ms_median", "frame_ms_median", "frame_ms_p95")),
                    f"{1000 * row['batch'] / row['frame_ms_median']:.0f}",
                ],
            )
            for row in rows
        ],
    )


def _stages_table(stages: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(stage['command'])}</code></td><td>{stage['seconds']:.0f} s</td></tr>"
        for stage in stages
    )
    total = sum(stage["seconds"] for stage in stages)
    total_row = f"<tr class='strong'><td>together</td><td>{total:.0f} s</td></tr>"
    return f'<div class="scroll"><table>{rows}{total_row}</table></div>'
