"""One process of an FSDP2 training on CPUs, as `accelerate launch` starts it: test_train.py's door.

accelerate shards over accelerators only. The processes talk through gloo here, and accelerate is told that they are
what it calls multi-GPU, so that its FSDP2 path runs as it would.
"""

from __future__ import annotations

import os
import sys

import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from finetune import train as training
from finetune.config import load_recipe


def shard_on_cpu() -> None:
    begin = PartialState.__init__

    def begun(self: PartialState, cpu: bool = False, **kwargs: object) -> None:
        begin(self, cpu, **kwargs)
        if self.distributed_type is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = begun  # type: ignore[method-assign]


def main() -> None:
    shard_on_cpu()
    build = training._trainer

    def watched(*given: object) -> object:
        trainer = build(*given)  # type: ignore[arg-type]
        step = trainer.training_step

        def once(model: object, *rest: object) -> object:
            shards = [p for p in trainer.model.parameters() if isinstance(p, DTensor)]
            kind = trainer.accelerator.distributed_type.value
            state = PartialState()
            assert dist.get_backend() == "gloo"
            if state.is_main_process:
                print(f"distributed: {kind}, {state.num_processes} processes, {'sharded' if shards else 'whole'}")
            return step(model, *rest)

        trainer.training_step = once
        return trainer

    training._trainer = watched  # type: ignore[assignment]
    training.train(load_recipe(sys.argv[1]), tell=print)


if __name__ == "__main__":
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    main()
