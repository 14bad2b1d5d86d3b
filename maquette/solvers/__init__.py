"""Floor 1: functions of a predictor. They know no network, no family and no medium."""
