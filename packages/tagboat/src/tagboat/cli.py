"""The `tagboat` command. Results go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from tagboat.arguments import Parser
from tagboat.build_cli import add_base_command, add_build_command, add_push_command, add_run_command
from tagboat.cache_folder import cache_folder
from tagboat.errors import TagboatError
from tagboat.terminal import complain

# The commands import what they need when they run: `tagboat --help` answers without loading a cloud client.
# ruff: noqa: PLC0415

_LITTLE = 32 << 20  # bytes: with as much left, a disk may have been full just now


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a command line says, by default this process's; its exit code."""
    if arguments is None and sys.getfilesystemencoding() != "utf-8":
        # Names in images and in projects are UTF-8, whatever the locale of who builds.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  ourselves
    if arguments is None and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that the terminal lacks are spelled out
    try:
        return _command(arguments)
    except KeyboardInterrupt:
        complain("interrupted")
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(130)  # at once: what threads are still sending or making is nobody's until it is whole


def _command(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words[0] if words else None).parse_args(words)
    from ocikit import InvalidReferenceError, OcikitError

    try:
        code: int = options.run(options)
        if arguments is None:
            gc.freeze()  # all goes with the process, sooner if none of it is looked through first
    except TagboatError as error:
        complain(str(error), error.hint)
        for line in getattr(error, "log", []):
            print(f"  | {line}", file=sys.stderr)
        return error.exit_code
    except OcikitError as error:
        from tagboat.build.cache import drop_damaged

        damaged = drop_damaged(cache_folder(), str(error))
        complain(
            str(error), "it was damaged in the cache, and is gone from there: try again" if damaged else None
        )
        return 2 if isinstance(error, InvalidReferenceError) else 1
    except BrokenPipeError:  # whoever reads, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # the disk is full, a folder may not be written to
        complain(*_of_system(error))
        return 1
    return code


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands and their options; if it is one of those that are used most, `only` that command."""
    whole: argparse.ArgumentParser = Parser(
        prog="tagboat",
        description="From git tag to a served page: build, tag, push and deploy a Python app without Docker.",
        epilog="example: tagboat tag && tagboat deploy",
    )
    # Asked for the name, argparse would make up and format a usage first.
    commands = whole.add_subparsers(required=True, metavar="COMMAND", prog=whole.prog)
    own = {"build": add_build_command, "run": add_run_command, "push": add_push_command}
    if only in own:
        own[only](commands)
        return whole
    from importlib.metadata import version

    from tagboat.cost_cli import add_cost_command
    from tagboat.cutover_cli import add_cutover_command
    from tagboat.deploy_cli import add_demo_command, add_deploy_command
    from tagboat.doctor_cli import add_doctor_command
    from tagboat.image_cli import add_image_commands
    from tagboat.provision_cli import add_provision_commands
    from tagboat.release_cli import add_release_commands
    from tagboat.secret_cli import add_secret_command
    from tagboat.service_cli import add_service_commands
    from tagboat.supply_cli import add_supply_commands
    from tagboat.trust_cli import add_trust_command

    whole.add_argument("--version", action="version", version=f"tagboat {version('tagboat')}")
    for add in own.values():
        add(commands)
    add_base_command(commands)
    image = commands.add_parser("image", help="look into images, wherever they are")
    add_image_commands(image.add_subparsers(required=True, metavar="COMMAND"))
    add_supply_commands(commands)
    add_release_commands(commands)
    add_deploy_command(commands)
    add_service_commands(commands)
    add_trust_command(commands)
    add_provision_commands(commands)
    add_secret_command(commands)
    add_cutover_command(commands)
    add_cost_command(commands)
    add_doctor_command(commands)
    add_demo_command(commands)
    return whole


def _of_system(error: OSError) -> tuple[str, str | None]:
    """What the operating system refused, where it did, and what to do about it."""
    import errno
    import shutil
    import tempfile

    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    message = f"{where}{error.strerror or error}"
    cache = cache_folder()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        places = dict.fromkeys((cache, Path.cwd(), Path(tempfile.gettempdir())))
        full = [
            str(place)
            for place in places
            if (there := next((one for one in (place, *place.parents) if one.exists()), None))
            and shutil.disk_usage(there).free < _LITTLE
        ]
        return message, f"make room for {' and for '.join(full)}" if full else None
    if where and Path(where.removesuffix(": ")).is_relative_to(cache):
        return message, "the cache has to be a folder of yours; XDG_CACHE_HOME names another one"
    return message, None
