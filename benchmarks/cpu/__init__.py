"""What benchmarks/engine.py is made of: ours and TRL side by side on a processor, in time and in memory."""
