"""Bytes, hours and price from 10,000 to a billion images: the tables of docs/scale.md, and the constants behind them.

    python -m tests.benchmarks.scale                                   # the tables
    python -m tests.benchmarks.scale measure --photos hymenoptera/     # every constant, measured here
    python -m tests.benchmarks.scale --core-hour 0.02 --gpu-hour 1.5   # with other prices
    python -m tests.benchmarks.scale --page docs/scale.md              # put the tables into the page

The constants stand in `MEASURED` as they were measured for the page; `measure` prints what this machine gives beside
them. Times are of one core's processor time, so that other programs hardly change them.
"""

import argparse
import base64
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

SIZES = tuple(10**power for power in range(4, 10))
CLASSES = 100


@dataclass(frozen=True)
class Constant:
    """A measured figure.

    Attributes:
        value: In `unit`.
        unit: Of the value.
        what: What was measured.
    """

    value: float
    unit: str
    what: str


MEASURED: Mapping[str, Constant] = {
    "file": Constant(120_000, "bytes", "JPEG photograph of 500 x 375 pixels, mean of ants and bees"),
    "decode": Constant(0.0024, "s", "decoding it and resizing it to 224 px, one core"),
    "forward": Constant(0.0061, "s", "EfficientNet-Lite0 at 224 px, bf16, batches of 32, one core"),
    "step": Constant(0.0315, "s", "training step of ResNet18 at 224 px, bf16, batches of 32, one core"),
    "index": Constant(122, "bytes", "path, target and what stands for them in memory"),
    "scan": Constant(4.9e-6, "s", "listing a file of a folder"),
    "split": Constant(7.1e-7, "s", "drawing val by class and name"),
    "identity": Constant(246, "bytes", "identity of an image and its place in the feature cache, in memory"),
    "order": Constant(90, "bytes", "order of an epoch, in memory"),
    "feature": Constant(2576, "bytes", "stored feature of EfficientNet-Lite0: 1,280 numbers in bf16 and the identity"),
    "note": Constant(6.7, "bytes", "fingerprint in the model file, by which `evaluate` knows what was learned from"),
    "checkpoint": Constant(224e6, "bytes", "checkpoint of ResNet18, everything trained; it does not grow with images"),
}


@dataclass(frozen=True)
class Assumptions:
    """What is not measured: prices, and the machines that are compared.

    Attributes:
        core_hour: Price of a CPU core for an hour.
        gpu_hour: Price of a GPU for an hour.
        terabyte_month: Price of 10^12 bytes of disk for a month.
        cores: Of the CPU machine.
        memory: Of that machine, in bytes.
        disk: Of that machine, in bytes.
        gpu_step: Images/s of a training step of ResNet18 on the GPU. No GPU was at hand: a guess.
        epochs: Of full fine-tuning.
    """

    core_hour: float = 0.04
    gpu_hour: float = 2.5
    terabyte_month: float = 20.0
    cores: int = 32
    memory: float = 64e9
    disk: float = 2e12
    gpu_step: float = 2500.0
    epochs: int = 5


def value(name: str) -> float:
    return MEASURED[name].value


FEATURE_SIZE = 1280
LBFGS_BYTES = 2**30
"""`MEMORY_BYTES` of features/extractor.py: L-BFGS solves the head if features and logits take no more in float32."""
CACHE_BYTES = 10 * 2**30
"""`MAX_BYTES` of io/row_cache.py."""
MAX_NOTED = 10_000_000
"""`MAX_NOTED` of data/seen_images.py."""


@dataclass(frozen=True)
class Cost:
    """What so many images take.

    Attributes:
        images: How many.
        files: Bytes of the images.
        index: Bytes in memory: paths, targets, identities and the order of an epoch.
        features: Bytes of stored features on disk.
        probe_hours: Hours of one core: decode and run EfficientNet-Lite0 once.
        full_hours: Hours of one core: decode and train ResNet18 for all epochs.
        gpu_hours: Hours of one GPU for the same training.
        feeding_cores: Cores that decode for that GPU.
        probe_price: Of the probe on CPU cores.
        full_price: Of the training on CPU cores.
        gpu_price: Of the training on a GPU with the cores that decode for it.
        storage_price: Of images and features on disk for a month.
    """

    images: int
    files: float
    index: float
    features: float
    probe_hours: float
    full_hours: float
    gpu_hours: float
    feeding_cores: float
    probe_price: float
    full_price: float
    gpu_price: float
    storage_price: float


def cost(images: int, assumed: Assumptions) -> Cost:
    """Reckon what so many images take."""
    files, features = images * value("file"), images * value("feature")
    # The readability check decodes every image once more before training.
    probe_hours = images * (2 * value("decode") + value("forward")) / 3600
    full_hours = images * (value("decode") + assumed.epochs * (value("decode") + value("step"))) / 3600
    gpu_hours = images * assumed.epochs / assumed.gpu_step / 3600
    feeding_cores = assumed.gpu_step * value("decode")
    return Cost(
        images=images,
        files=files,
        index=images * (value("index") + value("identity") + value("order")),
        features=features,
        probe_hours=probe_hours,
        full_hours=full_hours,
        gpu_hours=gpu_hours,
        feeding_cores=feeding_cores,
        probe_price=probe_hours * assumed.core_hour,
        full_price=full_hours * assumed.core_hour,
        gpu_price=gpu_hours * (assumed.gpu_hour + feeding_cores * assumed.core_hour),
        storage_price=(files + features) / 1e12 * assumed.terabyte_month,
    )


@dataclass(frozen=True)
class Limit:
    """A part of the design and how far it goes.

    Attributes:
        part: Its name.
        images: The number of images up to which it holds.
        why: What ends there.
        then: What happens beyond, and what to use.
    """

    part: str
    images: float
    why: str
    then: str


def limits(assumed: Assumptions) -> list[Limit]:
    """Where each part of the design ends, the first one first."""
    in_memory = value("index") + value("identity") + value("order")
    check_day = 24 * 3600 * assumed.cores / value("decode")
    probe_bytes = 4 * (FEATURE_SIZE + CLASSES)
    found = [
        Limit(
            "one L-BFGS solve on all features",
            LBFGS_BYTES / probe_bytes,
            f"{size(LBFGS_BYTES)} of features and logits in float32, {CLASSES} classes",
            "`tl` trains the head by gradient descent from the stored features, batch by batch, and says so",
        ),
        Limit(
            "feature cache",
            CACHE_BYTES / value("feature"),
            f"{size(CACHE_BYTES)}, the default",
            "`--cache-size 500GB`; a split that does not fit is computed in every epoch, and `tl` says so",
        ),
        Limit(
            "note of the images in the model file",
            MAX_NOTED,
            f"{size(value('note') * MAX_NOTED)} of the {size(1e8)} that safetensors allows a header",
            "the file has no note: `tl evaluate` cannot tell which images the model learned from, and says so",
        ),
        Limit(
            "one local disk",
            assumed.disk / value("file"),
            f"{size(assumed.disk)} of photographs",
            "shards on a file server or an object store, with the local cache of remote files (`--cache-size`)",
        ),
        Limit(
            "index, names and identities in memory",
            assumed.memory / in_memory,
            f"{size(assumed.memory)} of memory, {in_memory:,.0f} bytes an image, in every process",
            "shards with a sampler that knows only shards: WebDataset, MosaicML Streaming, DALI",
        ),
        Limit(
            "readability check before training",
            check_day,
            f"a day of {assumed.cores} cores; a later run reads the result from the cache",
            "check once where the data is made, by `tl data check` on each part",
        ),
    ]
    return sorted(found, key=lambda limit: limit.images)


def size(number: float) -> str:
    """Bytes in words: 12 GB."""
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{short(number / factor)} {unit}"
    return f"{number:.0f} B"


def short(number: float) -> str:
    """Two digits: 0.012, 1.2, 12, 1,200."""
    if number == 0:
        return "0"
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def duration(hours: float) -> str:
    """Hours in words: 12 s, 3 min, 5 h, 12 days, 3 years."""
    for unit, factor in (("years", 24 * 365), ("days", 24), ("h", 1), ("min", 1 / 60)):
        if hours >= 1.5 * factor:
            return f"{short(hours / factor)} {unit}"
    return f"{short(hours * 3600)} s"


def power(images: float) -> str:
    return f"10^{len(str(int(images))) - 1}"


def price(amount: float) -> str:
    return short(amount) if amount >= 0.01 else "< 0.01"


def cost_table(assumed: Assumptions) -> str:
    """The first table of the page."""
    costs = [cost(images, assumed) for images in SIZES]
    rows: list[tuple[str, Callable[[Cost], str]]] = [
        ("image files", lambda one: size(one.files)),
        ("index in memory", lambda one: size(one.index)),
        ("stored features", lambda one: size(one.features)),
        ("probe: one core", lambda one: duration(one.probe_hours)),
        (f"probe: {assumed.cores} cores", lambda one: duration(one.probe_hours / assumed.cores)),
        ("probe: price", lambda one: price(one.probe_price)),
        (f"everything, {assumed.epochs} epochs: {assumed.cores} cores",
         lambda one: duration(one.full_hours / assumed.cores)),
        ("everything: price on cores", lambda one: price(one.full_price)),
        (f"everything: one GPU at {short(assumed.gpu_step)} images/s (a guess)", lambda one: duration(one.gpu_hours)),
        ("everything: price on that GPU", lambda one: price(one.gpu_price)),
        ("a month of disk: price", lambda one: price(one.storage_price)),
    ]  # fmt: skip
    lines = ["| | " + " | ".join(power(one.images) for one in costs) + " |", "|---|" + "---|" * len(costs)]
    lines += [f"| {name} | " + " | ".join(cell(one) for one in costs) + " |" for name, cell in rows]
    return "\n".join(lines)


def limit_table(assumed: Assumptions) -> str:
    """The second table of the page."""
    lines = ["| part | up to | what ends there | then |", "|---|---|---|---|"]
    lines += [
        f"| {one.part} | {count(one.images)} images | {one.why} | {one.then} |" for one in limits(assumed)
    ]  # fmt: skip
    return "\n".join(lines)


def constant_table() -> str:
    """The third table of the page."""
    lines = ["| constant | an image | what |", "|---|---|---|"]
    for name, constant in MEASURED.items():
        amount = size(constant.value) if constant.unit == "bytes" else f"{short(constant.value * 1000)} ms"
        amount = f"{constant.value:g} B" if constant.unit == "bytes" and constant.value < 1000 else amount
        lines.append(f"| {name} | {amount} | {constant.what} |")
    return "\n".join(lines)


def count(images: float) -> str:
    """A number of images in words: 190,000, 4.2 million."""
    if images >= 1e9:
        return f"{short(images / 1e9)} billion"
    return f"{short(images / 1e6)} million" if images >= 1e6 else short(images)


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between its marks, such as <!-- costs --> and <!-- end of costs -->."""
    for name, table in tables.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not mark or not end:
            raise SystemExit(f"the page has no <!-- {name} --> and <!-- end of {name} --> on lines of their own")
        page = f"{before}{mark}{table}\n{end}{after}"
    return page


def measure(photos: Path) -> dict[str, float]:
    """Measure every constant on this machine, with one thread."""
    import torch

    torch.set_num_threads(1)
    paths = sorted(photos.rglob("*.jpg"))
    found = {"file": statistics.mean(path.stat().st_size for path in paths)}
    return {**found, **_times(paths), **measure_memory(), **_files()}


def _times(paths: Sequence[Path]) -> dict[str, float]:
    import timm
    import torch

    from tl_toolkit.data.images import open_image
    from tl_toolkit.data.transforms import EvalTransform
    from tl_toolkit.input_spec import InputSpec
    from tl_toolkit.system import allocator

    allocator.tune()
    spec = InputSpec()
    transform = EvalTransform(spec)

    def decode() -> None:
        for path in paths[:128]:
            transform(open_image(path, min_size=spec.min_decode_size))

    images = torch.randn(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    lite0 = timm.create_model("tf_efficientnet_lite0").to(memory_format=torch.channels_last).eval()
    resnet = timm.create_model("resnet18").to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(resnet.parameters())

    def forward() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            lite0(images)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = resnet(images)
        torch.nn.functional.cross_entropy(logits.float(), torch.arange(32)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return {
        "decode": _seconds(decode) / min(128, len(paths)),
        "forward": _seconds(forward) / 32,
        "step": _seconds(step) / 32,
    }


def _seconds(work: Callable[[], None], rounds: int = 5) -> float:
    """The median of the processor's seconds, after a first round that is not counted."""
    taken = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


def measure_memory(images: int = 20_000) -> dict[str, float]:
    """Bytes of memory and seconds of an image, on empty files in 100 class folders."""
    import torch

    from tl_toolkit.data.loaders import KeyedShuffleSampler
    from tl_toolkit.data.sources.base import open_source
    from tl_toolkit.data.splits import stratified_split
    from tl_toolkit.io.row_cache import RowCache

    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        for number in range(images):
            path = root / f"class{number % CLASSES:03d}" / f"photograph_{number:08d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        scan = _seconds(lambda: open_source(str(root)) and None, 3) / images
        index, source = _held(lambda: open_source(str(root)))
        train = source.splits["train"]
        names = train.names()
        split = _seconds(lambda: stratified_split(train.targets, names, 0.1, 0) and None, 3) / images

        def known() -> object:
            prints = train.identities()
            cache = RowCache(Path(place) / "cache", {"of": "scale"}, "scale")
            cache.write(prints, torch.zeros(len(prints), 1, dtype=torch.bfloat16))
            return prints, cache

        identity, _ = _held(known)
    order, _ = _held(lambda: list(KeyedShuffleSampler(images, 0)))
    return {
        "index": index / images, "scan": scan, "split": split, "identity": identity / images, "order": order / images
    }  # fmt: skip


def _held(make: Callable[[], object]) -> tuple[float, object]:
    """Bytes of memory that a thing holds, and the thing; the first one, whose imports count, is thrown away."""
    make()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, made


def _files() -> dict[str, float]:
    import tl_toolkit as tl
    from tl_toolkit.io.fingerprints import IDENTITY_BYTES
    from tl_toolkit.io.own_files import CHECKPOINT_FILE
    from tl_toolkit.model_file import FINGERPRINT_BYTES

    with tempfile.TemporaryDirectory() as place:
        settings = {"arch": "resnet18", "weights": "bundled", "tune": "full", "epochs": 1, "train_images": 40}
        run = tl.finetune(data="digits", out=str(Path(place) / "run"), val_images=20, test_images=20, **settings)
        checkpoint = (run.path / CHECKPOINT_FILE).stat().st_size
    note = len(base64.b64encode(bytes(FINGERPRINT_BYTES * 3000))) / 3000
    return {"feature": 2 * FEATURE_SIZE + IDENTITY_BYTES, "note": note, "checkpoint": checkpoint}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["tables", "measure"], default="tables")
    parser.add_argument("--photos", type=Path, help="photographs; only for `measure`")
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this page")
    for field in fields(Assumptions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=field.default)
    chosen = parser.parse_args(arguments)
    if chosen.what == "measure":
        if chosen.photos is None:
            parser.error("measure needs --photos FOLDER")
        for name, measured in measure(chosen.photos).items():
            print(f"{name:11} {measured:14.6g} {MEASURED[name].unit:6} page: {MEASURED[name].value:g}", flush=True)
        return
    assumed = Assumptions(**{field.name: getattr(chosen, field.name) for field in fields(Assumptions)})
    tables = {"costs": cost_table(assumed), "limits": limit_table(assumed), "constants": constant_table()}
    if chosen.page:
        chosen.page.write_text(with_tables(chosen.page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    else:
        print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
