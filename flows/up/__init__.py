"""`ratchet up`: everything that a training loop needs, started, watched and stopped as one."""
