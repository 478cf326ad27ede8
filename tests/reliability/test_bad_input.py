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
AS_ALL = ("trainer.max_epochs=1", "callbacks.jacobian.max_samples=4")

# The words after `python train.py data=fashion_mnist …`, and what the message must contain, separated by |.
TRAIN = [
    ("model=lenet6", "There is no model=lenet6|Did you mean model=lenet5?"),
    ("optimizer.lrr=1", "no key optimizer.lrr|Did you mean optimizer.lr?"),
    ("lr=1e-3", "no key lr|Did you mean optimizer.lr?"),
    ("strategy=auto", "no key strategy|Did you mean callbacks.jacobian.strategy?"),
    ("callbacks=no_jacobian callbacks.jacobian.strategy=auto", "no callbacks.jacobian with callbacks=no_jacobian"),
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
    ("optimizer.betas=[0.9]", "optimizer.betas=[0.9] is not allowed; it is a list of 2 numbers, each at least 0"),
    ("logger=null", "~GROUP leaves it out"),
    ("-m seed=0,1 hydra/launcher=slurm hydra.launcher.partitionn=x", "Did you mean hydra.launcher.partition?|mem_gb"),
    ("-m seed=0,1 hydra/launcher=basic hydra.launcher.n_jobs=2", "with the present choice, hydra.launcher has no keys"),
    ("-m seed=0,1 hydra/launcher=basic +hydra.launcher.a=1", "hydra/launcher=basic cannot be used|launcher/basic.yaml"),
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
    ("seed=-1", "seed=-1 is not allowed; it is 0 to 4294967295"),
    ("optimizer.lr=fast", "optimizer.lr='fast'|float"),
    ("optimizer.lr=-1", "optimizer.lr=-1 is not allowed; it is 0 or more"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5|int"),
    ("trainer.max_epochs=-5", "trainer.max_epochs=-5 is not allowed; it is 1 to 2147483647"),
    ("experiment=label_noise trainer.max_epochs=-5", "for the sweep, type -m before it"),
    ("trainer.devices=0", "devices"),
    ("trainer.precision=12", "precision"),
    ("trainer.precision=16-true", "trainer.precision=16-true is not allowed|trainer.precision=16-mixed"),
    ("trainer.precision=transformer-engine", "transformer_engine"),
    ("objective=test/jacobian/logits/frobenius/mean", "is not a metric of a run"),
    ("callbacks.jacobian.max_samples=1.5", "callbacks.jacobian.max_samples=1.5|int"),
    ("callbacks.jacobian.train_samples=3.5", "callbacks.jacobian.train_samples=3.5|int"),
    ("callbacks.jacobian.probe_indices=[1.5]", "callbacks.jacobian.probe_indices=|int"),
    ("callbacks.jacobian.tab=perhaps", "callbacks.jacobian.tab='perhaps'|bool"),
    ("+callbacks.jacobian.name=a/b", "JacobianCallback: name='a/b' is not allowed"),
    (
        "+callbacks.two._target_=jacoscope.callbacks.JacobianCallback",
        "callbacks.jacobian and callbacks.two are JacobianCallbacks of the same name|+callbacks.two.name=NAME",
    ),
    ("+callbacks.two=${callbacks.jacobian}", "JacobianCallbacks of the same name|+callbacks.two.name=NAME"),
    ("trainer.accelerator=gpuu", "gpuu"),
    ("trainer.limit_train_batches=-1", "trainer.limit_train_batches=-1 is not allowed; it is 1 to"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0 is not allowed; it is 1 to"),
    ("+trainer.val_check_interval=0", "trainer.val_check_interval=0 is not allowed"),
    ("trainer.limit_val_batches=0", "objective=val/accuracy is measured in validation"),
    ("trainer.plugins=[]", "LastCheckpoint needs CheckpointFiles"),
    ("loss.label_smoothing=2", "loss.label_smoothing=2 is not allowed; it is 0 to 1"),
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
    ("model.channels=[6]", "model.channels=[6] is not allowed; it is a list of 2 numbers"),
    ("data.batch_size=99999999999999999999", "data.batch_size=99999999999999999999 is not allowed; it is"),
    ("images.shape=[28,28]", "images.shape=[28, 28] is not allowed; it is"),
    ("images.shape=[1,28,0]", "images.shape=[1, 28, 0] is not allowed; it is"),
    ("model.channels=[0,0]", "model.channels=[0, 0] is not allowed; it is"),
    ("model.channels=[6,16,32]", "model.channels=[6, 16, 32] is not allowed; it is"),
    ("~data.source._target_", "data.source=|is of the wrong type|Source"),
    ("optimizer._partial_=false", "optimizer: torch.optim.AdamW cannot be made"),
    ("images.classes=-1", "images.classes=-1 is not allowed; it is"),
    ("images.classes=0", "images.classes=0 is not allowed; it is"),
    ("images.std=[0]", "images.std=[0] is not allowed; it is"),
    ("model.num_classes=-1", "model.num_classes=-1 is not allowed; it is"),
    ("trainer.max_epochs=-1", "trainer.max_epochs=-1 is not allowed; it is"),
    ("trainer.max_epochs=0", "trainer.max_epochs=0 is not allowed; it is"),
    ("trainer.max_epochs=99999999999999999999", "trainer.max_epochs=99999999999999999999 is not allowed; it is"),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0 is not allowed; it is"),
    ("trainer.limit_train_batches=0.0", "trainer.limit_train_batches=0.0 is not allowed; it is"),
    ("trainer.limit_train_batches=1.5", "trainer.limit_train_batches=1.5 is not allowed; it is"),
    ("trainer.limit_val_batches=-2", "trainer.limit_val_batches=-2 is not allowed; it is"),
    ("trainer.limit_test_batches=2.5", "trainer.limit_test_batches=2.5 is not allowed; it is"),
    ("+trainer.overfit_batches=-1", "trainer.overfit_batches=-1 is not allowed; it is"),
    ("+trainer.max_steps=-7", "trainer.max_steps=-7 is not allowed; it is"),
    ("+trainer.val_check_interval=1.5", "trainer.val_check_interval=1.5 is not allowed; it is"),
    ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch=0 is not allowed; it is"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1 is not allowed; it is"),
    ("trainer.log_every_n_steps=-1", "trainer.log_every_n_steps=-1 is not allowed; it is"),
    ("+trainer.num_nodes=0", "trainer.num_nodes=0 is not allowed; it is"),
    ("augmentation.degrees=-1", "augmentation.degrees=-1 is not allowed; it is"),
    ("augmentation.translate=5", "augmentation.translate=5 is not allowed; it is"),
    ("augmentation.shear=90", "augmentation.shear=90 is not allowed; it is"),
    ("augmentation.scale=[1,1,3]", "augmentation.scale=[1, 1, 3] is not allowed; it is"),
    ("augmentation=elastic augmentation.affine.shear=-3", "augmentation.affine.shear=-3 is not allowed; it is"),
    (
        "augmentation=elastic augmentation.elastic.amplitude=-1",
        "amplitude=-1 is not allowed; it is",
    ),
    ("optimizer.betas=[0.9,0.9,0.9]", "optimizer.betas=[0.9, 0.9, 0.9] is not allowed; it is"),
    ("optimizer.betas=[0.9,1]", "optimizer.betas=[0.9, 1] is not allowed; it is"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1 is not allowed; it is"),
    ("scheduler.div_factor=0", "scheduler.div_factor=0 is not allowed; it is"),
    ("scheduler=cosine scheduler.warmup=2", "scheduler.warmup=2 is not allowed; it is"),
    ("callbacks.jacobian.train_samples=-1", "callbacks.jacobian.train_samples=-1 is not allowed; it is"),
    ("callbacks.jacobian.every_n_epochs=0", "callbacks.jacobian.every_n_epochs=0 is not allowed; it is"),
    ("+callbacks.checkpoint.save_top_k=-2", "callbacks.checkpoint.save_top_k=-2 is not allowed; it is"),
    (
        "callbacks=[default,early_stopping] callbacks.early_stopping.patience=-1",
        "patience=-1 is not allowed",
    ),
    ("model.hidden=[1,2,3]", "hidden=[1, 2, 3] is not allowed; LeNet-5 has two such layers"),
    ("trainer.devices=100000", "trainer.devices=100000 is not allowed; it is 1 to|cores"),
    ("trainer.devices='100000'", "trainer.devices=100000 is not allowed; it is 1 to|cores"),
    ("objective=[]", "objective=[] names no metric"),
    ("data.batch_size=0", "data.batch_size=0 is not allowed; it is 1 to"),
    ("data.eval_batch_size=-3", "data.eval_batch_size=-3"),
    ("data.val_size=100000", "data.val_size=100000 does not fit 300 training images"),
    ("data.val_size=-1", "data.val_size=-1 is not allowed; it is 0 to"),
    ("data.val_size=1.5", "data.val_size="),
    ("data.val_size=0", "data.val_size=0|validation"),
    ("data.source.name=FashionMNISTT", "torchvision.datasets has no such class. Did you mean FashionMNIST?"),
    ("data.source.name=SVHN", "torchvision's SVHN does not take train=True|False"),
    ("-m seed=0,1 --cfg job", "Only one of --run, --multirun, --cfg"),
    ("images.classes=3", "images.classes=3|images.classes=10"),
    ("images.shape=[3,32,32]", "images.shape"),
    ("augmentation.scale=[2,1]", "scale=[2, 1]"),
    ("augmentation=elastic augmentation.elastic.sigma=0", "sigma=0"),
    ("penalty=jacobian penalty.weight=-1", "penalty.weight=-1 is not allowed; it is 0 or more"),
    ("penalty=jacobian penalty.projections=0", "penalty.projections=0 is not allowed; it is 1 to"),
    ("penalty=jacobian penalty.unit=metres", "penalty.unit='metres' is of the wrong type|'pixel' | 'standardised'"),
    ("penalty=jacobian penalty.outputs=prob", "outputs=prob is not allowed; it is logits, probs, log_probs"),
    ("penalty=spectral penalty.iterations=0", "penalty.iterations=0 is not allowed; it is 1 to"),
    ("penalty=boundary penalty.distance=0", "penalty.distance=0 is not allowed; it is more than 0"),
    ("penalty=input_gradient penalty.ramp_up=2", "penalty.ramp_up=2 is not allowed; it is 0 to 1"),
    ("penalty=jacobian penalty.every_n_steps=0", "penalty.every_n_steps=0 is not allowed; it is 1 to"),
    ("penalty=jacobian penalty.wieght=1", "no key penalty.wieght|Did you mean penalty.weight?"),
    ("penalty.weight=1", "There is no key penalty.weight in penalty=none|Choose another config of it first: penalty=…"),
    ("penalty._target_=torch.nn.Identity", "penalty: torch.nn.Identity makes a Identity; it is a jacoscope.penalties"),
    ("penalty=l2", "There is no penalty=l2"),
    ("~penalty", "There is no penalty to build"),
    ("regularisation=l3", "There is no regularisation=l3|Choices of regularisation: all, dropout, jacobian, l2, none"),
    ("model.dropout=1", "model.dropout=1 is not allowed; it is at least 0 and less than 1"),
    ("scheduler=steps scheduler.milestones=[2]", "scheduler.milestones=[2] is not allowed; it is 0 to 1"),
    ("data.samples_per_class=0", "data.samples_per_class=0 is not allowed; it is 1 to"),
    ("data.samples_per_class=25", "data.samples_per_class=25 is not allowed: class 0 has only 24 training images"),
    ("data.passes_per_epoch=0", "data.passes_per_epoch=0 is not allowed; it is 1 to"),
    ("scheduler.pct_start=2", "scheduler.pct_start=2 is not allowed; it is 0 to 1"),
    ("optimizer=sgd optimizer.momentum=0", "optimizer or its scheduler cannot be made"),
    ("optimizer=muon model=mlp model.hidden=[]", "Muon steps hidden weights"),
    ("callbacks=[default,distortion_annealing]", "augmentation=elastic"),
    ("callbacks.last_checkpoint.every_n_batches=0", "every_n_batches=0"),
    ("callbacks.last_checkpoint.every_n_minutes=-1", "every_n_minutes=-1"),
    ("callbacks.jacobian.max_samples=0", "max_samples=0"),
    ("run_name=../../../outside", "run_name=../../../outside leads out of the folder of runs"),
    ("run_name=$HOME", "run_name=$HOME cannot be the name of a folder: it holds a $"),
    ("paths.log_dir=empty.ckpt", "empty.ckpt|Choose a folder that you may write to"),
    ("paths.log_dir=circle", "circle|Too many levels of symbolic links"),
    ("run_name=no_record", "result.json is not the record of a run"),
    ("run_name=half_record", "result.json is not the record of a run"),
    ("run_name=wrong_record", "result.json is not the record of a run"),
    ("run_name=done seed=5", "another configuration|seed: 0 then, 5 now"),
    ("run_name=torn", "last.ckpt|previous.ckpt|cut short or damaged|remove the folder"),
    ("run_name=no_record_at_all seed=5", "another configuration|seed: 0 then, 5 now"),
    ("run_name=unknown_settings", "does not say how they were trained|remove the folder"),
    ("run_name=unreadable_settings", "does not say how they were trained|.hydra/config.yaml is missing or cannot"),
    ("run_name=link_in_a_circle", "last.ckpt cannot be read as a checkpoint: Too many levels of symbolic links"),
    ("run_name=folder_as_checkpoint", "last.ckpt cannot be read as a checkpoint: it is not a file"),
    ("callbacks.checkpoint.dirpath=elsewhere", "callbacks.checkpoint.dirpath=elsewhere leads out of the run"),
    ("callbacks.checkpoint.filename=../../evil", "callbacks.checkpoint.filename=../../evil leads out of the run"),
    ("callbacks.checkpoint.filename=/evil", "callbacks.checkpoint.filename=/evil leads out of the run"),
    ("callbacks.last_checkpoint.dirpath=logs/train/runs/x/a run_name=x", "is not allowed; a run resumes from"),
    ("callbacks.checkpoint.filename=last", "filename=last would write over a checkpoint of callbacks.last_checkpoint"),
    ("+callbacks.checkpoint.save_last=true", "save_last=True would write over a checkpoint"),
    ("callbacks.last_checkpoint.dirpath=/tmp", "callbacks.last_checkpoint.dirpath=/tmp leads out of the run"),
    ("logger.tensorboard.save_dir=/proc", "logger.tensorboard.save_dir=/proc cannot be written"),
    ("logger=csv logger.csv.save_dir=/proc/x", "logger.csv.save_dir=/proc/x cannot be written"),
    ("logger.tensorboard.save_dir=empty.ckpt", "save_dir=empty.ckpt cannot be written: Not a directory"),
    ("-m seed=range(0,100000000)", "seed=range(0,100000000) are 100,000,000 runs; a sweep has 10,000 at most"),
    ("-m seed=range(0,300) optimizer.lr=range(0.1,1.0,0.01)", "27,000 runs; a sweep has 10,000 at most"),
    ("optimizer.lr=true", "optimizer.lr=True is of the wrong type"),
    ("optimizer.lr=[1]", "optimizer.lr=[1]|float"),
    ("optimizer.lr=1e400", "optimizer.lr=inf is not allowed; type a finite number"),
    ("data.batch_size=16.5", "data.batch_size=16.5 is of the wrong type: it takes int"),
    ("data.batch_size=many", "data.batch_size='many' is of the wrong type: it takes int"),
    ("model.channels=[6,x]", "model.channels=[6, 'x'] is of the wrong type: it takes int, a list of 2 numbers"),
    ("images.shape=[1,28,28.5]", "images.shape=[1, 28, 28.5] is of the wrong type"),
    ("callbacks.last_checkpoint.dirpath=0.5", "callbacks.last_checkpoint.dirpath=0.5"),
    ("callbacks.checkpoint.dirpath=3", "callbacks.checkpoint.dirpath=3"),
    ("callbacks.checkpoint=null", "callbacks.checkpoint names no _target_"),
    ("logger.tensorboard=3", "logger.tensorboard names no _target_"),
    ("model=[null]", "A group's config is chosen with GROUP=CHOICE|model=[null]"),
    ("data=-1", "must be a string or a list|Typed: |data=-1"),
    ("trainer.default_root_dir=[1]", "trainer.default_root_dir=[1] is of the wrong type"),
    ("callbacks.checkpoint.monitor=[1]", "callbacks.checkpoint.monitor=[1] is of the wrong type"),
    (
        "+logger.tensorboard.more=1",
        "logger.tensorboard.more: jacoscope.training.TensorBoardLogger does not take",
    ),
    ("images=1e30", "images=1e+30 is of the wrong type: it has the keys shape, classes"),
    ("extend=true", "extend=true: there is no finished run"),
    ("extend=perhaps", "extend='perhaps' is of the wrong type: it is true or false"),
    ("-m seed=0,1 extend=true", "extend=true extends a single run"),
    ("run_name=done extend=true trainer.max_epochs=2", "cannot be extended|one_cycle, was planned over its 1 epochs"),
    ("run_name=done extend=true trainer.max_epochs=2 seed=1", "another configuration|seed: 0 then, 1 now"),
    ("run_name=done trainer.max_epochs=2", "trainer.max_epochs: 1 then, 2 now|extend=true trains a finished run on"),
    ("-m seed=0,1 optimizer.lr=abc", "optimizer.lr='abc' is of the wrong type"),
    ("-m seed=0,1 model.channels=[0,0],[6,16]", "model.channels=[0, 0] is not allowed"),
    ("-m seed=0,1 +optimizer.bogus=1", "AdamW does not take bogus"),
    ("-m seed=0,1 objective=val/acuracy", "Did you mean val/accuracy?"),
    ("-m hparams_search=optuna optimizer.betas=3", "optimizer.betas=3 is not allowed; it is a list of 2 numbers"),
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
    ("checkpoint=logs/train/runs/done samples=[0,99999]", "sample=99999 is out of range"),
    ("sample=1.5", "sample=1.5 is of the wrong type: it is a whole number"),
    ("samples=[1,x]", "samples=[1, 'x'] is of the wrong type"),
    ("image=[a.png]", "image=['a.png'] is of the wrong type"),
    ("image=pictures", "image=pictures is a folder"),
    (
        "checkpoint=logs/train/runs/done sample=0 output_dir=mine",
        "output_dir=mine holds reading.json, which analyze.py",
    ),
    ("checkpoint=logs/train/runs/done sample=0 output_dir=linked", "output_dir=linked holds heatmap.png, which"),
    ("checkpoint=logs/train/runs/done image=good.png output_dir=empty.ckpt", "empty.ckpt"),
    ("checkpoint=logs/train/runs/done attack=0 limit=4 output_dir=mine", "output_dir=mine holds summary.json, which"),
    ("checkpoint=logs/train/runs/done attack=0 limit=4 output_dir=theirs", "output_dir=theirs holds analysis.json"),
    (
        "checkpoint=logs/train/runs/done attack=0 limit=4 output_dir=parts",
        "output_dir=parts holds parts_of_mine, which",
    ),
    ("sample=1 samples=[2]", "sample and samples are different questions"),
    ("split=tset", "Did you mean split=test?"),
    ("output=prob", "Did you mean output=probs?"),
    ("limit=0", "limit=0 is not allowed; it is 1 to"),
    ("optimizer=sgd", "There is no key optimizer|Groups: data, model, paths, robustness, trainer"),
    ("+optimizer=sgd", "There is no key optimizer|Keys: checkpoint, split"),
    ("-m split=test,val", "-m is for sweeps of trainings"),
    ("+imge=seven.png", "There is no key imge. Did you mean image?"),
    ("chunk_size=0", "chunk_size=0 is not allowed; it is 1 to"),
    ("attack=-1", "attack=-1 is not allowed; it is 0 to"),
    ("compare=[a]", "name two runs"),
    ("image=", "image= has no value: type image=VALUE"),
    ("invert=true", "invert=True is not used without image="),
    ("limit=5 sample=1", "limit=5 is not used with sample="),
    ("report=false sample=1", "report=False is not used with sample=: leave it out"),
    ("report=false compare=[a,b]", "report=False is not used with compare=: leave it out"),
    ("report=false history=true", "report=False is not used with history=: leave it out"),
    ("checkpoint=a compare=[a,b]", "checkpoint=a is not used with compare="),
    ("jacobian_dtype=float16", "jacobian_dtype=float16 is not used without save_jacobians=true"),
    ("robustness=true", "robustness is a group, of which one config is chosen: robustness=curves, robustness=none"),
    ("robustness=curve", "There is no robustness=curve. Did you mean robustness=curves?"),
    ("robustness.steps=3", "There is no key robustness.steps|Choose another config of it first: robustness=…"),
    (
        "robustness=curves robustness.epsilons=[]",
        "robustness.epsilons=[]: name at least one size for random_signs, fgsm, pgd_linf",
    ),
    ("robustness=curves robustness.epsilons=[-0.1]", "robustness.epsilons=[-0.1] is not allowed; each of them is"),
    ("robustness=curves robustness.steps=0", "robustness.steps=0 is not allowed; it is 1 to"),
    ("robustness=curves robustness.samples=0", "robustness.samples=0 is not allowed; it is 1 to"),
    ("robustness=curves robustness.attacks=[fsgm]", "robustness.attacks: there is no fsgm. Did you mean fgsm?"),
    ("robustness=curves sample=1", "robustness is not used with sample="),
    ("checkpoint=logs/train/runs/done model.channels=[0,0]", "model.channels=[0, 0] is not allowed; it is a list of 2"),
    ("checkpoint=logs/train/runs/done image=nowhere.png", "nowhere.png"),
    ("checkpoint=logs/train/runs/done image=no_picture.png", "no_picture.png"),
    ("checkpoint=logs/train/runs/done image=half_picture.png", "half_picture.png"),
    ("checkpoint=logs/train/runs/done image=bomb.png", "bomb.png"),
    ("checkpoint=logs/train/runs/done model=mlp sample=1", "another architecture"),
    ("checkpoint=logs/train/runs/unknown_settings", "has no result.json|checkpoints/best.ckpt model=lenet5"),
    ("checkpoint=logs/train/runs/link_in_a_circle", "best.ckpt is not a checkpoint|last.ckpt"),
    ("checkpoint=logs/train/runs/folder_as_checkpoint", "best.ckpt is not a checkpoint|last.ckpt"),
    (
        "checkpoint=logs/train/runs/done images.classes=[1,2]",
        "images.classes=[1, 2] is of the wrong type: it is an int",
    ),
    ("checkpoint=logs/train/runs/done data=image_folder data.source.root=pictures", "No value for images.classes"),
    ("checkpoint=logs/train/runs/done data=image_folder", "data.source.root=VALUE|images.classes=VALUE"),
]


@pytest.fixture(scope="module")
def spoilt(folder: Path) -> Path:
    done = run(folder, "train.py", *OVERRIDES, "run_name=done", *AS_ALL)
    assert done.process.exitcode == 0, done.told
    prepare(folder)
    return folder


@pytest.mark.parametrize(("words", "told"), TRAIN, ids=[words for words, _ in TRAIN])
def test_training(spoilt: Path, words: str, told: str) -> None:
    named = [] if "run_name=" in words else [f"run_name=bad_{TRAIN.index((words, told))}"]
    chosen = {word.partition("=")[0] for word in words.split()}
    tiny = [word for word in OVERRIDES if word.partition("=")[0] not in chosen]
    refuse(spoilt, "train.py", [*tiny, *named, *AS_ALL, *words.split()], told)


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
    before = {path: path.read_bytes() for path in (folder / "logs").rglob("*.ckpt") if path.is_file()}
    folders = folders_in(folder)
    done = run(folder, script, *words)
    assert done.process.exitcode == (2 if "unrecognized arguments" in told else 1), done.told
    for piece in told.split("|"):
        assert piece in done.told
    assert "Traceback" not in done.told
    assert not list(folder.rglob("*.part"))
    assert not (folder / "evil_was_run").exists()
    assert not list(folder.glob("**/outside"))
    assert all(path.read_bytes() == content for path, content in before.items())
    if "Step |" not in told and "conditioned on metric" not in told:  # these trainings had begun
        assert folders_in(folder) == folders


def folders_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_dir()}
