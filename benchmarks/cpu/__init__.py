"""What benchmarks/engine.py is made of: ours and TRL side by side on a processor, in time and in memory."""

from orpo.allocator import use_huge_pages

use_huge_pages()  # as `orpo` does at its start: before anything else of this package allocates
