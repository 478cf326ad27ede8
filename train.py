"""Train a classifier, watch its Jacobian and record the run: python train.py --help"""

# Shell completion looks for "@hydra.main" in this file: eval "$(python train.py -sc install=bash)"

from typing import TYPE_CHECKING, Any

from jacoscope.cli import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from jacoscope.runs.directory import RunDirectory
    from jacoscope.runs.result import Result


def check(cfg: "DictConfig") -> object:
    """Check a composed config."""
    from jacoscope.runs.config import checked_config

    return checked_config(cfg)


@command("train", check)
def main(cfg: "DictConfig") -> float | list[float]:
    """Check the config → train, unless the run is finished → show the result → return what a search optimises."""
    from jacoscope.runs.config import checked_config, require_writable_logs
    from jacoscope.runs.directory import RunDirectory
    from jacoscope.runs.lock import alone_in
    from jacoscope.runs.new_folders import announce

    config = checked_config(cfg)
    from jacoscope.runs.terminal import show_summary  # imports Lightning, which a slip need not wait for

    run = RunDirectory(config["paths"]["output_dir"])
    result = run.recorded_result(config)
    if result is None or result.status != "finished":
        require_writable_logs(config)
        announce(config["paths"], config["data"])
        with alone_in(run.path, wait=True):
            result = run.recorded_result(config)  # again: another process may have finished it meanwhile
            if result is None or result.status != "finished":
                run.write_config(cfg)
                result = train(config, run, result)
    show_summary(run, result)
    return result.objective


def train(config: dict[str, Any], run: "RunDirectory", earlier: "Result | None") -> "Result":
    """Build → fit → test; record the result, whatever becomes of it."""
    import torch
    from pytorch_lightning import seed_everything

    from jacoscope.runs.build import build, build_all, build_loss, build_network, build_penalty
    from jacoscope.runs.evaluation import evaluate_best
    from jacoscope.training import ClassifierModule

    torch.set_flush_denormal(True)  # CPUs are slow with numbers below 1e-38, which old moments of Adam become
    seed_everything(config["seed"], verbose=False)
    with run.recording(config, earlier) as result:
        module = ClassifierModule(
            network=build_network(config),
            loss=build_loss(config),
            optimizer=build(config, "optimizer"),
            scheduler=build(config, "scheduler"),
            num_classes=config["images"]["classes"],
            penalty=build_penalty(config),
        )
        data = build(config, "data")
        trainer = build(config, "trainer", callbacks=build_all(config, "callbacks"), logger=build_all(config, "logger"))
        checkpoint = run.checkpoint_to_resume(config["trainer"]["max_epochs"])
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        result.metrics = evaluate_best(config, trainer, module, data)
        result.pruned = any(getattr(callback, "pruned", False) for callback in trainer.callbacks)
    return result


if __name__ == "__main__":
    main()
