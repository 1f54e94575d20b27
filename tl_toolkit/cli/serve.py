"""``tl serve``."""

from pathlib import Path
from typing import Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import DeviceOption, PrecisionOption, ThreadsOption, TrustOption
from tl_toolkit.io.files import display_path
from tl_toolkit.system import allocator
from tl_toolkit.system.cores import limited_to
from tl_toolkit.system.extras import check_extra
from tl_toolkit.text import naming_flags

MOST_MEBIBYTES = 1024
WHAT = "tl serve"
PACKAGES = ("fastapi", "uvicorn", "python_multipart")


def serve(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A run folder, or a model file.", show_default="the newest run")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="An address of this machine; 0.0.0.0 for all of them, so that others can connect.")
    ] = "127.0.0.1",
    max_upload: Annotated[
        int, typer.Option(metavar="MIB", min=1, max=MOST_MEBIBYTES, help="Size of a request at most, in MiB.")
    ] = 20,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Answer requests with a model, and show a page to drop photos on.

    POST an image to /predict for the JSON of `tl predict`; /docs lists the other
    addresses. Whatever waits is computed as one batch.

    Only this machine can connect, unless --host says otherwise. There is no
    password and no encryption. Ctrl-C or SIGTERM stops it when the requests
    under way are answered.
    """
    for package in PACKAGES:
        check_extra(package, "serve", WHAT)
    from tl_toolkit.runs.folder import newest_run
    from tl_toolkit.serving.address import address_of, is_local, listen

    place = model or str(newest_run())
    check_early(model=place)
    allocator.use_one_heap()
    listener = ctx.with_resource(listen(host, port))  # Before the seconds that loading takes.
    from tl_toolkit.inference.loading import find_model_file, load_predictor, needs_torch

    if needs_torch(place):
        with loading():
            from tl_toolkit.training.threads import torch_threads
        ctx.with_resource(torch_threads(threads))
    else:
        ctx.with_resource(limited_to(threads))
    from tl_toolkit.serving.app import ServedModel, make_app
    from tl_toolkit.serving.limits import MEBIBYTE, Limits
    from tl_toolkit.serving.server import run

    loaded = load_predictor(place, device=device, precision=precision, trust=trust, threads=threads)
    limits = Limits(upload_bytes=max_upload * MEBIBYTE)
    served = ServedModel(loaded, Path(place).resolve().name, find_model_file(place))
    app = make_app(served, limits, is_local(listener))
    address = address_of(listener, host)

    def tell() -> None:
        shown = f"{display_path(place)}{'' if model else '  the newest run'}"
        command = f"curl -F image=@photo.jpg {address}/predict"
        console.print_rows([("model", shown), ("page", address), ("predict", command), ("stop", "Ctrl-C")])
        if not is_local(listener):
            console.print_warning("Whoever can reach this machine can use the model: there is no password.")

    with naming_flags(False):  # Clients have none.
        run(app, listener, limits, tell)
