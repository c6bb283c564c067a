"""Command-line flags for a plan."""

import argparse

from deploy.online.plan import MODES, Plan
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.reuse import ReusePolicy


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `plan_from` reads."""
    add = parser.add_argument_group("plan").add_argument
    cache = CachePolicy()
    add("--budget", type=float, default=0.1, help="share of all cameras' macroblocks that are enhanced in a round")
    add("--floor", type=float, default=0.0, help="of its own macroblocks, what each camera gets at least")
    add(
        "--mode",
        choices=MODES,
        default="regions",
        help="what is super-resolved: regions one by one, regions packed in an atlas, the whole frame, or nothing",
    )
    add("--halo", type=int, metavar="PX", help="LR pixels around a region (default: what the network sees)")
    add("--every", type=int, help="predict importance on every n-th frame, and keep it in between (default: 1)")
    add("--change", type=float, help="predict when brightness changes by more than this share")
    add("--detect_every", type=int, default=1, help="enhance and search only every n-th frame")
    add(
        "--cache_threshold",
        type=float,
        default=cache.threshold,
        help="keep enhanced macroblocks while their pixels differ by less than this, of 255; 0: never",
    )
    add("--cache_age", type=int, default=cache.max_age, help="for so many frames at most")


def plan_from(args: argparse.Namespace) -> Plan:
    """The plan that the flags give. InputError for values out of range."""
    every = 1 if args.every is None and args.change is None else args.every
    return Plan(
        args.budget,
        args.floor,
        args.mode,
        args.halo,
        ReusePolicy(every, args.change),
        args.detect_every,
        CachePolicy(args.cache_threshold, args.cache_age),
    )
