# The same cell in every notebook: find the course, or fetch it (in Colab, or in an empty folder).
import subprocess
import sys
from pathlib import Path

here, source = Path.cwd(), "https://github.com/vdr-course/vdr-course"
places = [here, here / "vdr-course", *here.parents, *map(Path, sys.path)]
root = next((place for place in places if (place / "helpers" / "settings.py").is_file()), places[1])
if not root.exists():
    if "google.colab" not in sys.modules and any(file.suffix != ".ipynb" for file in here.glob("[!.]*")):
        raise FileNotFoundError(f"No course in {here}. Run in its folder (papermill: --cwd) or an empty one.")
    pip = [sys.executable, "-m", "pip", "install", "-qr", f"{root}/requirements.txt"]
    if any(subprocess.run(command).returncode for command in (["git", "clone", "-q", source, root], pip)):
        raise RuntimeError(f"Could not fetch {source}, or install its requirements.txt: do both by hand.")
sys.path[:] = dict.fromkeys([str(root), *sys.path])  # first, and once
