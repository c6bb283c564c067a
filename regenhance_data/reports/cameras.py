"""The page of a demo on several cameras: what enhancement brings for each, with links to their reports."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import BUDGET
from regenhance_data.evaluation.curves import CURVE_STYLES, curves_figure
from regenhance_data.evaluation.record import EvaluationResult, read_evaluation
from regenhance_data.importance.static_map import STATIC
from regenhance_data.reports import page
from regenhance_data.reports.demo import training_verdict, verdict_text

CURVES = ("random", STATIC, "predictor", "oracle")


def write_index(demo: Path, dataset: Dataset, folders: Mapping[str, Path]) -> None:
    """Write `demo`/report.html from the evaluation.json in each clip's folder and predictor/val.json in `demo`.

    InputError when one is missing.
    """
    results = {clip: read_evaluation(folder / "evaluation.json").result for clip, folder in folders.items()}
    links = {clip: f"{folder.relative_to(demo)}/report.html" for clip, folder in folders.items()}
    head = ["camera", "LR frames", "test frames", "nothing enhanced"]
    curves = [curve for curve in CURVES if all(curve in result.scores.curves for result in results.values())]
    head += [f"{CURVE_STYLES[curve].label}, {BUDGET:.0%}" for curve in curves] + ["everything enhanced"]
    rows = "".join(_row(dataset, clip, links[clip], result, curves) for clip, result in results.items())
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    page.write_page(
        demo / "report.html",
        f"{len(results)} cameras, one predictor",
        "cameras_template.html",
        training_verdict=html.escape(training_verdict(demo)),
        metric=html.escape(next(iter(results.values())).metric_name),
        table=f'<div class="scroll"><table><tr>{names}</tr>{rows}</table></div>',
        cameras="".join(_camera(clip, links[clip], result) for clip, result in results.items()),
    )


def _link(clip: str, target: str) -> str:
    return f'<a href="{html.escape(target, quote=True)}">{html.escape(clip)}</a>'


def _row(dataset: Dataset, clip: str, target: str, result: EvaluationResult, curves: Sequence[str]) -> str:
    height, width = dataset.record.clips[clip].origin_hw or (0, 0)
    scores = result.scores
    shown = [scores.none, *(scores.curves[curve][BUDGET] for curve in curves), scores.all]
    cells = [_link(clip, target), f"{width}×{height}", str(result.frames), *(score.text for score in shown)]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _camera(clip: str, target: str, result: EvaluationResult) -> str:
    alt = f"{result.metric_name} of {clip} against the share of macroblocks enhanced"
    return (
        f"<section><h2>{_link(clip, target)}</h2><p>{html.escape(verdict_text(result))}</p>"
        f"{page.chart(curves_figure(result), alt)}</section>"
    )
