"""Commands that fit a dataset, to suggest next."""

from regenhance_data.dataset.folder import LR_FRAMES, Dataset

_MOST_HEIGHT_PX = 480  # of LR frames for the built-in upscaler: three times that is more than cameras record


def hr_frames_command(dataset: Dataset) -> list[str]:
    """The words of the command that makes the HR frames which a dataset lacks."""
    data = ["--data", str(dataset.root)]
    if dataset.keeps_hr:
        kept = next(record for record in dataset.record.clips.values() if record.keep_hr)
        size = [] if kept.height is None else ["--height", str(kept.height)]
        return ["python", "tools/extract.py", "--video", kept.source or "YOUR_VIDEO", *data, *size, "--keep_hr"]
    command = ["python", "tools/super_resolve.py", *data, "--model"]
    known = (dataset.record.upscaler or {}).get("spec")
    if known:
        return [*command, str(known)]
    height_px = dataset.read(LR_FRAMES, dataset.frames(dataset.clips()[0])[0]).shape[0]
    fitting = ["builtin"] if height_px <= _MOST_HEIGHT_PX else ["onnx:YOUR_UPSCALER.onnx", "--scale", "2"]
    return [*command, *fitting]


def importance_command(dataset: Dataset) -> list[str]:
    """The words of the command that makes importance from the HR frames of a dataset."""
    known = [] if dataset.record.detector else ["--detector", "onnx:YOUR_DETECTOR.onnx"]
    return ["python", "tools/make_importance.py", "--data", str(dataset.root), *known]
