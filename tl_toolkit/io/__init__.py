"""Files and streams: written whole or not at all, read with a limit on time."""
