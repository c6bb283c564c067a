"""run.json: what a run of the loop did, how long each stage took, and how much it enhanced."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploy.online.durations import Durations
from deploy.online.loop import STAGES, Round, threads_of
from deploy.online.plan import Plan
from deploy.online.sinks.threads import SinkThread
from deploy.online.watch import Recall
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.video_streams import VideoInfo


class RunRecord:
    """Counts the rounds of a run; memory does not depend on their number.

    read_as: what each camera is taken for. live: for each live camera, what else is to be told of it. recalls: of each
    that is watched, that of the predictor.
    """

    def __init__(
        self,
        plan: Plan,
        grid: MacroblockGrid,
        about: Mapping[str, Any],
        read_as: Callable[[], Mapping[str, VideoInfo]] = dict,
        live: Callable[[], Mapping[str, Mapping[str, int]]] = dict,
        recalls: Callable[[], Mapping[str, Recall]] = dict,
    ) -> None:
        self._plan, self._grid, self._about = plan, grid, dict(about)
        self._read_as, self._live, self._recalls = read_as, live, recalls
        self._ages: dict[str, Durations] = {}
        self._durations = {stage: Durations() for stage in ("read", *STAGES, "write")}
        self._worked_ms = dict.fromkeys(self._durations, 0.0)
        self._frames: dict[str, int] = {}
        self._enhanced = self._cached = self._area = self._selected_px = 0
        self._found: dict[str, int] = {}
        self._started = time.monotonic()
        self._seconds: float | None = None

    def add(self, one: Round) -> None:
        """One more round, after all of its stages."""
        for stage, ms in one.ms.items():
            self._durations[stage].add(ms / len(one.frames))
            self._worked_ms[stage] += ms
        for item in one.done:
            camera = item.frame.camera
            self._frames[camera] = self._frames.get(camera, 0) + 1
            self._found[camera] = self._found.get(camera, 0) + len(getattr(item.found, "boxes", ()))
            if item.frame.captured_s is not None:
                self._ages.setdefault(camera, Durations()).add(1e3 * (one.found_s - item.frame.captured_s))
            self._enhanced += int(item.selected.sum())
            self._cached += int(item.cached.sum())
            self._area += item.area
            self._selected_px += int(self._grid.areas[item.selected].sum())

    def end(self) -> None:
        """The run's time ends here; without it, when a summary is made."""
        self._seconds = time.monotonic() - self._started

    @property
    def frames(self) -> int:
        """How many frames of all cameras are done."""
        return sum(self._frames.values())

    @property
    def cameras(self) -> list[str]:
        """Those that a frame has come from."""
        return list(self._frames)

    @property
    def detections(self) -> int:
        """How many boxes were found."""
        return sum(self._found.values())

    def summary(
        self, failed: Mapping[str, Exception], interrupted: bool, sinks: Sequence[SinkThread] = ()
    ) -> dict[str, Any]:
        """The content of run.json, in plain values. ms: of one frame; busy: the share of the run that a thread worked,
        `read` of live cameras without decoding, which is in threads of their own, `write` with waiting for slow files,
        `detect` without what --compare adds; age: from its capture to its detections.
        """
        read_as, live, recalls = self._read_as(), self._live(), self._recalls()
        seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
        macroblocks = self.frames * self._grid.rows * self._grid.cols
        stages = {
            name: {"p50_ms": _rounded(some.percentile(0.5)), "p95_ms": _rounded(some.percentile(0.95))}
            for name, some in self._durations.items()
        }
        threads = {"read": ("read",), **threads_of(self._plan), "write": ("write",)}  # that of the caller writes
        return {
            **self._about,
            "plan": self._plan.to_dict(),
            "frames": self.frames,
            "seconds": round(seconds, 3),
            "frames_per_second": _rounded(self.frames / seconds if seconds else None),
            "stages": stages,
            "busy": {
                name: _share(sum(self._worked_ms[stage] for stage in stages_of), 1e3 * seconds)
                for name, stages_of in threads.items()
            },
            "newly_enhanced": _share(self._enhanced, macroblocks),
            "cache_hits": _share(self._cached, macroblocks),
            "amplification": _share(self._area, self._selected_px),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "cameras": {
                camera: {
                    "read_as": str(read_as[camera]) if camera in read_as else None,
                    "frames": self._frames.get(camera, 0),
                    "detections": self._found.get(camera, 0),
                    "error": str(failed[camera]) if camera in failed else None,
                    **(self._live_summary(camera, live[camera]) if camera in live else {}),
                    **(_recall_summary(recalls[camera]) if camera in recalls else {}),
                }
                for camera in dict.fromkeys([*self._frames, *failed, *live])
            },
            "sinks": {
                kind: {
                    "written": sum(one.written for one in sinks if one.kind == kind),
                    "dropped": sum(one.dropped for one in sinks if one.kind == kind),
                }
                for kind in dict.fromkeys(one.kind for one in sinks)
            },
            "interrupted": interrupted,
        }

    def _live_summary(self, camera: str, counts: Mapping[str, int]) -> dict[str, Any]:
        ages = self._ages.get(camera, Durations())
        shares = {"age_p50_ms": 0.5, "age_p95_ms": 0.95}
        return {**counts, **{name: _rounded(ages.percentile(share)) for name, share in shares.items()}}


def _recall_summary(recall: Recall) -> dict[str, Any]:
    return {"predictor_recall": _rounded(recall.mean), "predictor_recall_frames": recall.frames}


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
