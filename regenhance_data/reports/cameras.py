"""The page of a demo on several cameras: what each gains, with links to their reports."""

import html
from collections.abc import Mapping
from pathlib import Path

from regenhance_data.dataset.folder import Dataset
from regenhance_data.evaluation.record import EvaluationResult, read_evaluation
from regenhance_data.reports import page

BUDGET = 0.1  # of the table


def write_index(demo: Path, dataset: Dataset, folders: Mapping[str, Path]) -> None:
    """Write `demo`/report.html from the evaluation.json in each clip's folder. InputError when one is missing."""
    rows = []
    for clip, folder in folders.items():
        result = read_evaluation(folder / "evaluation.json").result
        rows.append(_row(dataset, clip, f"{folder.relative_to(demo)}/report.html", result))
    head = ["camera", "LR frames", "test frames", "nothing enhanced", "random 10 %", "predictor, 10 %", "oracle, 10 %"]
    cells = "".join(f"<th>{name}</th>" for name in [*head, "everything enhanced"])
    page.write_page(
        demo / "report.html",
        f"{len(rows)} cameras, one predictor",
        "cameras_template.html",
        table=f'<div class="scroll"><table><tr>{cells}</tr>{"".join(rows)}</table></div>',
    )


def _row(dataset: Dataset, clip: str, link: str, result: EvaluationResult) -> str:
    height, width = dataset.record.clips[clip].origin_hw or (0, 0)
    scores = result.scores
    at_budget = [scores.curves[curve][BUDGET] for curve in ("random", "predictor", "oracle")]
    values = [f"{score.value:.3f}" for score in (scores.none, *at_budget, scores.all)]
    cells = "".join(f"<td>{cell}</td>" for cell in (f"{width}×{height}", result.frames, *values))
    return f'<tr><td><a href="{html.escape(link, quote=True)}">{html.escape(clip)}</a></td>{cells}</tr>'
