"""``python -m tests.corpus FOLDER``."""

import argparse
from pathlib import Path

from tests.corpus import write_corpus

parser = argparse.ArgumentParser(prog="python -m tests.corpus", description="Writes every kind of image file there is.")
parser.add_argument("folder", type=Path, help="A new folder.")
print(f"{len(write_corpus(parser.parse_args().folder))} files")
