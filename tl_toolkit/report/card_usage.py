"""How to use a model, as code for its model card."""

from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.own_files import MODEL_FILE
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.classic import CLASSIC

AUXILIARY = ("googlenet", "inception_v3")
"""Networks of torchvision whose training has more outputs; tl builds them without."""


def usage(metadata: ModelMetadata) -> list[str]:
    """Return the lines of the section: the command line, Python, and plain PyTorch."""
    lines = [
        "In a terminal, with tl_toolkit:",
        "",
        "```sh",
        f"tl predict --model {MODEL_FILE} IMAGE",
        "```",
        "",
        "In Python, with tl_toolkit:",
        "",
        "```python",
        "import tl_toolkit as tl",
        "",
        f'model = tl.load("{MODEL_FILE}")',
        'prediction = model.predict("image.jpg")',
        "print(prediction)",
        "```",
        "",
        f"Elsewhere, after `tl export {MODEL_FILE} --to state-dict --out model.pt`:",
        "",
        "```python",
        *_plain_code(metadata),
        "```",
    ]
    return [*lines, "", _preprocessing(metadata.input_spec)]


def _plain_code(metadata: ModelMetadata) -> list[str]:
    """Return code that builds the network and gives probabilities."""
    spec = metadata.input_spec
    return [
        "import torch",
        "from PIL import Image, ImageOps",
        "from torchvision.transforms import v2",
        *_network_code(metadata),
        'model.load_state_dict(torch.load("model.pt", weights_only=True))',
        "model.eval()",
        *_transform_code(spec),
        f'image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("{"RGB" if spec.channels == 3 else "L"}")',
        "with torch.inference_mode():",
        f"    probabilities = {probabilities_code(metadata)}",
        "print(probabilities)",
    ]


def _network_code(metadata: ModelMetadata) -> list[str]:
    """Return code that builds the network: by its own library where that can build it with this head."""
    library, _, name = metadata.architecture.partition(":")
    spec, outputs = metadata.input_spec, metadata.outputs
    special = metadata.head != "swap" or metadata.arch_options or name in (*AUXILIARY, *CLASSIC)
    if special or (library == "torchvision" and spec.channels != 3):
        options = f", arch_options={dict(metadata.arch_options)!r}" if metadata.arch_options else ""
        options += f", in_channels={spec.channels}" if spec.channels != 3 else ""
        head = f', head="{metadata.head}"'
        built = f'tl.build_model("{metadata.architecture}", {outputs}{head}, weights="none"{options})'
        return ["import tl_toolkit as tl  # It builds this network.", "", f"model = {built}"]
    if library == "timm":
        channels = f", in_chans={spec.channels}" if spec.channels != 3 else ""
        return ["import timm", "", f'model = timm.create_model("{name}", num_classes={outputs}{channels})']
    return ["import torchvision", "", f'model = torchvision.models.get_model("{name}", num_classes={outputs})']


def _transform_code(spec: InputSpec) -> list[str]:
    """Return code of the preprocessing."""
    high, wide = spec.resize_to
    size = min(high, wide) if spec.crop == "center" else (high, wide)
    return [
        "transform = v2.Compose(",
        "    [",
        f'        v2.Resize({size}, v2.InterpolationMode("{spec.interpolation}")),',
        f"        v2.CenterCrop(({spec.height}, {spec.width})),",
        "        v2.PILToTensor(),",
        "        v2.ToDtype(torch.float32, scale=True),",
        f"        v2.Normalize({_numbers(spec.mean)}, {_numbers(spec.std)}),",
        "    ]",
        ")",
    ]


def probabilities_code(metadata: ModelMetadata) -> str:
    """Return code that turns logits into probabilities."""
    logits = "model(transform(image)[None])[0]"
    if metadata.temperature != 1:
        logits = f"({logits} / {metadata.temperature:.6g})"
    softmax = metadata.loss == "cross-entropy" and metadata.outputs > 1
    return f"{logits}.softmax(0)" if softmax else f"{logits}.sigmoid()"


def _preprocessing(spec: InputSpec) -> str:
    channels = (
        "three channels, RGB"
        if spec.channels == 3
        else "one channel"
        if spec.channels == 1
        else f"{spec.channels} channels"
    )
    high, wide = spec.resize_to
    steps = {
        "center": f"resized ({spec.interpolation}) so that the short side has {min(high, wide)} pixels",
        "squash": f"resized ({spec.interpolation}) to {high} x {wide} pixels, whatever their shape",
        "border": f"resized ({spec.interpolation}) so that the long side has {max(high, wide)} pixels, with a border",
    }[spec.crop]
    last = "Code of your own needs the same steps"
    if spec.crop == "border":
        last = "The code above lacks the border, which a picture that is not square needs"
    return (
        f"Input: {channels}, {steps}, cropped to {spec.height} x {spec.width} from the centre, from 0 to 1, less the "
        f"mean {_numbers(spec.mean)}, divided by {_numbers(spec.std)}. tl does this itself. {last}; results may differ "
        "slightly, since tl reads large JPEG files at a reduced size."
    )


def _numbers(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"
