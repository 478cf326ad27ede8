"""Many runs at a glance: a table, and a page of charts."""
