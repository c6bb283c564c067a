"""The table of predictor networks, free of Paddle.

To add a network:

1. Write its config, paddleseg_configs/<name>.yml.
2. If PaddleSeg does not have the network, write it in a module of its own: a paddle.nn.Layer registered with
   PaddleSeg's `@manager.MODELS.add_component`, and its loss with `@manager.LOSSES.add_component`. It returns a list
   whose first item is the logits. mb_nano.py is an example.
3. Add a row to NETWORKS, with that module as `module`.

Training, validation, prediction, export and benchmark take everything else from the config. A network from outside
this package adds its row at run time, before a command starts: `NETWORKS["name"] = PredictorNetwork(...)`. A PaddleSeg
network without a row works as well, as one that ends in pixels.

AccModel has no row: PaddleSeg cannot train it. It has its own commands, see predictors/accmodel.
"""

from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class PredictorNetwork:
    """What the kit knows about a network besides its config.

    model_type: its class, the `type` of the config's `model`. parameters: how many it has with the kit's config.
    is_on_grid: its logits are [N, levels, rows, cols], one value for each macroblock (False: one for each pixel); then
    its `mb_size` is in pixels of the network's input. grid_losses: the losses that have such an `mb_size` too.
    module: imported to register the network and its losses with PaddleSeg; None for PaddleSeg's own networks.
    """

    model_type: str
    parameters: int
    is_on_grid: bool = False
    grid_losses: tuple[str, ...] = ()
    module: str | None = None


NETWORKS = {  # by the name of the config, which is also the name of exported files
    "bisenetv2": PredictorNetwork("BiSeNetV2", 2_528_858),
    "deeplabv3p_resnet50_vd": PredictorNetwork("DeepLabV3P", 26_791_930),
    "hardnet": PredictorNetwork("HarDNet", 4_126_260),
    "mb_nano": PredictorNetwork(
        "MbNano",
        78_634,
        is_on_grid=True,
        grid_losses=("MacroblockLoss",),
        module="regenhance_data.predictors.paddleseg.mb_nano",
    ),
    "mobileseg_mobilenetv2": PredictorNetwork("MobileSeg", 2_094_048),
    "pp_liteseg_stdc1": PredictorNetwork("PPLiteSeg", 8_151_765),
    "pp_mobileseg_tiny": PredictorNetwork("PPMobileSeg", 1_453_294),
}


def register_networks() -> None:
    """Import the modules of the table, so that PaddleSeg knows their networks and losses."""
    for network in NETWORKS.values():
        if network.module is not None:
            import_module(network.module)


def is_on_grid(model_type: str) -> bool:
    """Whether networks of this class output one value for each macroblock, not for each pixel."""
    return any(network.is_on_grid for network in NETWORKS.values() if network.model_type == model_type)


def is_grid_loss(loss_type: str) -> bool:
    """Whether losses of this class have an `mb_size`, in pixels of the network's input."""
    return any(loss_type in network.grid_losses for network in NETWORKS.values())
