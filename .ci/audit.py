"""Print known vulnerabilities of a file of pinned packages; say so where the advisory database cannot be asked.

    python .ci/audit.py requirements/test.lock

An advisory comes without any change here, so that it is told and fails nothing.
"""

import json
import subprocess
import sys

SECONDS = 60


def main() -> None:
    """Ask pip-audit, and print one line, or one for each vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "-r", sys.argv[1], "--no-deps", "--disable-pip", "--format", "json"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages = json.loads(asked.stdout)["dependencies"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        packages = []
    known = [package for package in packages if "vulns" in package]
    if not known:
        print("audit skipped: the advisory database could not be asked")
        return
    for package in known:
        for found in package["vulns"]:
            print(f"audit: {package['name']} {package['version']}: {found['id']}, mended in {found['fix_versions']}")
    print(f"audit: {len(known)} of {len(packages)} packages asked for")


if __name__ == "__main__":
    main()
