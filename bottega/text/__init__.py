"""The tokenizer and its file formats."""
