"""Post-hoc scores: functions of a classifier's penultimate features, its last layer and its logits."""
