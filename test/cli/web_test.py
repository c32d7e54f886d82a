"""Makes reports with the command, for test/web/render_test.sh to open in a browser: exit 77 where
there is none. Usage: web_test.py FOLDER"""
import os
import subprocess
import sys
from pathlib import Path

from harness import BIN, HAMI, SMALL, SOURCE


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    cases = {"saturation": [*SMALL, "--policy", "fgd,best-fit", "--seeds", "42-43"],
             "replay": [*SMALL, "--mode", "replay", "--policy", "fgd,spread"],
             "hami": ["--scenario", str(HAMI)],
             "platform": ["--scenario", str(SOURCE / "examples/hami-slicing.yaml")]}
    pages = []
    for name, args in cases.items():
        pages.append(folder / f"{name}.html")
        pages[-1].unlink(missing_ok=True)
        subprocess.run([BIN, "sim", *args, "--report", str(pages[-1])], check=True, timeout=280,
                       stdout=subprocess.DEVNULL)
    shots = ["--shots", str(folder / "shots")] if os.environ.get("BASALT_SHOTS") else []
    script = str(SOURCE / "test/web/render_test.sh")
    sys.exit(subprocess.run(["sh", script, *shots, *map(str, pages)], check=False).returncode)


if __name__ == "__main__":
    main()
