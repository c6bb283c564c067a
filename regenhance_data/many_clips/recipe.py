"""The recipe of a benchmark: the commands that lead from a clip's video to the counts of its test frames."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regenhance_data.errors import InputError
from regenhance_data.io.files import digest, sha256, write_yaml
from regenhance_data.many_clips.manifest import BenchmarkClip
from regenhance_data.many_clips.steps import Step
from regenhance_data.predictors.paddleseg.arguments import make_parser
from regenhance_data.predictors.paddleseg.config_file import pretrained_sources, read_config

OWN, OTHERS, EVERY, ZERO_SHOT = "own", "others", "all", "zero-shot"
TRAINED = "trained"  # the line of a recipe without a name
_TAKEN = (OWN, OTHERS, EVERY, ZERO_SHOT, TRAINED)
COUNTS = "counts.json"
_BEST = Path("best_model/model.pdparams")


@dataclass(frozen=True)
class Recipe:
    """How a predictor is trained. name: "" where there is only one. options: the flags of `paddleseg train`, without
    --opts. opts: its config entries. content: identifies what is in the config, its bases and
    the files of weights that it names.
    """

    name: str
    config: Path
    options: tuple[str, ...]
    opts: tuple[str, ...]
    content: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the flags name, like initial weights."""
        words = [*self.options, *(word.partition("=")[2] for word in (*self.options, *self.opts))]
        return tuple(Path(word) for word in words if word and Path(word).is_file() and Path(word) != self.config)


@dataclass(frozen=True)
class TrainingSteps:
    """One predictor of a benchmark. way: its column. train: the step that makes its weights, None where they were
    given. export: the step that makes its model.
    """

    way: str
    train: Step | None
    export: Step


def read_recipe(text: str, config: Path) -> Recipe:
    """The recipe in "NAME: FLAGS" or "FLAGS", flags of `paddleseg train`. InputError, or exit 2 with argparse's line,
    for flags that it does not have, and for a config that is missing or broken.
    """
    name, _, flags = text.partition(":") if not text.lstrip().startswith("-") and ":" in text else ("", "", text)
    try:
        words = shlex.split(flags)
    except ValueError as error:
        raise InputError(f"--train_options {text!r:.80}: {error}") from None
    parser = make_parser("train")
    args, unread = parser.parse_known_args(["--config", str(config), *words])
    if unread:
        raise InputError(
            f"--train_options {text!r:.80}: paddleseg train has no {unread[0]}; see paddleseg train --help"
        )
    if args.opts and "--opts" in words:
        start = words.index("--opts")
        words[start : start + 1 + len(args.opts)] = []
    name = name.strip()
    if name in _TAKEN:
        raise InputError(f"--train_options {text!r:.80}: {name!r} is what a column is called; give another name")
    if not f"_{name}".replace(" ", "_").replace("-", "_").isidentifier():  # it is a folder too
        raise InputError(
            f"--train_options {text!r:.80}: a recipe's name has letters, digits, '_', '-' and spaces alone"
        )
    begin = [] if args.no_pretrained else sorted(pretrained_sources(args.config).values())
    files = [sha256(Path(source)) for source in begin if Path(source).is_file()]
    content = digest([repr(read_config(args.config)), files])
    return Recipe(name, args.config, tuple(words), tuple(args.opts or ()), content)


def way_of(recipe: Recipe, trained_on: str) -> str:
    """The name of the column of the predictors that a recipe makes, on OWN, OTHERS or EVERY clip."""
    return f"{recipe.name}, {trained_on}" if recipe.name else trained_on


def dataset_steps(clip: BenchmarkClip, data: Path) -> list[Step]:
    """Video → frames, importance and labels in `data`. Writes the manifest of the frames into logs/ beside it, since
    the frames have the clip's id, not the video's name. InputError for a video that cannot be read.
    """
    from regenhance_data.io.video import inspect_video  # PyAV, which --help does not need

    height = clip.height or inspect_video(clip.video).upright_hw[0] // (clip.scale or 1)
    flags = {name: getattr(clip, name) for name in ("every", "fps", "max_frames", "jpeg_quality")}
    given = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    manifest = data.parent / "logs" / f"{data.name}.yaml"
    write_yaml(manifest, {"clips": [{"video": str(clip.video.resolve()), "id": clip.clip}]})
    extract = ["tools/extract.py", "--manifest", str(manifest), "--data", str(data), "--height", str(height)]
    frames = Step("frames", (*extract, "--keep_hr", "--overwrite", *given), data / "origin_images", files=(clip.video,))
    importance = Step(
        "importance",
        ("tools/make_importance.py", "--data", str(data), *clip.detector_words),
        data / "importance",
        files=tuple(clip.detector_files),
        after=(frames,),
    )
    labels = Step("labels", ("tools/make_seg_dataset.py", "--data", str(data)), data / "train.txt", after=(importance,))
    return [frames, importance, labels]


def train_steps(
    recipe: Recipe,
    way: str,
    seed: int,
    root: Path,
    lists: tuple[str, str],
    data: Path,
    folder: Path,
    after: list[Step],
    export_folder: Path | None = None,
) -> TrainingSteps:
    """Train on the dataset in `root` by its lists (train, val), and export for the frames in `data`.

    after: the steps that made the frames. The weights are in `folder`, the model in `export_folder`, by default there.
    """
    own = ["--dataset_root", str(root), "--save_dir", str(folder), "--seed", str(seed), "--overwrite"]
    paths = [
        f"{name}_dataset.{name}_path={root}/{listed}.txt" for name, listed in zip(("train", "val"), lists, strict=True)
    ]
    words = ["paddleseg", "train", "--config", str(recipe.config), *recipe.options, *own]
    what, weights = f"train, {way}, seed {seed}", folder / _BEST
    words += ["--opts", *recipe.opts, *paths]
    train = Step(what, tuple(words), weights, recipe.files, tuple(after), recipe.content)
    return TrainingSteps(way, train, _export(recipe, way, weights, data, export_folder or folder, (train,)))


def zero_shot(recipe: Recipe, weights: Path, data: Path, folder: Path, after: list[Step]) -> TrainingSteps:
    """Export given weights for the frames in `data`, without a training."""
    return TrainingSteps(ZERO_SHOT, None, _export(recipe, ZERO_SHOT, weights, data, folder, tuple(after), (weights,)))


def _export(
    recipe: Recipe,
    way: str,
    weights: Path,
    data: Path,
    folder: Path,
    after: tuple[Step, ...],
    files: tuple[Path, ...] = (),
) -> Step:
    words = ["deploy/export_onnx.py", "--config", str(recipe.config), "--model_path", str(weights)]
    words += ["--dataset_root", str(data), "--save_dir", str(folder)]
    words += ["--opts", *recipe.opts] if recipe.opts else []
    onnx = folder / f"{recipe.config.stem}.onnx"
    return Step(f"export, {way}", tuple(words), onnx, files, after, recipe.content)


def evaluation_step(
    clip: BenchmarkClip,
    data: Path,
    trainings: Sequence[TrainingSteps],
    budgets: Sequence[float],
    folder: Path,
    after: list[Step],
) -> Step:
    """Evaluate all predictors of a clip on its test frames, beside the baselines; the counts are in `folder`."""
    models = list(dict.fromkeys(str(training.export.makes) for training in trainings))  # two ways may share one
    words = ["tools/evaluate.py", "--data", str(data), "--save_dir", str(folder), "--counts", *clip.detector_words]
    words += ["--budgets", *map(str, budgets), *(["--model", *models] if models else [])]
    steps = (*after, *(training.export for training in trainings))
    return Step("evaluation", tuple(words), folder / COUNTS, after=steps)


def models_of(trainings: Sequence[TrainingSteps]) -> Mapping[str, list[str]]:
    """{way: the models of its seeds}."""
    found: dict[str, list[str]] = {}
    for training in trainings:
        found.setdefault(training.way, []).append(str(training.export.makes))
    return found
