"""The rows of adversarial.parquet: predicted and found distances to another decision, of samples of a split."""

from pathlib import Path

import pyarrow as pa
import torch
from torch import nn

from jacoscope.analysis.attack import SCHEMA, found_distances
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.shown_samples import evenly_spread
from jacoscope.analysis.tables import finite_rows
from jacoscope.errors import UserError
from jacoscope.jacobians import JacobianError, vjp


def search(network: TrainedNetwork, split: str, table_file: Path, count: int) -> pa.Table:
    """Search the nearest adversarial examples of ``count`` samples, evenly spread over those with a finite Jacobian.

    Three distances for each, all L2 in pixels: the first-order one of the table; how far one really has to go in that
    direction (pixels not clipped, as in the prediction); the smallest change that an established attack finds (pixels
    within [0, 1]). What was not found is null.

    Args:
        network: the network and its data, on the CPU.
        split: of the samples.
        table_file: samples.parquet.
        count: samples at most.

    Raises:
        UserError: if the network has no such derivatives, or the attack fails on it.
    """
    table = finite_rows(table_file, ["index", "prediction", "boundary_distance", "nearest_class"])
    chosen = table.take(evenly_spread(len(table), count))
    distance = torch.tensor(chosen["boundary_distance"].to_numpy())
    now, then = (torch.tensor(chosen[name].to_numpy()).long() for name in ("prediction", "nearest_class"))
    x, _ = network.read_samples(split, chosen["index"].to_pylist())
    # The margin falls fastest against its gradient: one backward pass, no Jacobian.
    margin = nn.functional.one_hot(now, network.spec.classes) - nn.functional.one_hot(then, network.spec.classes)
    try:
        slope = vjp(network.module, x, margin.to(x.dtype))
    except JacobianError as error:
        raise UserError(f"{network.spec.checkpoint.path}: {error}") from error
    length = torch.linalg.vector_norm(slope.flatten(1), dim=1).view(-1, 1, 1, 1)
    direction = -slope / length.where(length > 0, torch.ones_like(length))
    values = {
        "index": torch.tensor(chosen["index"].to_numpy()),
        "predicted_distance": distance,
        "predicted_class": then,
        **found_distances(network.module, x, now, direction, distance),
    }
    missing = {name: ~values[f"{name}_distance"].isfinite().numpy() for name in ("along", "attack")}
    arrays = [
        pa.array(values[field.name].numpy(), mask=missing.get(field.name.partition("_")[0])).cast(field.type)
        for field in SCHEMA
    ]
    return pa.table(arrays, schema=SCHEMA)
