"""``tl push``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import JsonOption, TrustOption
from tl_toolkit.io.files import check_is_new, display_path, format_size
from tl_toolkit.io.hub_name import check_branch, check_repository


def push(
    run: Annotated[str, typer.Argument(help="A run folder, or a model file.")],
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="The repository; ORG is you or an organization of yours.")
    ],
    dry_run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write this folder, and send nothing; it must not exist.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Only you and your organization can read it.")] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch; it is created.", show_default="main")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="Images to compare on.", show_default="32 of the data of the run"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Put a new commit on files that are there; the Hub keeps the old one.")
    ] = False,
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a model on the Hugging Face Hub.

    A repository gets model.safetensors, config.json and the model card. Where
    timm has the network, timm.create_model("hf-hub:ORG/NAME", pretrained=True)
    loads it, else tl does. Before anything is sent, the files are loaded again
    and must give the model's outputs on real images. Complete model_card.md of
    the run first: it becomes the page that everyone sees. It needs
    `hf auth login`, or HF_TOKEN with a token that can write.
    """
    check_repository(repository)
    check_branch(revision)
    check_early(model=run)
    if dry_run is not None:
        check_is_new(dry_run, "dry_run")
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.recipes.push import push

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        done = push(
            run,
            repository,
            dry_run=dry_run,
            private=private,
            revision=revision,
            verify=verify,
            force=force,
            trust=trust,
            callback=display,
        )
    if as_json:
        console.print_json(_plain(done))
        return
    folder = done.folder
    loader = "tl" if folder.not_timm else "timm"
    console.print_rows(
        [("compared", f"{folder.comparison.describe()}: {folder.comparison.source}, loaded by {loader}")]
    )
    console.print_rows([("changed", sentence) for sentence in folder.changed])
    if folder.not_timm:
        console.print_rows([("timm", f"cannot load it: {folder.not_timm}")])
    size = format_size(sum(folder.sizes.values()))
    if done.upload is None:
        console.print_rows([("wrote", f"{display_path(done.path or '')}: {', '.join(folder.sizes)}, {size}")])
        console.print_commands([["hf", "upload", repository, display_path(done.path or "", tilde=False)]])
        return
    seen = "private" if done.upload.private else "public"
    console.print_rows([("pushed", f"{done.upload.url} ({seen}, commit {done.upload.commit[:7]}, {size})")])
    if not folder.not_timm:
        at = f"@{revision}" if revision else ""
        console.print_rows([("timm", f'timm.create_model("hf-hub:{repository}{at}", pretrained=True)')])
    name = repository.partition("/")[2]
    branch = ["--revision", revision] if revision else []
    console.print_commands(
        [["hf", "download", repository, *branch, "--local-dir", name], ["tl", "predict", "--model", name, "IMAGE"]]
    )


def _plain(done: Any) -> dict[str, Any]:
    """Return what was done as plain values for JSON."""
    folder, upload = done.folder, done.upload
    return {
        "repository": done.repository,
        "folder": str(done.path) if done.path else None,
        "files": dict(folder.sizes),
        "architecture": folder.architecture,
        "timm": not folder.not_timm,
        "why_not_timm": folder.not_timm or None,
        "changed": list(folder.changed),
        "comparison": folder.comparison.to_dict(),
        "url": upload.url if upload else None,
        "commit": upload.commit if upload else None,
        "private": upload.private if upload else None,
    }
