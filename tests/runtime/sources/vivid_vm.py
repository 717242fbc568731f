"""Runs test_vivid.py where no kernel module may be loaded: in QEMU, with a Debian kernel's vivid.

    apt-get download linux-image-6.1.0-50-amd64     # any Debian kernel
    apt-get install --no-install-recommends qemu-system-x86 busybox-static cpio kmod
    python tests/runtime/sources/vivid_vm.py linux-image-*.deb

The guest sees this machine's root folder read-only over 9p, so its Python and packages are these
here. Emulated, it takes two minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "vivid")
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro root /host
for folder in proc sys dev; do /bin/busybox mount --bind /$folder /host/$folder; done
/bin/busybox mount -t tmpfs tmp /host/tmp
/bin/busybox ip link set lo up
/bin/busybox chroot /host /bin/sh -c '{command}'
echo "exit code $?"
/bin/busybox poweroff -f
"""


def module_order(kernel: Path) -> list[Path]:
    """The modules that are needed, each after those that it needs."""
    known = {path.stem.replace("-", "_"): path for path in kernel.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = known.get(name.replace("-", "_"))
        if path is None or path in order:
            return  # built into the kernel, or there already
        asked = ["modinfo", "-F", "depends", str(path)]
        needs = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        for needed in filter(None, needs.split(",")):
            add(needed)
        order.append(path)

    for name in MODULES:
        add(name)
    return order


def initial_disk(folder: Path, kernel: Path, command: str) -> Path:
    """A compressed archive with the modules, busybox and a first process that runs `command`."""
    tree = folder / "initial"
    for name in ("bin", "modules", "host", "proc", "sys", "dev"):
        (tree / name).mkdir(parents=True)
    order = module_order(kernel)
    for path in order:
        shutil.copy(path, tree / "modules")
    (tree / "modules" / "order").write_text(" ".join(path.name for path in order))
    shutil.copy("/bin/busybox", tree / "bin")
    (tree / "init").write_text(INIT.format(command=command))
    (tree / "init").chmod(0o755)
    disk = folder / "initial.cpio"
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with disk.open("wb") as stream:
        pack = ["cpio", "--create", "--format=newc", "--quiet"]
        subprocess.run(pack, cwd=tree, input=names.encode(), stdout=stream, check=True)
    return disk


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="linux-image-*.deb")
    parser.add_argument("--timeout", type=float, default=900, metavar="S")
    options = parser.parse_args()
    test = Path(__file__).with_name("test_vivid.py").relative_to(ROOT)
    command = (
        f"cd {ROOT} && PYTHONDONTWRITEBYTECODE=1 HOME=/tmp HYPOTHESIS_STORAGE_DIRECTORY=/tmp/h "
        f"{sys.executable} -m pytest -q -p no:cacheprovider {test}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["dpkg", "-x", str(options.package), str(folder / "kernel")], check=True)
        (image,) = (folder / "kernel" / "boot").glob("vmlinuz-*")
        disk = initial_disk(folder, folder / "kernel", command)
        machine = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"]
        machine += ["-m", "2048", "-smp", str(min(os.cpu_count() or 1, 4)), "-nographic"]
        machine += ["-no-reboot", "-kernel", str(image), "-initrd", str(disk)]
        machine += ["-append", "console=ttyS0 quiet panic=-1", "-virtfs"]
        machine += ["local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]
        said = subprocess.run(
            machine,
            check=False,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=options.timeout,
        ).stdout.decode(errors="replace")
    sys.stdout.write(said[said.find("Booting") :])
    return 0 if "exit code 0" in said else 1


if __name__ == "__main__":
    sys.exit(main())
