"""Which VM serves a UA session: hard filters, then a score, with the reason for every VM. Pure: no I/O."""
