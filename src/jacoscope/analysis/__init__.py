"""Everything about a trained network's Jacobians, for whole data sets: tables, arrays, figures, a report."""
