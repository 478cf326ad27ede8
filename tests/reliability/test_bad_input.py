"""Wrong command lines, configs, files and data: each ends in a message, and leaves nothing behind."""

from pathlib import Path

import pytest

from .commands import run
from .damage import prepare
from .tiny import OVERRIDES

PICTURES = (
    "data=image_folder images.shape=[1,28,28] images.classes=2 images.mean=[0.5] images.std=[0.25] data.val_size=2"
)
MORE = "--config-dir more"

# The words after `python train.py data=fashion_mnist …`, and what the message must contain, separated by |.
TRAIN = [
    ("model=lenet6", "There is no model=lenet6|Did you mean model=lenet5?"),
    ("optimizer.lrr=1", "no key optimizer.lrr|Did you mean optimizer.lr?"),
    ("modle=lenet5", "no key modle|Did you mean model?"),
    ("optimizer.betas.x=1", "no key optimizer.betas.x|Did you mean optimizer.betas?"),
    ("optimizer.lr.x=1", "no key optimizer.lr.x|Did you mean optimizer.lr?"),
    ("-m optimizer.lrr=1,2", "no key optimizer.lrr|Did you mean optimizer.lr?"),
    ("hydra.swep.dir=x", "no key hydra.swep.dir|Did you mean hydra.sweep.dir?"),
    ("trainer.accumulate=3", "Did you mean trainer.accumulate_grad_batches?"),
    ("+optimizer.bogus=1", "AdamW does not take bogus|It takes: "),
    ("~trainer.nothing", "no key trainer.nothing"),
    ("seed", "seed cannot be read|KEY=VALUE"),
    ("model.channels=[1", "cannot be read"),
    ("experiment=none_such", "experiment=none_such"),
    ("optimizer.lr=nan", "optimizer.lr=nan is not allowed; type a finite number"),
    ("optimizer.betas=[0.9,nan]", "optimizer.betas=[0.9, nan] is not allowed; type a finite number"),
    ("optimizer.betas=[0.9]", "The optimizer or its scheduler cannot be made"),
    ("logger=null", "~GROUP leaves it out"),
    ("-m seed=0 run_name=a,b", "run_name is the name of the whole sweep"),
    ("-m seed=0,1 hydra.sweep.dir=elsewhere", "hydra.sweep.dir cannot be set"),
    ("-m hparams_search=optuna run_name='n?x'", "A study cannot lie in"),
    ("-m hparams_search=optuna hydra.sweeper.n_trials=many", "hydra.sweeper.n_trials='many' is of the wrong type|int"),
    ("-m hparams_search=optuna hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0 is not allowed"),
    ("-m hparams_search=optuna hydra.sweeper.direction=up", "hydra.sweeper.direction='up'|'maximize' | 'minimize'"),
    ("-m hparams_search=optuna hydra.sweeper.params=null", "hydra.sweeper.params=None is of the wrong type"),
    ("-m hparams_search=optuna hydra.sweeper.storage=here", "hydra.sweeper.storage cannot be opened|sqlite:///"),
    ("-m hparams_search=optuna optimizer.lr=interval(1,0)", "optimizer.lr=interval(1,0) cannot be searched"),
    ("-x", "unrecognized arguments: -x"),
    ("seed=x", "seed='x'|int"),
    ("seed=null", "seed=None|int"),
    ("seed=-1", "seed"),
    ("optimizer.lr=fast", "optimizer.lr='fast'|float"),
    ("optimizer.lr=-1", "Invalid learning rate: -1"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5|int"),
    ("trainer.max_epochs=-5", "max_epochs"),
    ("trainer.devices=0", "devices"),
    ("trainer.precision=12", "precision"),
    ("trainer.precision=16-true", "trainer.precision=16-true is not allowed|trainer.precision=16-mixed"),
    ("trainer.precision=transformer-engine", "transformer_engine"),
    ("objective=test/jacobian/logits/frobenius/mean", "is not a metric of a run"),
    ("callbacks.jacobian.max_samples=1.5", "callbacks.jacobian.max_samples=1.5|int"),
    ("callbacks.jacobian.train_samples=3.5", "callbacks.jacobian.train_samples=3.5|int"),
    ("callbacks.jacobian.probe_indices=[1.5]", "callbacks.jacobian.probe_indices=|int"),
    ("+callbacks.jacobian.name=a/b", "JacobianCallback: name='a/b' is not allowed"),
    ("+callbacks.two._target_=jacoscope.callbacks.JacobianCallback", "more than one stateful callback|state_key"),
    ("trainer.accelerator=gpuu", "gpuu"),
    ("trainer.limit_train_batches=-1", "limit_train_batches"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0 is not allowed; it is more than 0"),
    ("+trainer.val_check_interval=0", "trainer.val_check_interval=0 is not allowed"),
    ("trainer.limit_val_batches=0", "objective=val/accuracy is measured in validation"),
    ("trainer.plugins=[]", "LastCheckpoint needs CheckpointFiles"),
    ("loss.label_smoothing=2", "loss: torch.nn.CrossEntropyLoss cannot be computed|between 0.0 and 1.0. Got: 2"),
    ("~loss.label_smoothing loss._target_=torch.nn.L1Loss +loss.reduction=none", "loss: torch.nn.L1Loss"),
    ("~loss.label_smoothing loss._target_=torch.nn.Flatten", "loss: torch.nn.Flatten cannot be computed"),
    ("+loss.reduction=none", "loss: torch.nn.CrossEntropyLoss gives [2]; a loss is a tensor of one number"),
    (
        "callbacks=[default,early_stopping] callbacks.early_stopping.monitor=foo",
        "conditioned on metric `foo`|`val/loss`",
    ),
    ("~objective", "There is no objective: type objective=val/accuracy"),
    ("objective=val/acuracy", "objective=val/acuracy|Did you mean val/accuracy?"),
    ("model=custom", "model._target_=VALUE"),
    ("model=custom model._target_=3", "_target_: 3 cannot be imported"),
    ("model=custom model._target_=torch.nn.Linearr", "Did you mean torch.nn.Linear?"),
    ("model=custom model._target_=torch.nn.Linear", "torch.nn.Linear cannot be made"),
    ("model=custom model._target_=torch.nn.Flatten", "gives [2, 784]|[2, 10]"),
    ("model=custom model._target_=os.getcwd", "makes a str, not an nn.Module"),
    ("model.channels=[6]", "jacoscope.models.LeNet5 cannot be made"),
    ("data.batch_size=0", "data.batch_size=0"),
    ("data.eval_batch_size=-3", "data.eval_batch_size=-3"),
    ("data.val_size=100000", "data.val_size=100000 does not fit 300 training images"),
    ("data.val_size=-1", "data.val_size=-1"),
    ("data.val_size=1.5", "data.val_size="),
    ("data.val_size=0", "data.val_size=0|validation"),
    ("data.source.name=FashionMNISTT", "torchvision.datasets has no such class. Did you mean FashionMNIST?"),
    ("data.source.name=SVHN", "torchvision's SVHN does not take train=True|False"),
    ("-m seed=0,1 --cfg job", "Only one of --run, --multirun, --cfg"),
    ("images.classes=3", "images.classes=3|images.classes=10"),
    ("images.shape=[3,32,32]", "images.shape"),
    ("augmentation.scale=[2,1]", "scale=[2, 1]"),
    ("augmentation=elastic augmentation.elastic.sigma=0", "sigma=0"),
    ("scheduler.pct_start=2", "pct_start"),
    ("optimizer=sgd optimizer.momentum=0", "optimizer or its scheduler cannot be made"),
    ("optimizer=muon model=mlp model.hidden=[]", "Muon steps hidden weights"),
    ("callbacks=[default,distortion_annealing]", "augmentation=elastic"),
    ("callbacks.last_checkpoint.every_n_batches=0", "every_n_batches=0"),
    ("callbacks.last_checkpoint.every_n_minutes=-1", "every_n_minutes=-1"),
    ("callbacks.jacobian.max_samples=0", "max_samples=0"),
    ("run_name=../../../outside", "run_name=../../../outside leads out of the folder of runs"),
    ("run_name=$HOME", "run_name=$HOME cannot be the name of a folder: it holds a $"),
    ("paths.log_dir=empty.ckpt", "empty.ckpt|Choose a folder that you may write to"),
    ("run_name=no_record", "result.json is not the record of a run"),
    ("run_name=half_record", "result.json is not the record of a run"),
    ("run_name=wrong_record", "result.json is not the record of a run"),
    ("run_name=done seed=5", "another configuration|seed: 0 then, 5 now"),
    ("run_name=torn", "last.ckpt|previous.ckpt|cut short or damaged|remove the folder"),
    ("run_name=evil", "is refused: it would run posix.system"),
    (f"{MORE} experiment=not_yaml", "not_yaml"),
    (f"{MORE} experiment=binary", "cannot be read"),
    (f"{MORE} experiment=cycle", "seed"),
    (f"{MORE} experiment=list", "experiment/list holds a list"),
    (f"{MORE} experiment=headless", "experiment=headless sets nothing|# @package _global_"),
    (f"{MORE} experiment=misspelt", "experiment=misspelt sets the key optimiser|Did you mean optimizer?"),
    (f"{MORE} experiment=no_image_key", "sets the key images.clases|Did you mean images.classes?"),
    (f"{MORE} experiment=no_path", "sets the key paths.log_dirr|Did you mean paths.log_dir?"),
    (f"{MORE} experiment=no_callback", "callbacks.checkpont|Did you mean callbacks.checkpoint?"),
    ("~scheduler", "There is no scheduler to build"),
    ("--config-dir nowhere", "nowhere"),
    ("paths.data_dir=short/data", "train-images-idx3-ubyte|its header announces 300×28×28 bytes, but there are 4984"),
    ("paths.data_dir=no_idx/data", "train-images-idx3-ubyte cannot be read: it is not an IDX file"),
    ("paths.data_dir=too_many/data", "train-images-idx3-ubyte|its header announces 4000000000×28×28 bytes"),
    ("paths.data_dir=few_labels/data data.val_size=2", "300 images, but 7 labels"),
    ("paths.data_dir=high_labels/data", "labels run from 0 to 200"),
    ("paths.data_dir=no_images/data", "no_images/data/FashionMNIST/raw|its header announces 0"),
    ("paths.data_dir=cut_to_nothing/data", "train-images-idx3-ubyte cannot be read"),
    ("paths.data_dir=one/data data.val_size=0.1", "no val images: data.val_size=0.1"),
    (f"{PICTURES} data.source.root=nowhere", "There is no folder nowhere/train"),
    (f"{PICTURES} data.source.root=no_picture", "spoilt.png cannot be read as a picture"),
    (f"{PICTURES} data.source.root=half_picture", "spoilt.png cannot be read as a picture"),
    (f"{PICTURES} data.source.root=bomb", "spoilt.png cannot be read as a picture"),
    (f"{PICTURES} data.source.root=no_pixels", "spoilt.png cannot be read as a picture"),
    (f"{PICTURES} data.source.root=loop", "loop/train/cat/again|a link leads there|Remove the link"),
    (f"{PICTURES} data.source.root=empty_class", "eel"),
    (f"{PICTURES} data.source.root=other_classes", "has the classes cat, cow"),
    (
        "optimizer=sgd optimizer.lr=1e30 scheduler=constant",
        "Step |The optimizer has not taken this step|Last good checkpoint",
    ),
]

ANALYZE = [
    ("checkpoint=nowhere", "checkpoint=nowhere: there is no such file"),
    ("checkpoint=evil.ckpt model=lenet5", "is refused: it would run posix.system"),
    ("checkpoint=empty.ckpt model=lenet5", "it is empty"),
    ("checkpoint=logs/train/runs/cut/checkpoints/last.ckpt", "cut short or damaged"),
    ("checkpoint=logs/train/runs/half_record", "result.json is not the record of a run"),
    ("checkpoint=logs/train/runs/done sample=-1", "sample"),
    ("checkpoint=logs/train/runs/done sample=99999", "99999"),
    ("checkpoint=logs/train/runs/done sample=one", "sample='one'"),
    ("sample=1 samples=[2]", "sample and samples are different questions"),
    ("split=tset", "Did you mean split=test?"),
    ("output=prob", "Did you mean output=probs?"),
    ("limit=0", "limit=0: it is at least 1"),
    ("optimizer=sgd", "There is no key optimizer|Groups: data, model, paths, trainer"),
    ("+optimizer=sgd", "There is no key optimizer|Keys: checkpoint, split"),
    ("-m split=test,val", "-m is for sweeps of trainings"),
    ("+imge=seven.png", "There is no key imge. Did you mean image?"),
    ("chunk_size=0", "chunk_size=0: it is at least 1"),
    ("attack=-1", "attack=-1: it is at least 0"),
    ("compare=[a]", "name two runs"),
    ("checkpoint=logs/train/runs/done image=nowhere.png", "nowhere.png"),
    ("checkpoint=logs/train/runs/done image=no_picture.png", "no_picture.png"),
    ("checkpoint=logs/train/runs/done image=half_picture.png", "half_picture.png"),
    ("checkpoint=logs/train/runs/done image=bomb.png", "bomb.png"),
    ("checkpoint=logs/train/runs/done model=mlp sample=1", "another architecture"),
]


@pytest.fixture(scope="module")
def spoilt(folder: Path) -> Path:
    done = run(folder, "train.py", *OVERRIDES, "run_name=done", "trainer.max_epochs=1", "callbacks=no_jacobian")
    assert done.process.exitcode == 0, done.told
    prepare(folder)
    return folder


@pytest.mark.parametrize(("words", "told"), TRAIN, ids=[words for words, _ in TRAIN])
def test_training(spoilt: Path, words: str, told: str) -> None:
    named = [] if "run_name=" in words else [f"run_name=bad_{TRAIN.index((words, told))}"]
    chosen = {word.partition("=")[0] for word in words.split()}
    tiny = [word for word in OVERRIDES if word.partition("=")[0] not in chosen]
    refuse(
        spoilt,
        "train.py",
        [*tiny, *named, "trainer.max_epochs=1", "callbacks.jacobian.max_samples=4", *words.split()],
        told,
    )


@pytest.mark.parametrize(("words", "told"), ANALYZE, ids=[words for words, _ in ANALYZE])
def test_analysing(spoilt: Path, words: str, told: str) -> None:
    refuse(spoilt, "analyze.py", words.split(), told)


@pytest.mark.parametrize("mode", [(), ("-m", "seed=0,1")], ids=["run", "sweep"])
def test_a_name_that_leads_out_is_refused_before_anything_is_made(tmp_path: Path, mode: tuple[str, ...]) -> None:
    folder = tmp_path / "here"
    refuse(folder, "train.py", [*mode, "run_name=../../../../outside"], "leads out of the folder of runs")
    assert [path.name for path in tmp_path.rglob("*") if not path.name.startswith(".told")] == ["here"]


def refuse(folder: Path, script: str, words: list[str], told: str) -> None:
    """Run it, and check that it is refused with a message and leaves nothing behind."""
    before = {path: path.read_bytes() for path in (folder / "logs").rglob("*.ckpt")}
    done = run(folder, script, *words)
    assert done.process.exitcode == (2 if "unrecognized arguments" in told else 1), done.told
    for piece in told.split("|"):
        assert piece in done.told
    assert "Traceback" not in done.told
    assert not list(folder.rglob("*.part"))
    assert not (folder / "evil_was_run").exists()
    assert not list(folder.glob("**/outside"))
    assert all(path.read_bytes() == content for path, content in before.items())
