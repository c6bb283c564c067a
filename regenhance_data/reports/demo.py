"""The demo's report: one HTML file that holds everything it shows, from the files that the stages wrote."""

import html
import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data import plots
from regenhance_data.dataset.folder import SR_IMAGES, Dataset, Frame
from regenhance_data.dataset.label_png import level_colours, read_label
from regenhance_data.defaults import BUDGET
from regenhance_data.errors import InputError, one_line
from regenhance_data.evaluation.curves import CURVE_STYLES, curves_figure
from regenhance_data.evaluation.evaluate import Predict
from regenhance_data.evaluation.record import EvaluationResult, read_evaluation
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.frame_pairs import FramePair, read_pair
from regenhance_data.importance.static_map import STATIC
from regenhance_data.io.files import read_json
from regenhance_data.regions.overlay import OUTLINE_RGB, draw_heatmap, draw_outline
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.reports import page
from regenhance_data.reports.loop import loop_parts

MORE_FRAMES = "use a larger --max_frames or a longer video"  # the demo has no other flags for it
MOST_VIDEO_BYTES = 12_000_000  # a page over some 20 MB is slow to open


def write_report(folder: Path, demo: Path, dataset: Dataset, clip: str, predict: Predict) -> str:
    """Write `folder`/report.html on one clip, from the files of the demo's stages; return its headline as plain text.

    Reads evaluation.json, benchmark.json, overlay.mp4 and loop/ in `folder`; stages.json, predictor/val.json and
    predictor/train_log.json in `demo`, the demo's own folder; and the dataset. InputError when one is missing.
    """
    evaluation = read_evaluation(folder / "evaluation.json").result
    parts = _parts_of_stages(folder, demo)
    frame, oracle = _most_important_frame(dataset, clip)
    pair = read_pair(dataset, frame, _hr_folder(dataset))
    predicted = predict(pair.lr)
    headline = _headline(evaluation)
    source = dataset.record.clips[frame.clip].source
    page.write_page(
        folder / "report.html",
        f"Which macroblocks matter: {source}",
        "demo_template.html",
        headline=html.escape(headline),
        data_text=_data_text(dataset, frame, evaluation),
        tiles=_tiles(evaluation),
        **_curve_parts(evaluation, _hr_folder(dataset)),
        panels=_panels(dataset, frame, pair, oracle, predicted),
        scales=page.heat_scale("importance 0", "1") + page.level_scale(dataset.levels),
        **_slider_parts(pair, oracle, predicted),
        video=_video(folder / "overlay.mp4", dataset, clip),
        levels_chart=page.levels_chart(dataset.record.level_pixels),
        machine=f"{os.cpu_count()} cores, {platform.machine()}",
        **parts,
    )
    return headline


def _parts_of_stages(folder: Path, demo: Path) -> dict[str, str]:
    """The template's parts from JSON that the stages wrote. InputError where one is missing, or has other values."""
    try:
        return {
            **loop_parts(folder / "loop"),
            "training_verdict": html.escape(training_verdict(demo)),
            "training_text": _training_text(read_json(demo / "predictor" / "val.json")),
            "training_chart": _training_chart(read_json(demo / "predictor" / "train_log.json")),
            "latency_table": _latency_table(read_json(folder / "benchmark.json")),
            "stages_table": _stages_table(read_json(demo / "stages.json")),
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{demo}: its stages wrote something else ({one_line(error)}); run the demo again with --restart"
        ) from None


def order_of_selection(scores: np.ndarray) -> np.ndarray:
    """The macroblocks' flat indices; the first p % are those that `select_macroblocks` selects at p %, p = 0 … 100.

    scores: float [rows, cols]. The page cannot sort them itself: `select_macroblocks` has its own order for equals.
    """
    times_selected = sum(select_macroblocks(scores, percent / 100).ravel().astype(int) for percent in range(101))
    return np.argsort(-np.asarray(times_selected), kind="stable")


def _hr_folder(dataset: Dataset) -> str:
    return str(dataset.record.importance.hr_folder)


def _most_important_frame(dataset: Dataset, clip: str) -> tuple[Frame, np.ndarray]:
    """The clip's test frame with the largest sum of importance, and its importance [rows, cols]."""
    importance = dataset.importance(clip)
    pairs = [(frame, importance[frame.number]) for frame in dataset.split_frames("test") if frame.clip == clip]
    if not pairs:
        raise InputError(f"{dataset.root}: clip {clip} has no test frame; use a longer video")
    return max(pairs, key=lambda pair: pair[1].sum())


def _headline(evaluation: EvaluationResult) -> str:
    verdict = verdict_text(evaluation)
    return f"{verdict}. {_recovery(evaluation)}" if verdict else _recovery(evaluation)


def verdict_text(evaluation: EvaluationResult) -> str:
    """The verdict as a sentence without its full stop, with the demo's own advice; "" in files of older versions."""
    if evaluation.verdict is None:
        return ""
    advice = evaluation.verdict.advice and MORE_FRAMES
    text = replace(evaluation.verdict, advice=advice).text
    return text[:1].upper() + text[1:]


def training_verdict(demo: Path) -> str:
    """What `paddleseg val` said of the predictor. InputError without predictor/val.json in `demo`."""
    verdict = read_json(demo / "predictor" / "val.json")["verdict"]
    return f"The order of all macroblocks on the validation block, while F1 is about the best tenth: {verdict}."


def _recovery(evaluation: EvaluationResult) -> str:
    predictor, random = (evaluation.scores.recovered(curve, BUDGET) for curve in ("predictor", "random"))
    if not evaluation.says_something:
        return "The detector finds nothing on the HR frames of the test block: evaluate frames with objects."
    if predictor is None or random is None:
        return "Enhancing every macroblock gains this detector nothing: there is nothing for a predictor to recover."
    return (
        f"Enhancing the {BUDGET:.0%} of the macroblocks that the predictor selects recovers {predictor:.0%} of the "
        f"{evaluation.metric_name} that enhancing every macroblock would recover; a random {BUDGET:.0%} recovers "
        f"{random:.0%}."
    )


def _data_text(dataset: Dataset, frame: Frame, evaluation: EvaluationResult) -> str:
    record, clip = dataset.record, dataset.record.clips[frame.clip]
    assert clip.origin_hw is not None
    assert record.detector is not None
    height, width = clip.origin_hw
    return html.escape(
        f"{clip.frames} LR frames of {width}×{height}, HR frames {dataset.scale} times as large "
        f"({_hr_folder(dataset).split('_')[0]}), detector {record.detector['spec']}, "
        f"{evaluation.frames} test frames, unused in training. Kit version {record.kit_version}."
    )


def _tiles(evaluation: EvaluationResult) -> str:
    scores = evaluation.scores
    values = [("", "nothing enhanced", scores.none)]
    for curve in ("random", STATIC, "difference", "predictor", "oracle"):
        if curve not in scores.curves:
            continue
        text = f"{CURVE_STYLES[curve].label}, {BUDGET:.0%}"
        values.append((" main" if curve == "predictor" else "", text, scores.curves[curve][BUDGET]))
    values.append(("", "everything enhanced", scores.all))
    return "".join(
        f'<div class="tile{kind}"><b>{value.text}</b><span>{evaluation.metric_name}, {html.escape(text)}</span></div>'
        for kind, text, value in values
    )


def _curve_parts(evaluation: EvaluationResult, hr_folder: str) -> dict[str, str]:
    """The template's parts about the evaluation."""
    alt = f"{evaluation.metric_name} against the share of macroblocks enhanced"
    return {
        "curve_text": _curve_text(evaluation, hr_folder),
        "curve_chart": page.chart(curves_figure(evaluation), alt),
        "curve_table": _curve_table(evaluation) + _clips_table(evaluation),
    }


def _curve_text(evaluation: EvaluationResult, hr_folder: str) -> str:
    text = (
        f"{evaluation.metric_name} of the detector on composites of {evaluation.frames} test frames, against its "
        "results on the HR frames, so that everything enhanced has 1 by definition. A composite is the upsampled frame "
        "with the selected macroblocks taken from the HR frame. Oracle: selected by the importance, computed from the "
        "detector’s gradient on the HR frame. Difference: selected where HR and upsampled frame differ most. Boxes: "
        "selected where the detector finds something on the upsampled frame. Static map: selected by the mean "
        "importance of the training frames, the same in every frame."
    )
    truth = evaluation.truth
    if not truth and hr_folder == SR_IMAGES:
        text += (
            " The HR frames are super-resolved: F1 says how many detections the upscaler changes, not whether they "
            "become right."
        )
    if truth:
        text += (
            f" Against the scene’s true boxes: {truth.none.text} with nothing enhanced, "
            f"{truth.curves['predictor'][BUDGET].text} with the predictor at {BUDGET:.0%}, "
            f"{truth.all.text} with everything enhanced."
        )
    return html.escape(text)


def _curve_table(evaluation: EvaluationResult) -> str:
    scores = evaluation.scores
    budgets = sorted(scores.curves["predictor"])
    head = [f"{evaluation.metric_name} when this share is enhanced", *(f"{100 * b:.0f} %" for b in (0, *budgets, 1))]
    rows = []
    for name, style in CURVE_STYLES.items():
        if name in scores.curves:  # segmentation has no boxes
            row = [scores.none, *(scores.curves[name][budget] for budget in budgets), scores.all]
            rows.append([style.label, *(score.text for score in row)])
    return page.html_table(head, rows, strong=[CURVE_STYLES["predictor"].label])


def _clips_table(evaluation: EvaluationResult) -> str:
    """Of several clips, the scores and the verdict of each."""
    if len(evaluation.clips) < 2:
        return ""
    head = ["clip", "frames", "with objects", "nothing enhanced", f"predictor, {BUDGET:.0%}", "everything", "verdict"]
    rows = []
    for clip, result in evaluation.clips.items():
        scores = [result.scores.none, result.scores.curves["predictor"][BUDGET], result.scores.all]
        counts = [str(result.frames), str(result.frames_with_objects)]
        verdict = result.verdict.text if result.verdict else ""
        rows.append([clip, *counts, *(score.text for score in scores), verdict])
    return page.html_table(head, rows)


def _panels(dataset: Dataset, frame: Frame, pair: FramePair, oracle: np.ndarray, predicted: np.ndarray) -> str:
    upsampled, hr, grid = pair.upsampled, pair.hr, pair.grid
    # every map is shown normalised: levels are quantised from normalised importance
    normalised = dataset.record.read_normaliser()(oracle)
    level_grid = read_label(dataset.path("labels", frame))[:: dataset.mb_size, :: dataset.mb_size]
    outlined = draw_outline(upsampled, select_macroblocks(predicted, BUDGET), grid)
    panels = [
        (upsampled, f"upsampled frame: the LR frame, interpolated ×{dataset.scale}"),
        (hr, "HR frame"),
        (draw_heatmap(hr, normalised, grid), "importance from the detector’s gradient"),
        (_levels_image(level_grid, grid, dataset.levels), f"label: {dataset.levels} levels"),
        (draw_heatmap(upsampled, predicted, grid), "prediction from the LR frame alone"),
        (outlined, f"selection: the {BUDGET:.0%} of the macroblocks with the highest prediction, outlined"),
        (page.zoom(upsampled, oracle, grid), "around the most important macroblock: upsampled frame"),
        (page.zoom(hr, oracle, grid), "around the most important macroblock: HR frame"),
    ]
    return "".join(page.captioned_image(image, caption) for image, caption in panels)


def _levels_image(level_grid: np.ndarray, grid: MacroblockGrid, levels: int) -> np.ndarray:
    return level_colours(levels)[grid.spread(level_grid)]


def _slider_parts(pair: FramePair, oracle: np.ndarray, predicted: np.ndarray) -> dict[str, str]:
    """The template's parts for the slider that draws a composite."""
    maps = {
        "predictor": order_of_selection(predicted).tolist(),
        "oracle": order_of_selection(oracle).tolist(),
        "size": pair.grid.mb_size,
        "cols": pair.grid.cols,
    }
    return {
        "maps": json.dumps(maps),
        "outline": ", ".join(map(str, OUTLINE_RGB)),
        "hr_width": str(pair.grid.width),
        "hr_height": str(pair.grid.height),
        "upsampled_image": page.image_uri(pair.upsampled),
        "hr_image": page.image_uri(pair.hr),
    }


def _video(path: Path, dataset: Dataset, clip: str) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; make it with deploy/trt_infer.py")
    frames = {name: sum(frame.clip == clip for frame in dataset.split_frames(name)) for name in ("train", "test")}
    text = (
        "The exported ONNX model on the whole clip: predicted importance as a heat map, the selected macroblocks "
        f"outlined. The predictor was trained on {frames['train']} of these frames; the evaluation above uses the "
        f"{frames['test']} test frames alone."
    )
    return f"<section><h2>Overlay video</h2>{page.video(path, 'overlay video', text, MOST_VIDEO_BYTES)}</section>"


def _training_text(val: dict[str, Any]) -> str:
    return html.escape(
        f"On the validation block the best checkpoint ranks macroblocks with a Spearman correlation of "
        f"{val['spearman']:.3f} and finds {val[f'recall_at_{BUDGET}']:.0%} of the most important {BUDGET:.0%}. "
        "Labels are skewed, so the ranking says more than per-pixel accuracy: the best checkpoint is the one with the "
        "best ranking, the mean of Spearman’s correlation and the recalls of the top 5, 10 and 20 %."
    )


def _training_chart(log: list[dict[str, Any]]) -> str:
    """The loss, and on the right axis the ranking on the validation block, over iterations."""
    losses = [(row["iter"], row["loss"]) for row in log if "loss" in row]
    ranks = [(row["iter"], row["ranking"]) for row in log if "ranking" in row]
    figure, axes = plots.new_plot((5, 3.4), "iteration", "loss")
    axes.plot(*zip(*losses, strict=True), color=plots.BLUE, linewidth=1.6)
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    right.plot(*zip(*ranks, strict=True), "o-", color=plots.VERMILION, markersize=4)
    right.set_ylabel("ranking on the validation block", color=plots.VERMILION)
    axes.yaxis.label.set_color(plots.BLUE)
    return page.chart(figure, "training curve")


def _latency_table(rows: list[dict[str, Any]]) -> str:
    head = ["model", "backend", "precision", "engine, ms", "frame, ms", "frame p95, ms", "frames/s"]
    cells = [
        [
            *(str(row[key]) for key in ("model", "backend", "precision")),
            *(f"{row[key]:.1f}" for key in ("engine_ms_median", "frame_ms_median", "frame_ms_p95")),
            f"{row['frames_per_s']:.0f}",
        ]
        for row in rows
    ]
    return page.html_table(head, cells)


def _stages_table(stages: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(stage['command'])}</code></td><td>{stage['seconds']:.0f} s</td></tr>"
        for stage in stages
    )
    total = sum(stage["seconds"] for stage in stages)
    total_row = f"<tr class='strong'><td>total</td><td>{total:.0f} s</td></tr>"
    return f'<div class="scroll"><table>{rows}{total_row}</table></div>'
