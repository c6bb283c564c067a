"""The demo report's part about the loop, from the files of evaluate_online and run_cameras."""

import html
from pathlib import Path
from typing import Any

from regenhance_data.io.files import read_json
from regenhance_data.metrics.metric import METRIC_NAMES
from regenhance_data.reports import page

MOST_VIDEO_BYTES = 8_000_000  # with those of the overlay, 20 MB in all
_OF_VIDEO = (
    "Left: nothing enhanced. Right: the loop; what is outlined green is enhanced in this frame, what is blue is kept "
    "from earlier frames."
)


def loop_parts(folder: Path) -> dict[str, str]:
    """The template's parts, from evaluate_online.json and .svg, run.json and the annotated video in `folder`.

    InputError when one of the JSON files is missing.
    """
    compared, ran = read_json(folder / "evaluate_online.json"), read_json(folder / "run.json")
    metric = METRIC_NAMES[compared["metric"]]
    (video, *_) = [*sorted(folder.glob("*.mp4")), None]
    return {
        "loop_verdict": html.escape(loop_verdict(folder)),
        "loop_text": html.escape(_text(compared, ran, metric)),
        "loop_chart": _chart(folder / "evaluate_online.svg", f"{metric} against frames a second"),
        "loop_table": _table(compared, metric),
        "loop_video": page.video(video, "annotated video", _OF_VIDEO, MOST_VIDEO_BYTES) if video else "",
    }


def loop_verdict(folder: Path) -> str:
    """The verdict of evaluate_online as a sentence."""
    text = str(read_json(folder / "evaluate_online.json")["verdict"]["text"])
    return f"{text[:1].upper()}{text[1:]}."


def _text(compared: dict[str, Any], ran: dict[str, Any], metric: str) -> str:
    return (
        f"{metric} against {compared['reference']}, and frames a second, of each strategy on {compared['frames']} test "
        f"frames, one frame after the other; of other frames, and with more or less enhanced, than the curves above. "
        f"The loop on the camera's video, with decoding, drawing and the frame with "
        f"nothing enhanced beside it: {ran['frames']} frames at {ran['frames_per_second']:.1f} a second, "
        f"{ran['newly_enhanced'] or 0:.1%} of the macroblocks enhanced anew in each frame, "
        f"{ran['cache_hits'] or 0:.1%} kept from earlier ones."
    )


def _chart(path: Path, alt: str) -> str:
    content = path.read_bytes() if path.is_file() else b""
    source = page.data_uri(content, "image/svg+xml")
    return f'<figure class="scroll"><img class="chart" alt="{html.escape(alt)}" src="{source}"></figure>'


def _table(compared: dict[str, Any], metric: str) -> str:
    head = ["strategy", metric, "frames/s", "if SR were free", "enhanced anew", "kept", "pixels super-resolved"]
    rows = []
    for row in compared["rows"]:
        score = row[compared["metric"]]
        cells = [
            row["strategy"],
            "–" if score is None else f"{score:.3f}",
            f"{row['frames_per_second']:.1f}",
            f"{row['frames_per_second_if_enhancement_were_free']:.1f}",
            f"{row['newly_enhanced']:.0%}",
            f"{row['kept']:.0%}",
            f"{row['pixels_super_resolved']:.0%}",
        ]
        rows.append(cells)
    strong = [row["strategy"] for row in compared["rows"] if row["curve"].startswith("predictor")]
    return page.html_table(head, rows, strong)
