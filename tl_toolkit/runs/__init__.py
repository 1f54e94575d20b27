"""Run folders: what is in them, and how a run goes on."""
