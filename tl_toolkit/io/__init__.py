"""Files: atomic writes, reads that time out, downloads, archives and caches."""
