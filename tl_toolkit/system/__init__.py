"""The machine: its cores, its memory allocator, and how libraries are imported."""
