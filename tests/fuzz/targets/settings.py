"""Config files."""

import dataclasses
import json
from pathlib import Path

from tests.fuzz.targets.base import Target, only_toolkit_errors, write_file


def config(data: bytes) -> None:
    """Read a config file, from its bytes to settings and back."""
    from tl_toolkit.config.config_file import read_config_file
    from tl_toolkit.config.finetune import FinetuneConfig

    path = write_file("config.yaml", data)
    with only_toolkit_errors():
        chosen = FinetuneConfig.from_values(read_config_file(path))
        for derived in ("parsed_arch_options", "probe_rate", "cache_bytes", "checkpoint_steps", "checkpoint_seconds"):
            getattr(chosen, derived)
        chosen.with_absolute_paths()
        json.dumps(chosen.parsed_arch_options)
        again = write_file("again.yaml", chosen.to_yaml().encode())
        assert FinetuneConfig.from_values(read_config_file(again)) == dataclasses.replace(chosen, out=None)


def _config_seeds() -> list[bytes]:
    from tl_toolkit.config.finetune import FinetuneConfig

    examples = [path.read_bytes() for path in sorted(Path("examples").glob("*.yaml"))]
    odd = [
        b"learning_rate: 1e-3\nsave: [full-model]\narch_options: {drop_rate: 0.1, act: [1, 2]}\n",
        b"a: &a [1, 2]\nepochs: *a\n",
        b"epochs: 2001-01-01\nlr: .nan\nseed: 0x10\nviews: 1:30\n",
        b"data: !!binary aGFsbG8=\nout: !!set {a, b}\n? [1, 2]\n: 3\n",
        b'arch: "\\ud83d\\x00\\u2028"\ncheckpoint_every: 30s\ncache_size: 20GiB\nprobe_lr: auto\n',
        b"[" * 50 + b"]" * 50,
        "data: Fotos für später/\n".encode("utf-16"),
    ]
    return [FinetuneConfig().to_yaml().encode(), *examples, *odd]


TARGETS = {
    "config": Target(config, _config_seeds),
}
