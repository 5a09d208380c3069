"""One module per noun: decide, then act through ports."""
