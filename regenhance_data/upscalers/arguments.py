"""Command-line flags for an upscaler."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regenhance_data.errors import InputError
from regenhance_data.kinds import known_specs
from regenhance_data.upscalers.kinds import KINDS
from regenhance_data.upscalers.settings import CHANNEL_ORDERS, PRECISIONS, UpscalerSettings


def add_upscaler_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `upscaler_settings_from` reads, for commands whose model is the upscaler."""
    group = parser.add_argument_group("upscaler")
    add = group.add_argument
    add("--model", required=True, metavar="SPEC", help=f"the upscaler: {known_specs(KINDS)}")
    add("--tile_size", type=int, metavar="PX", help="side of the tiles (default: whole frames while memory suffices)")
    add("--precision", choices=PRECISIONS, default="auto", help="auto: fp16 on a GPU where the network supports it")
    kinds = " or ".join(f"{kind.name}:" for kind in KINDS.values() if kind.has_pixel_range)
    add("--pixel_range", type=float, help=f"value of white in a file of {kinds}, 1 or 255 (default: 1)")
    add("--channel_order", choices=CHANNEL_ORDERS, help="of a file's input and output, or input-output (default: RGB)")


def upscaler_settings_from(args: argparse.Namespace, scale: int) -> UpscalerSettings:
    """The settings that the flags of `add_upscaler_arguments` give."""
    return UpscalerSettings(args.model, scale, args.tile_size, args.precision, args.pixel_range, args.channel_order)


def add_upscaler_flags(parser: argparse.ArgumentParser, required: bool = True, without: str = "") -> None:
    """The flags that `given_upscaler` reads, for commands that have a detector or a predictor too. without: what
    is taken where none is given, for the help.
    """
    group = parser.add_argument_group("upscaler")
    add = group.add_argument
    default = f" (default: {without})" if without else ""
    add("--upscaler", required=required, metavar="SPEC", help=f"{known_specs(KINDS)}{default}")
    add("--upscaler_pixel_range", type=float, metavar="WHITE", help="white in the upscaler's file, 1 or 255")
    add("--upscaler_channel_order", choices=CHANNEL_ORDERS, help="of the upscaler's file (default: RGB)")


def given_upscaler(args: argparse.Namespace, scale: int, predictor: Path | None = None) -> UpscalerSettings:
    """The settings that the flags of `add_upscaler_flags` give. InputError, in their words, for what cannot be.

    predictor: see `in_words_of_upscaler_flags`.
    """
    with in_words_of_upscaler_flags(predictor=predictor):
        return UpscalerSettings(
            args.upscaler, scale, pixel_range=args.upscaler_pixel_range, channel_order=args.upscaler_channel_order
        )


@contextmanager
def in_words_of_upscaler_flags(name: str = "--upscaler", predictor: Path | None = None) -> Iterator[None]:
    """An InputError about an upscaler, which other commands take as --model, names the flags that are meant here, and
    the `predictor` whose scale is needed.
    """
    try:
        yield
    except InputError as error:
        renamed = str(error).replace("--model", name)
        for flag in ("pixel_range", "channel_order"):
            renamed = renamed.replace(f"--{flag}", f"--upscaler_{flag}")
        by = f" by {predictor} (its dataset's, or --scale of its export)" if predictor else ""
        needed = re.sub(r"^--scale (\d+):", lambda found: f"{name}: scale {found[1]} is needed{by},", renamed)
        raise InputError(needed) from None
