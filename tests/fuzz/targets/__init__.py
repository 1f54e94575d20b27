"""What is fuzzed: functions from bytes that may end in a ToolkitError and in no other way.

Each has seeds, from which mutations begin, so that they come past the first bytes.
"""

from tests.fuzz.targets import images, model_files, runs, settings, shards

TARGETS = settings.TARGETS | model_files.TARGETS | runs.TARGETS | images.TARGETS | shards.TARGETS
