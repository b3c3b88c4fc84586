#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""csb template build: a recipe of a Debian package, an npm package and a file becomes a template, which the running
service offers at once; a version that a sandbox runs in outlives its replacements, and csb template rm.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

from service import CSB, IMAGE, ISOLATION, STATE, Service, small_table, wait_until

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
    recipe.write_text("name = tools\npackages = hello=0.1\n")
    code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
    t.check(code == 1 and "'0.1' for 'hello' was not found" in out + err and "tools" not in listed(csb),
            "a version that the archive has not is told of", (code, out, err))
    recipe.write_text(RECIPE)
    code, out, err = csb("template", "build", f"--only={ISOLATION}", "--update-lock", str(recipe))
    t.check(code == 0 and "template tools done" in out, "a template is built", (code, out, err))
    locked = json.loads((PLACE / "tools-lock.json").read_text())["packages"]
    t.check(locked["node_modules/semver"]["version"] == "7.6.3", "its npm packages are locked beside the recipe", locked)
    code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
    t.check(code == 0 and "up to date" in out, "and not built twice", (code, out, err))
    made = {x["kind"]: x for x in listed(csb)["tools"]["packages"]}
    t.check(made["npm"] == {"kind": "npm", "name": "semver", "version": "7.6.3"} and made["deb"]["name"] == "hello"
            and made["deb"]["version"][0].isdigit(), "what was made of its packages is told", made)
    packages = (TEMPLATES / "tools/packages.txt").read_text()
    t.check(f"hello\t{made['deb']['version']}\n" in packages and "\nlibc6" in packages
            and (TEMPLATES / "tools/package-lock.json").read_text() == (PLACE / "tools-lock.json").read_text(),
            "and all that is in it is written down there")
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


def versions():
    return sorted(x.name for x in TEMPLATES.iterdir() if x.is_dir() and not x.is_symlink() and len(x.name) == 16)


def remove(csb, *args):
    """What csb template rm says as JSON, or its exit code and words."""
    code, out, err = csb("template", "rm", "--json", *args)
    return json.loads(out) if code == 0 else (code, err)


def replace(t, csb):
    recipe = PLACE / "small.recipe"
    recipe.write_text("name = small\nfile = word.txt /etc/word\n")
    boxes = []
    for word in ("one", "two", "three"):
        (PLACE / "word.txt").write_text(word)
        code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
        t.check(code == 0, f"the version with {word} is built", (code, out, err))
        if word != "two":
            boxes.append(csb("sandbox", "create", "-T", "small")[1].strip())
    t.check([csb("sandbox", "exec", box, "cat", "/etc/word")[1] for box in boxes] == ["one", "three"],
            "a version that a sandbox runs in outlives two builds")
    t.check(remove(csb, "--stale") == {"name": None, "removed": 1, "in_use": 1},
            "what nothing runs in goes, what is in use stays", versions())
    code, err = remove(csb, "small")
    t.check(code == 1 and "in use" in err and "small" in listed(csb), "a template in use is not removed", (code, err))
    t.check(remove(csb, "--force", "small") == {"name": "small", "removed": 0, "in_use": 2}
            and "small" not in listed(csb), "forced, its name goes at once", listed(csb))
    t.check([csb("sandbox", "exec", box, "cat", "/etc/word")[1] for box in boxes] == ["one", "three"],
            "and who runs in it runs on")
    csb("sandbox", "kill", *boxes)
    t.check(wait_until(lambda: remove(csb, "--stale")["in_use"] == 0, 60), "once they ended, its files go", versions())
    t.check(len(versions()) == 1, "and those of the other template are left", versions())
    for name, word in (("small", "no template 'small'"), ("base", "name: 'base'"), ("../x", "name: '../x'")):
        code, err = remove(csb, name)
        t.check(code == (1 if name == "small" else 2) and word in err, f"csb template rm {name} is refused", err)
    done = wait_until(lambda: isinstance(said := remove(csb, "tools"), dict) and said, 60)
    t.check(done == {"name": "tools", "removed": 1, "in_use": 0} and not versions(),
            "a template that nothing uses is removed with its files", versions())


def lock(t, csb):
    recipe = PLACE / "fixed.recipe"
    recipe.write_text("name = fixed\nnpm = ms\n")
    (PLACE / "fixed-lock.json").write_text(json.dumps({
        "name": "fixed", "lockfileVersion": 3, "requires": True, "packages": {
            "": {"name": "fixed", "dependencies": {"ms": "*"}}, "node_modules/ms": {"version": "2.1.2"}}}))
    code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
    t.check(code == 0 and [x["version"] for x in listed(csb)["fixed"]["packages"]] == ["2.1.2"],
            "the lock beside a recipe says what is installed, though there is a newer one", (code, out, err))
    recipe.write_text("name = fixed\nnpm = ms@2.1.3\n")
    code, out, err = csb("template", "build", f"--only={ISOLATION}", str(recipe))
    t.check(code == 1 and "ms@2.1.3" in err and "--update-lock makes it anew" in err,
            "one that does not fit the recipe is told of", (code, out, err))
    recipe.write_text("name = fixed\nfile = fixed-lock.json /etc/fixed\n")
    code, out, err = csb("template", "build", "--update-lock", str(recipe))
    t.check(code == 1 and "names no npm packages" in err, "without npm packages there is nothing to lock", (code, err))


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
        t.group(replace, csb)
        t.group(lock, csb)
    shutil.rmtree(PLACE, ignore_errors=True)
    t.finish()


if __name__ == "__main__":
    main()
