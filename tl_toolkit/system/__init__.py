"""The machine: its cores, memory allocator and libraries."""
