"""Faults injected into runs: processes killed at every moment, files damaged, disks full."""
