# The same cell in every notebook: find the course, or fetch it (in Colab, or in an empty folder).
import subprocess
import sys
from pathlib import Path

places = [Path.cwd(), Path.cwd() / "vdr-course", *Path.cwd().parents, *map(Path, sys.path)]
root = next((place for place in places if (place / "helpers" / "settings.py").is_file()), places[1])
if not root.exists():
    subprocess.run(["git", "clone", "-q", "https://github.com/vdr-course/vdr-course", root], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-qr", root / "requirements.txt"], check=True)
sys.path[:] = dict.fromkeys([str(root), *sys.path])  # first, and once
