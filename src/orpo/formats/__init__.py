"""Files of the field's benchmarks: their tools read ours, and we read theirs, whatever a row says."""
