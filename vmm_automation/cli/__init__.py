"""The `vmm` command: parse, one operation, render."""
