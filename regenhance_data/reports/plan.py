"""The page of a plan: the answer, the front of speed and accuracy, the stages of what was chosen."""

import html
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from regenhance_data.reports import page


def write_page_of_plan(
    path: Path,
    target: str,
    answer: str,
    figure: Figure,
    front: Sequence[Sequence[str]],
    chosen: str,
    stages: Sequence[Sequence[str]],
    limits: str,
    about: Sequence[Sequence[str]],
) -> None:
    """Write a plan's page. All texts are plain.

    front: the table's head, then a row for each point, which begins with its settings; that of `chosen` is strong.
    stages: (stage, milliseconds, their spread). about: (what, value) of how it was measured.
    """
    head, *rows = front
    page.write_page(
        path,
        f"A plan for {target}",
        "plan_template.html",
        answer=html.escape(f"{answer[:1].upper()}{answer[1:]}."),
        chart=page.chart(figure, "score against frames a second of the points on the front"),
        front=page.html_table(head, rows, strong=[chosen]),
        chosen=html.escape(chosen),
        stages=page.html_table(["stage", "milliseconds", "least-greatest"], stages),
        limits=html.escape(limits),
        about=page.html_table([], about),
    )
