"""A model sharded over the processes: each keeps a part of every layer and borrows the rest for its pass.

Only the frozen weights of the decoder layers are sharded. Embeddings and all that is trained stay whole in
every process. Nothing frozen has a gradient, so that layers only ever collect weights, forward and
backward; the gradients of what is trained are summed as without sharding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from core.config.checks import check
from core.config.settings import ModelConfig
from core.lm.structure import layer_list, layers_of
from core.training import parallel

if TYPE_CHECKING:
    from core.lm.loading import LanguageModel


def check_sharding(config: ModelConfig) -> None:
    """Refuses what cannot be sharded.

    Raises:
        InputError: 8-bit weights, of which bitsandbytes keeps a reference of its own beside the layer's.
    """
    check(
        config.quantize != "int8" or not parallel.is_sharded(),
        "--quantize int8 cannot be sharded over processes",
        "use --quantize nf4 or none, or launch without --use_fsdp",
    )


def shard_layers(llm: LanguageModel) -> None:
    """Leaves this process its part of every decoder layer's frozen weights, if the launcher asked for that.

    All processes call it together, with the same weights, and run the layers together from then on.
    """
    if not parallel.is_sharded():
        return
    from torch.distributed.fsdp import fully_shard

    mesh = parallel.mesh(llm.device.type)
    move_rest(llm)
    for layer in layers_of(llm.decoder):
        layer.to(llm.device)  # one by one: no device needs to hold them all
        trained = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)


def move_rest(llm: LanguageModel) -> None:
    """Brings all but the decoder's layers to the model's device; they were loaded into main memory."""
    from accelerate.hooks import remove_hook_from_submodules

    if llm.device.type == "cpu":
        return
    remove_hook_from_submodules(llm.model)  # it would send inputs back to main memory
    decoder = llm.decoder
    name, layers = layer_list(decoder)
    setattr(decoder, name, nn.ModuleList())
    nn.Module.to(llm.model, llm.device)
    setattr(decoder, name, layers)


def whole(weight: Tensor) -> Tensor:
    """A weight with the parts that other processes hold, which must ask too; as it is if not sharded."""
    from torch.distributed.tensor import DTensor

    found: Tensor = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return found
