"""Command-line flags for a plan."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deploy.online.plan import MODES, Plan
from regenhance_data.errors import InputError
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.reuse import ReusePolicy


class Noted(argparse.Action):
    """Stores a value, and notes in `noted` that the flag was given."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.noted = {*getattr(namespace, "noted", ()), self.dest}


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `plan_from` reads."""
    add = add_region_arguments(parser, MODES)
    add("--budget", type=float, default=Plan.budget, help="share of all cameras' macroblocks enhanced in a round")
    add("--floor", type=float, default=Plan.floor, help="least share of its own macroblocks that each camera gets")
    add("--detect_every", type=int, default=Plan.detect_every, help="enhance and search only every n-th frame")


def add_region_arguments(parser: argparse.ArgumentParser, modes: Sequence[str]) -> Callable[..., Any]:
    """The flags on how macroblocks are chosen and enhanced, without those on how many; these have their defaults.
    Returns `add_argument` of their group.
    """
    parser.set_defaults(budget=Plan.budget, floor=Plan.floor, detect_every=Plan.detect_every)
    add = partial(parser.add_argument_group("plan").add_argument, action=Noted)
    cache = CachePolicy()
    rest = ", the whole frame, or nothing" if "none" in modes else ""
    how = f"what is super-resolved: regions one by one, regions packed in an atlas{rest}"
    add("--mode", choices=modes, default=Plan.mode, help=how)
    add("--halo", type=int, metavar="PX", help="LR pixels around a region (default: what the network sees)")
    add("--predict_every", type=int, metavar="N", help="predict importance on every n-th frame only (default: 1)")
    add("--predict_change", type=float, metavar="SHARE", help="predict when brightness changes by more than this share")
    add(
        "--cache_threshold",
        type=float,
        default=cache.threshold,
        help="keep enhanced macroblocks while their pixels differ by less than this, of 255; 0: never",
    )
    add("--cache_age", type=int, default=cache.max_age, help="keep them for so many frames at most")
    add(
        "--feedback",
        type=float,
        default=Plan.feedback,
        metavar="WEIGHT",
        help="how much macroblocks count where something was found in the last frame, beside importance of 0 to 1",
    )
    return add


def plan_from(args: argparse.Namespace) -> Plan:
    """The plan that the flags give. InputError for values out of range."""
    every = 1 if args.predict_every is None and args.predict_change is None else args.predict_every
    try:
        reuse = ReusePolicy(every, args.predict_change)
    except InputError as error:
        raise InputError(str(error).replace("--", "--predict_", 1)) from None
    return Plan(
        args.budget,
        args.floor,
        args.mode,
        args.halo,
        reuse,
        args.detect_every,
        CachePolicy(args.cache_threshold, args.cache_age),
        args.feedback,
    )


def changed_by_flags(plan: Plan, args: argparse.Namespace) -> tuple[Plan, list[str]]:
    """(a plan with those settings that were given as flags instead of its own, the names of these flags). InputError
    for values out of range.
    """
    noted: set[str] = getattr(args, "noted", set())
    together = {"predict_every", "predict_change"}  # say when importance is predicted
    replaced = noted | together if noted & together else noted
    own = {name: value for name, value in plan.to_dict().items() if name not in replaced}
    return plan_from(argparse.Namespace(**{**vars(args), **own})), sorted(f"--{name}" for name in noted)
