"""Other people's checkpoints; knows no class of ours."""
