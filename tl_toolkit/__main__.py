"""``python -m tl_toolkit`` is ``tl``; so is ``torchrun -m tl_toolkit``."""

from tl_toolkit.cli.main import main

if __name__ == "__main__":  # Worker processes that are spawned import this module under another name.
    main()
