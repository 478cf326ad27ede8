"""Train a classifier, watch its Jacobian and record the run: python train.py --help"""

from omegaconf import DictConfig

from jacoscope.runs.command import command


@command("train")
def main(cfg: DictConfig) -> float:
    """Compose a config → build → fit → test → record the result; give the metric that a sweep optimises."""
    import torch
    from pytorch_lightning import seed_everything

    from jacoscope.runs.config import build, build_network, checked_config
    from jacoscope.runs.directory import RunDirectory
    from jacoscope.runs.evaluation import evaluate_best
    from jacoscope.runs.summary import show_summary
    from jacoscope.training import ClassifierModule

    config = checked_config(cfg)
    run = RunDirectory(config["paths"]["output_dir"])
    earlier = run.earlier_result(config)
    if earlier is not None and earlier.status == "finished":
        show_summary(run, earlier)
        return earlier.objective

    torch.set_flush_denormal(True)  # CPUs stumble over numbers below 1e-38, which fading moments are full of
    seed_everything(config["seed"], verbose=False)
    module = ClassifierModule(
        network=build_network(config),
        loss=build(config["loss"]),
        optimizer=build(config["optimizer"]),
        scheduler=build(config["scheduler"]),
        num_classes=config["images"]["classes"],
    )
    data = build(config["data"])
    trainer = build(
        config["trainer"],
        callbacks=[build(node) for node in config["callbacks"].values()],
        logger=[build(node) for node in config["logger"].values()],
    )

    with run.recording(config, earlier) as result:
        trainer.fit(module, data, ckpt_path=run.checkpoint_to_go_on_from(), weights_only=True)
        result.metrics = evaluate_best(trainer, module, data)
    show_summary(run, result)
    return result.objective


if __name__ == "__main__":
    main()
