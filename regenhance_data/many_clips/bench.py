"""A benchmark of many clips from its settings to its result: which steps there are, and in which order they are run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from regenhance_data.console import tell, warn
from regenhance_data.errors import InputError, refuse_unless_shares
from regenhance_data.evaluation.kept import read_counts
from regenhance_data.io.files import locked
from regenhance_data.many_clips.labelled import ALL, LabelledResult
from regenhance_data.many_clips.manifest import BenchmarkClip
from regenhance_data.many_clips.pool import make_pool, read_list, spread, write_list
from regenhance_data.many_clips.recipe import (
    EVERY,
    OTHERS,
    OWN,
    TRAINED,
    ZERO_SHOT,
    Recipe,
    TrainingSteps,
    dataset_steps,
    evaluation_step,
    models_of,
    read_recipe,
    train_steps,
    way_of,
    zero_shot,
)
from regenhance_data.many_clips.results import BenchmarkResult, MeasuredClip, summarise
from regenhance_data.many_clips.steps import Execute, Ledger, Step, content_of


@dataclass(frozen=True)
class BenchmarkSettings:
    """save_dir: for the results. data: for the datasets. trained_on: some of OWN, OTHERS, EVERY. zero_shot: weights of
    the network in `config`. labelled: numbers of training frames, None for all.
    """

    save_dir: Path
    data: Path
    config: Path
    recipes: tuple[Recipe, ...]
    trained_on: tuple[str, ...]
    seeds: tuple[int, ...]
    budgets: tuple[float, ...]
    zero_shot: Path | None = None
    labelled: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        names = [recipe.name for recipe in self.recipes]
        if len(set(names)) < len(names):
            raise InputError('--train_options: give each of several recipes a name, as in "short: --iters 100"')
        if None in self.labelled and OWN not in self.trained_on:
            raise InputError(f"--labelled {ALL}: is the training on the own clip; give --trained_on {OWN} too")
        data, results = self.data.resolve(), self.save_dir.resolve()
        if data == results or data in results.parents or (results in data.parents and data != results / "data"):
            raise InputError(f"--data {self.data}: shares folders with --save_dir; give the datasets one of their own")
        refuse_unless_shares(self.budgets)


def refuse_copies(clips: Sequence[BenchmarkClip]) -> None:
    """InputError where two clips of different scenes have the same video."""
    first: dict[str, BenchmarkClip] = {}
    for clip in clips:
        if clip.video.is_file():
            known = first.setdefault(content_of(clip.video), clip)
            if known.scene != clip.scene:
                raise InputError(
                    f"clips {known.clip} and {clip.clip} have the same video, so each would be trained on the other's "
                    "frames; give both the same 'scene', or leave one out"
                )


class Benchmark:
    """Runs the steps of the clips. execute: runs one command."""

    def __init__(self, clips: Sequence[BenchmarkClip], settings: BenchmarkSettings, execute: Execute) -> None:
        self._clips, self._settings = clips, settings
        self._steps, self._execute = Ledger(settings.save_dir, execute), execute
        self._made: dict[str, list[Step]] = {}  # of the clips that have a dataset
        self._failed: dict[str, str] = {}
        self._has_pool = False

    def run(self) -> BenchmarkResult:
        """Make the datasets, then the predictors and the evaluation of each clip. InputError for one video as clips of
        several scenes, of which one would be trained on for the other.
        """
        if OTHERS in self._settings.trained_on:
            refuse_copies(self._clips)
        with locked(self._settings.data / ".benchmark_clips.lock"):
            ledger = Ledger(self._settings.data, self._execute)
            for clip in self._clips:
                self._attempt(clip, lambda one: self._make_dataset(one, ledger))
        return self._measured(self._trainings, "")

    def run_labelled(self) -> LabelledResult:
        """The same with fewer labelled training frames, after `run`."""
        result = self._measured(self._labelled_trainings, "labelled")
        frames = {one.clip: len(read_list(self._data(one), "train")) for one in self._clips if one.clip in self._made}
        places: dict[str, tuple[str, int | None]] = {}
        for recipe in self._settings.recipes:
            for count in self._settings.labelled:
                line = recipe.name or TRAINED
                place = (ZERO_SHOT if count == 0 else line, count)
                places[ZERO_SHOT if count == 0 else _labelled_way(recipe, count)] = place
        return LabelledResult(result, places, frames)

    def _measured(self, trainings: Callable[[BenchmarkClip], list[TrainingSteps]], part: str) -> BenchmarkResult:
        measured: list[MeasuredClip] = []

        def measure(clip: BenchmarkClip) -> None:
            own, folder = trainings(clip), self._settings.save_dir / clip.clip / part
            steps = [step for training in own for step in (training.train, training.export) if step]
            evaluation = evaluation_step(
                clip, self._data(clip), own, self._settings.budgets, folder, self._made[clip.clip][-1:]
            )
            self._refuse_changed(clip)
            self._steps.run(clip.clip, [*steps, evaluation])
            self._refuse_changed(clip)
            measured.append(MeasuredClip(clip.clip, read_counts(evaluation.makes), models_of(own)))

        for clip in self._clips:
            if clip.clip in self._made and clip.clip not in self._failed:
                self._attempt(clip, measure)
        return summarise(measured, [clip.clip for clip in self._clips], self._failed)

    def _attempt(self, clip: BenchmarkClip, work: Callable[[BenchmarkClip], None]) -> None:
        try:
            work(clip)
        except InputError as error:
            self._failed[clip.clip] = str(error)
            warn(f"{clip.clip}: {error}")

    def _data(self, clip: BenchmarkClip) -> Path:
        return self._settings.data / clip.clip

    def _make_dataset(self, clip: BenchmarkClip, ledger: Ledger) -> None:
        steps = dataset_steps(clip, self._data(clip))
        ledger.run(clip.clip, steps)
        self._made[clip.clip] = steps

    def _refuse_changed(self, clip: BenchmarkClip) -> None:
        """InputError where another benchmark with the same --data has made this dataset anew."""
        if not all(map(Ledger(self._settings.data, self._execute).has, self._made[clip.clip])):
            raise InputError(
                f"{self._data(clip)}: another benchmark made it anew meanwhile, with other settings; give each a "
                "--data of its own, and another --save_dir"
            )

    def _trainings(self, clip: BenchmarkClip) -> list[TrainingSteps]:
        settings, data = self._settings, self._data(clip)
        own = [
            self._training_on_own(clip, recipe, way_of(recipe, OWN), seed)
            for recipe in settings.recipes
            for seed in settings.seeds
            if OWN in settings.trained_on
        ]
        others = self._trainings_on_others(clip) if OTHERS in settings.trained_on else []
        every = self._trainings_on_every(clip) if EVERY in settings.trained_on else []
        return [*own, *others, *every, *self._zero_shot(clip, data)]

    def _zero_shot(self, clip: BenchmarkClip, data: Path) -> list[TrainingSteps]:
        settings = self._settings
        if settings.zero_shot is None:
            return []
        recipe, folder = read_recipe("", settings.config), settings.save_dir / clip.clip / ZERO_SHOT
        return [zero_shot(recipe, settings.zero_shot, data, folder, self._made[clip.clip][-1:])]

    def _training_on_own(self, clip: BenchmarkClip, recipe: Recipe, way: str, seed: int) -> TrainingSteps:
        data, folder = self._data(clip), self._folder(clip, recipe, OWN, seed)
        return train_steps(recipe, way, seed, data, ("train", "val"), data, folder, self._made[clip.clip][-1:])

    def _trainings_on_others(self, clip: BenchmarkClip) -> list[TrainingSteps]:
        others = [other for other in self._clips if other.clip in self._made and other.scene != clip.scene]
        if not others:
            tell(f"{clip.clip}: no other clip of another scene has a dataset to train on")
            return []
        return self._trainings_on(others, clip, OTHERS, f"{clip.clip}.")

    def _trainings_on_every(self, clip: BenchmarkClip) -> list[TrainingSteps]:
        """The same trainings for each clip; one export for each, since a graph has the size of its frames."""
        return self._trainings_on([one for one in self._clips if one.clip in self._made], clip, EVERY, "")

    def _trainings_on(
        self, trained_on: Sequence[BenchmarkClip], clip: BenchmarkClip, kind: str, prefix: str
    ) -> list[TrainingSteps]:
        """Trainings on the frames of several clips, for one clip. prefix: of the lists in the pool."""
        lists = (f"{prefix}{kind}.train", f"{prefix}{kind}.val")
        after = [self._made[one.clip][-1] for one in trained_on]
        trainings = []
        for recipe in self._settings.recipes:
            for seed in self._settings.seeds:
                folder = self._folder(clip, recipe, kind, seed)
                shared = self._settings.save_dir / EVERY / folder.name if kind == EVERY else folder
                way, data = way_of(recipe, kind), self._data(clip)
                trainings.append(train_steps(recipe, way, seed, self._pool, lists, data, shared, after, folder))
        lines = {
            name: [line for one in trained_on for line in read_list(self._data(one), part)]
            for name, part in zip(lists, ("train", "val"), strict=True)
        }
        self._fill_pool(trainings, lines)
        return trainings

    def _labelled_trainings(self, clip: BenchmarkClip) -> list[TrainingSteps]:
        """Of the counts that the clip has: with more than it has, the training on all of its frames."""
        settings, data = self._settings, self._data(clip)
        train, val = read_list(data, "train"), read_list(data, "val")
        found = self._zero_shot(clip, data) if 0 in settings.labelled else []
        for recipe in settings.recipes:
            for count in settings.labelled:
                if count == 0:
                    continue
                for seed in settings.seeds:
                    way = _labelled_way(recipe, count)
                    if count is None or count >= len(train):
                        found.append(self._training_on_own(clip, recipe, way, seed))
                        continue
                    lists = (f"{clip.clip}.{count}.train", f"{clip.clip}.{count}.val")
                    folder, after = self._folder(clip, recipe, str(count), seed), self._made[clip.clip][-1:]
                    training = train_steps(recipe, way, seed, self._pool, lists, data, folder, after)
                    fewer = max(round(count * len(val) / len(train)), 1)
                    self._fill_pool([training], {lists[0]: spread(train, count), lists[1]: spread(val, fewer)})
                    found.append(training)
        return found

    def _folder(self, clip: BenchmarkClip, recipe: Recipe, kind: str, seed: int) -> Path:
        name = f"{recipe.name}_{kind}" if recipe.name else kind
        return self._settings.save_dir / clip.clip / f"{name}_seed{seed}"

    @property
    def _pool(self) -> Path:
        return self._settings.save_dir / "pool"

    def _fill_pool(self, trainings: Sequence[TrainingSteps], lists: dict[str, list[str]]) -> None:
        """Write the lists that trainings read, into a pool of all clips; nothing where the trainings are done."""
        if all(training.train is None or self._steps.has(training.train) for training in trainings):
            return
        if not self._has_pool:
            for clip in self._clips:
                if clip.clip in self._made:
                    self._refuse_changed(clip)
            make_pool(self._pool, {name: self._settings.data / name for name in self._made})
            self._has_pool = True
        for name, lines in lists.items():
            write_list(self._pool, name, lines)


def _labelled_way(recipe: Recipe, count: int | None) -> str:
    return f"{recipe.name or TRAINED}, {ALL if count is None else count} frames"
