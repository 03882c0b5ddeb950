"""TRL's trainers as sides: its own loop on the same rows per step, timed between its callbacks.

`run` is its SFTTrainer; `preference.py` and `reinforce.py` do the same with the trainers for DPO and GRPO.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from bench.side import Clock, Job, commands

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection

    from transformers import PreTrainedModel

    from espalier.models.precision import Format

# What a user of TRL could choose on a CPU; the fastest counts. `batch` rows a forward, accumulated to a step.
WAYS: dict[str, dict[str, Any]] = {
    **{f"batch {size}": {"batch": size} for size in (1, 2, 4, 8)},
    **{f"batch {size}, padding-free": {"batch": size, "padding_free": True} for size in (2, 4, 8)},
    **{f"packed to {size}": {"batch": 1, "pack": size} for size in (1280, 2560)},
    "batch 1, compiled": {"batch": 1, "compile": True},
}
# Those that were the fastest of some case, or close to it (docs/benchmarks.md).
LIKELY = ("batch 1", "batch 2", "batch 4")
# For short rows that differ in length there is more to gain from the way they are laid together.
LIKELY_ROWS = (*LIKELY, "batch 8", "batch 4, padding-free", "packed to 1280")


def settings(precision: Format, ways: Iterable[str] = WAYS) -> dict[str, dict[str, Any]]:
    """Return ways to train by name, in a number format: that in which products are the fastest here."""
    return {f"{precision}, {way}": {"bf16": precision == "bf16", **WAYS[way]} for way in ways}


def run(job: Job, connection: Connection) -> None:
    """Train with TRL's SFTTrainer, one optimizer step per command."""
    import datasets
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    settings = dict(job.settings)
    batch, pack = int(settings["batch"]), int(settings.get("pack", 0))
    model = load(job)
    table = datasets.Dataset.from_list([_labelled(row) for step in job.steps for row in step])
    per_step = len(job.steps[0]) // batch
    if pack:
        table, per_step = _packed(job, table, pack)
    config = SFTConfig(
        **arguments(job, per_step),
        padding_free=bool(settings.get("padding_free", False)),
        packing=bool(pack),
        max_length=pack or None,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    finish(SFTTrainer(model, config, train_dataset=table, processing_class=tokenizer(job)), gate(connection))


def load(job: Job) -> PreTrainedModel:
    """Return the model with fp32 weights, or those of `settings["dtype"]`, and the adapter of the job."""
    import datasets
    from transformers import AutoModelForCausalLM

    from espalier.models.adapters import methods

    datasets.disable_progress_bars()
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=job.settings.get("dtype", "float32"))
    return cast("PreTrainedModel", methods.build(job.method, {})(model))


def tokenizer(job: Job) -> Any:
    """Return the model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(job.model)


def arguments(job: Job, per_step: int) -> dict[str, Any]:
    """Return what all of TRL's trainers are told; `per_step` batches make a step."""
    settings = job.settings
    warnings.filterwarnings("ignore", category=FutureWarning)  # of names that transformers 6 will drop
    return {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": True,
        "bf16": settings["bf16"],
        "per_device_train_batch_size": int(settings["batch"]),
        "gradient_accumulation_steps": per_step,
        "max_steps": len(job.steps),
        "learning_rate": job.rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "torch_compile": bool(settings.get("compile", False)),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
    }


def gate(connection: Connection) -> Any:
    """Return the callback that lets a step begin when it is asked for, and reports it once it is logged."""
    from transformers import TrainerCallback

    class Gate(TrainerCallback):
        def __init__(self) -> None:
            self.asked = commands(connection)
            self.clock = Clock()
            self.result: Any = None

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            next(self.asked)
            self.clock = Clock()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.result = self.clock.stop()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                # GRPO counts the tokens of its answers; the others' logs have no such number.
                written = float(logs.get("completions/mean_length", "nan"))
                connection.send(replace(self.result, loss=logs["loss"], written=written))

    return Gate()


def finish(trainer: Any, callback: Any) -> None:
    """Train to the end, step by step as the callback lets it."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callback)
    trainer.train()


def _packed(job: Job, table: Any, pack: int) -> tuple[Any, int]:
    """Return the rows in blocks of at most `pack` tokens, and the blocks of a step, which keeps its rows.

    TRL accumulates the same number of blocks in each step, so steps with fewer get narrower ones.
    """
    import datasets
    from trl.data_utils import pack_dataset

    size = len(job.steps[0])
    steps = [table.select(range(start, start + size)) for start in range(0, len(table), size)]
    longest = max(len(row.ids) for step in job.steps for row in step)
    widths = range(max(pack, longest), longest - 1, -16)
    most = max(len(pack_dataset(step, widths[0], "bfd")) for step in steps)
    packs: list[Any] = []
    for step in steps:
        tried = (pack_dataset(step, width, "bfd") for width in widths)
        blocks = next((blocks for blocks in tried if len(blocks) == most), None)
        if blocks is None:
            raise SystemExit("steps pack into different numbers of blocks")
        packs.append(blocks)
    return datasets.concatenate_datasets(packs), most


def _labelled(row: Any) -> dict[str, list[int]]:
    labels = [token if weight else -100 for token, weight in zip(row.ids, row.weights, strict=True)]
    return {"input_ids": list(row.ids), "labels": labels}
