#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""csb template build: a recipe of a Debian package, an npm package and a file becomes a template, which the running
service offers at once.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

from service import CSB, IMAGE, ISOLATION, STATE, Service, small_table

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

SECONDS = 900  # of a build on a slow machine behind a slow mirror
PLACE = STATE.parent / "test-templates"
TEMPLATES = PLACE / "made"
RECIPE = "name = tools\npackages = hello\nnpm = semver@7.6.3\nfile = motd.txt /etc/motd\nfile = run.sh /opt/run 0755\n"


class Csb:
    def __init__(self, port):
        self.env = {**os.environ, "CSB_URL": f"http://127.0.0.1:{port}", "ROOTFS_PATH": str(IMAGE / "rootfs.erofs"),
                    "TEMPLATES_DIR": str(TEMPLATES)}

    def __call__(self, *args):
        """(exit code, standard output, standard error)"""
        done = subprocess.run([str(CSB), *args], capture_output=True, text=True, timeout=SECONDS, check=False,
                              env=self.env, cwd=pathlib.Path(__file__).resolve().parents[2])
        return done.returncode, done.stdout, done.stderr


def listed(csb):
    code, out, err = csb("template", "ls", "--json")
    return {x["name"]: x for x in json.loads(out)} if code == 0 else {"error": err}


def build(t, csb):
    (PLACE / "motd.txt").write_text("made by a recipe\n")
    (PLACE / "run.sh").write_text("#!/bin/sh\nhello | head -c 5\nsemver 1.2.3\n")
    recipe = PLACE / "tools.recipe"
    recipe.write_text("name = tools\npackages = hello;id\n")
    code, _, err = csb("template", "build", str(recipe))
    t.check(code == 1 and "tools.recipe:2: packages: 'hello;id'" in err, "a bad recipe is told of by file, line and "
            "field", (code, err))
    recipe.write_text(RECIPE)
    code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
    t.check(code == 0 and "template tools done" in out, "a template is built", (code, out, err))
    code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
    t.check(code == 0 and "up to date" in out, "and not built twice", (code, out, err))
    left = sorted(x.name for x in TEMPLATES.iterdir() if not x.name.startswith((".lock", "build.log")))
    t.check(len(left) == 2 and "tools" in left, "nothing else is left behind", left)


def use(t, csb):
    code, out, err = csb("sandbox", "create", "-T", "tools")
    t.check(code == 0, "a sandbox is made of it", (code, out, err))
    if code != 0:
        return
    box = out.split()[0]
    code, out, err = csb("sandbox", "exec", box, "/opt/run")
    t.check(code == 0 and out.split() == ["Hello1.2.3"], "what the recipe names runs in it", (code, out, err))
    code, out, err = csb("sandbox", "exec", box, "cat", "/etc/motd")
    t.check(out == "made by a recipe\n", "and its file is there", (code, out, err))
    csb("sandbox", "kill", box)
    code, out, err = csb("sandbox", "create", "-T", "base")
    box = out.split()[0] if code == 0 else "none"
    code, out, err = csb("sandbox", "exec", box, "sh", "-c", "command -v hello || echo none; cat /etc/motd")
    t.check(out.startswith("none") and "recipe" not in out, "other templates have none of that", (code, out, err))


def main():
    t = Tap()
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    with Service(TEMPLATES_DIR=TEMPLATES, RUNTIMES_DIR=small_table(), POOL_SIZE=1) as service:
        csb = Csb(service.port)
        t.check(sorted(listed(csb)) == ["base", "code-interpreter-v1"], "at first there are the service's own",
                listed(csb))
        code, _, err = csb("sandbox", "create", "-T", "tools")
        t.check(code != 0 and "no template or snapshot 'tools'" in err, "an unknown template is told of", (code, err))
        t.group(build, csb)
        tools = listed(csb).get("tools", {})
        t.check(tools.get("kind") == "recipe" and tools.get("size", 0) > 0 and "T" in (tools.get("built") or ""),
                "the service offers it without a restart", listed(csb))
        t.group(use, csb)
    shutil.rmtree(PLACE, ignore_errors=True)
    t.finish()


if __name__ == "__main__":
    main()
