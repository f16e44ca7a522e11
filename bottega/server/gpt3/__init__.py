"""The resources of the GPT-3 era."""
