"""The columns of samples.parquet: names, types, units, what they mean."""

from typing import NamedTuple

import pyarrow as pa


class Column(NamedTuple):
    """One column of the table; ``unit`` and ``meaning`` travel in the file as the field's metadata."""

    name: str
    kind: pa.DataType
    unit: str
    meaning: str


PER_PIXEL = "output per pixel unit"
PIXELS = "pixel units, L2"
ALWAYS_THERE = ("index", "label", "finite")
"""Columns that every row has; the others are null where the Jacobian is NaN or infinite."""


def columns(classes: int, rank: int, output: str) -> list[Column]:
    """Give the columns of a table.

    Args:
        classes: how many classes there are.
        rank: how many singular values a Jacobian has, the smaller of outputs and features.
        output: what is differentiated.
    """
    number, real = pa.int32(), pa.float32()
    J = f"J = ∂ {output} / ∂ pixels"
    return [
        Column("index", pa.int64(), "", "index of the sample in its split"),
        Column("label", number, "class", "true class"),
        Column("finite", pa.bool_(), "", "whether logits and J are; where not, the columns behind this one are null"),
        Column("prediction", number, "class", "class with the largest logit"),
        Column("correct", pa.bool_(), "", "whether prediction and label agree"),
        Column("confidence", real, "probability", "probability of the predicted class"),
        Column("label_probability", real, "probability", "probability of the true class"),
        Column("margin", real, "logits", "largest logit minus the second largest"),
        Column("frobenius", real, PER_PIXEL, f"Frobenius norm of {J}"),
        Column("spectral", real, PER_PIXEL, f"spectral norm of {J}, its largest singular value"),
        Column("nuclear", real, PER_PIXEL, f"nuclear norm of {J}, the sum of its singular values"),
        Column("l1_operator", real, PER_PIXEL, f"L1 operator norm of {J}: the most that one pixel moves all outputs"),
        Column("linf_operator", real, PER_PIXEL, f"L∞ operator norm of {J}: the most that all pixels move one output"),
        Column("stable_rank", real, "", f"stable rank of {J}: (frobenius / spectral)²"),
        Column("effective_rank", real, "", f"effective rank of {J}: exp of the entropy of its singular values"),
        Column("boundary_distance", real, PIXELS, "first-order distance to the decision boundary of the prediction"),
        Column("nearest_class", number, "class", "class behind that boundary"),
        Column("logits", pa.list_(real, classes), "logits", "the network's output for each class"),
        Column(
            "output_norms", pa.list_(real, classes), PER_PIXEL, f"L2 norm of each output's derivative, a part of {J}"
        ),
        Column("singular_values", pa.list_(real, rank), PER_PIXEL, f"singular values of {J}, descending"),
    ]


def arrow_schema(described: list[Column], about: dict[str, str]) -> pa.Schema:
    """Give the Arrow schema, with units and meanings as metadata of the fields.

    Args:
        described: the columns.
        about: what the table is, as metadata of the whole.
    """
    fields = [
        pa.field(c.name, c.kind, c.name not in ALWAYS_THERE, {"unit": c.unit, "meaning": c.meaning}) for c in described
    ]
    return pa.schema(fields, metadata=about)
