"""The file name of flash-attn's prebuilt wheel for one Python, torch, CUDA and C++ ABI.

flash-attn is source only on the package registry and takes an hour to compile; its project puts prebuilt wheels beside
each release, and the name says what they were built for:

>>> wheel_name("3.11", "2.9.1+cu128", "12.8", cxx11_abi=True)
'flash_attn-2.8.3+cu12torch2.9cxx11abiTRUE-cp311-cp311-linux_x86_64.whl'

Release 2.8.3 was built for torch 2.4 to 2.9 and CPython 3.9 to 3.13 with CUDA 12. A name that this module works out is
no promise that the file exists: setup.sh tries it once and goes on with SDPA if it does not.
"""

from __future__ import annotations

import platform
import sys

VERSION = "2.8.3"
RELEASES = "https://github.com/Dao-AILab/flash-attention/releases/download"


def wheel_name(
    python: str,
    torch: str,
    cuda: str | None,
    *,
    cxx11_abi: bool,
    system: str = "Linux",
    machine: str = "x86_64",
    version: str = VERSION,
) -> str:
    """Work out the wheel's file name, as ``get_wheel_url`` in flash-attn's own setup.py does.

    Args:
        python: version of Python, of which the first two parts count, such as "3.11.7".
        torch: version of torch, of which the first two parts count, such as "2.9.1+cu128".
        cuda: version of CUDA that torch was built with (``torch.version.cuda``), of which the first part counts;
            None for a CPU build.
        cxx11_abi: whether torch was built with the C++11 ABI (``torch.compiled_with_cxx11_abi()``).
        system: ``platform.system()``.
        machine: ``platform.machine()``.
        version: release of flash-attn.

    Raises:
        ValueError: there can be no wheel, because torch is a CPU build or the system is not Linux.
    """
    if system != "Linux":
        raise ValueError(f"flash-attn has prebuilt wheels for Linux only, this is {system}")
    if cuda is None:
        raise ValueError(f"flash-attn needs a CUDA build of torch, this one ({torch}) is for the CPU")
    tag = "cp" + "".join(_parts(python, 2))
    abi = "TRUE" if cxx11_abi else "FALSE"
    build = f"cu{_parts(cuda, 1)[0]}torch{'.'.join(_parts(torch, 2))}cxx11abi{abi}"
    return f"flash_attn-{version}+{build}-{tag}-{tag}-linux_{machine}.whl"


def wheel_url(name: str, version: str = VERSION) -> str:
    """Return the address of the wheel ``name`` among the files of flash-attn's release ``version``."""
    return f"{RELEASES}/v{version}/{name.replace('+', '%2B')}"


def wheel_name_here() -> str:
    """Work out the wheel's file name for the running Python and its installed torch.

    Raises:
        ImportError: torch is not installed.
        ValueError: as ``wheel_name``.
    """
    import torch

    return wheel_name(
        python=".".join(str(part) for part in sys.version_info[:2]),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cxx11_abi=torch.compiled_with_cxx11_abi(),
        system=platform.system(),
        machine=platform.machine(),
    )


def _parts(version: str, count: int) -> list[str]:
    """Return the first ``count`` numbers of a version: ("2.9.1+cu128", 2) -> ["2", "9"]."""
    parts = version.partition("+")[0].split(".")
    if len(parts) < count or not all(part.isdigit() for part in parts[:count]):
        raise ValueError(f"not a version: {version!r}")
    return parts[:count]
