"""The table of docs/upscalers.md: which kind reads which file, and what the others say."""

import re

import pytest
import torch
from torch import nn

from regenhance_data import errors
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import ROOT
from tests.support.tensorflow import write_frozen_graph
from tests.support.upscalers import write_changed, write_repeating


def write_spandrel(path):
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.save({"params": SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).state_dict()}, path)


def write_script_of_luma(path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)).eval()
    torch.jit.trace(network, torch.rand(1, 1, 24, 24)).save(path)


FILES = {
    "EDSR checkpoint": ("a.pth", lambda path: torch.save(Edsr(2, 1, 2).state_dict(), path)),
    "checkpoint of another network that spandrel knows": ("a.pth", write_spandrel),
    "checkpoint of a network that spandrel does not know": (
        "a.pth",
        lambda path: torch.save({"params": {"conv_first.weight": torch.zeros(4, 3, 3, 3)}}, path),
    ),
    "TorchScript of RGB": ("a.ts", lambda path: write_changed(path, "sound")),
    "TorchScript of luma": ("a.pt", write_script_of_luma),
    "ONNX of RGB": ("a.onnx", write_repeating),
    "ONNX of luma": ("a.onnx", lambda path: write_repeating(path, ("n", 1, "h", "w"))),
    "frozen graph of luma": ("a.pb", lambda path: write_frozen_graph(path, 2)),
    "frozen graph of RGB": ("a.pb", lambda path: write_frozen_graph(path, 2, 3)),
}


def rows():
    page = (ROOT / "docs" / "upscalers.md").read_text()
    table = page.split("## Which kind reads which file\n")[1].strip().split("\n\n")[0]
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [(line[0], dict(zip([cell.strip("`") for cell in head[1:]], line[1:], strict=True))) for line in lines]


@pytest.mark.parametrize(("file", "cells"), rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_kind_does_with_a_file_what_the_table_says(file, cells, tmp_path):
    name, write = FILES[file]
    path = tmp_path / name
    write(path)
    for kind, cell in cells.items():
        settings = UpscalerSettings(f"{kind}{path}", 2)
        if cell in ("RGB", "luma"):
            assert f" {cell}" in load_upscaler(settings).read_as
            continue
        with pytest.raises(errors.InputError) as refusal:
            load_upscaler(settings)
        message = str(refusal.value)
        assert "\n" not in message
        if cell == "way out":
            assert "no kind knows this network: trace it with its own code, torch.jit.trace(" in message
        else:
            named = re.fullmatch(r"names `(\w+:)`", cell)[1]
            assert message.endswith(f"did you mean {named}{path}?")


def test_the_table_has_all_kinds_of_files():
    assert [file for file, _ in rows()] == list(FILES)
