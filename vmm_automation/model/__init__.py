"""The words of the field as values: frozen dataclasses and enums, no I/O."""
