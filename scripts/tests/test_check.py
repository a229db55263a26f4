# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""scripts/check adds up what suites report, and takes silence for failure."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import time

import pytest
from conftest import SCRIPTS

loader = importlib.machinery.SourceFileLoader("check", str(SCRIPTS / "check"))
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
loader.exec_module(check)

CASES = ("<testsuites><testsuite><testcase/><testcase status='run'/><testcase><failure/></testcase><testcase><error/></testcase>"
         "<testcase><skipped/></testcase><testcase status='notrun'/></testsuite></testsuites>")


def suite(tmp_path, report, status):
    """A suite that writes the text as its report and exits with a status."""
    path = tmp_path / "report.xml"
    program = f"import sys; open({str(path)!r}, 'w').write({report!r}); sys.exit({status})"
    return check.Suite("toy", [sys.executable, "-c", program], tmp_path, path)


@pytest.mark.parametrize("report, status, expected", [
    (CASES, 1, (2, 2, 2)),
    ("<testsuite><testcase/></testsuite>", 0, (1, 0, 0)),
    ("<testsuite><testcase/></testsuite>", 3, (1, 1, 0)),  # says all is well, and dies
    ("<testsuite></testsuite>", 0, (0, 1, 0)),             # runs nothing
    ("<testsuite><testcase><skipped/></testcase></testsuite>", 0, (0, 1, 1)),
    ("<testsuite><testc", 1, (0, 1, 0)),
])
def test_run_suite(tmp_path, report, status, expected):
    assert tuple(check.run_suite(suite(tmp_path, report, status), dict(os.environ))) == expected


def test_an_old_report_does_not_count(tmp_path):
    (tmp_path / "report.xml").write_text("<testsuite><testcase/></testsuite>")
    dead = check.Suite("toy", ["false"], tmp_path, tmp_path / "report.xml")
    assert tuple(check.run_suite(dead, dict(os.environ))) == (0, 1, 0)


def test_a_suite_that_hangs_is_killed(tmp_path):
    hung = check.Suite("toy", ["sh", "-c", "sleep 60 & sleep 60"], tmp_path, tmp_path / "report.xml")
    start = time.monotonic()
    assert tuple(check.run_suite(hung, dict(os.environ), limit=0.2)) == (0, 1, 0)
    assert time.monotonic() - start < 10


def test_programs_are_found_by_name(tmp_path):
    for name in ("bin/FormatTest", "bin/runtime_tests", "bin/mohd-opt", "x/CMakeFiles/OtherTest"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    assert [path.name for path in check.test_programs(tmp_path)] == ["FormatTest", "runtime_tests"]


def programs_in(folder, *names):
    """A build folder with programs of these names."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("")
        (folder / name).chmod(0o755)
    return folder


def test_each_sanitized_build_has_suites_of_its_own(tmp_path):
    build = programs_in(tmp_path / "build", "PoolTest")
    others = [programs_in(tmp_path / "build-asan", "PoolTest", "BundleTest"), programs_in(tmp_path / "build-tsan", "PoolTest"),
              programs_in(tmp_path / "build-empty")]
    suites = [suite for suite in check.find_suites(build, others, "python") if suite.name.startswith(("gtest", "sanitized"))]
    assert [suite.name for suite in suites] == [
        "gtest PoolTest", "sanitized build-asan BundleTest", "sanitized build-asan PoolTest", "sanitized build-tsan PoolTest",
        "sanitized build-empty"]
    assert len({suite.report for suite in suites}) == len(suites)
    assert suites[-1].command == ["false"]  # a build that has nothing to run has failed


def run_setup(*arguments, **environment):
    return subprocess.run([SCRIPTS / "setup", *arguments], env={**os.environ, **environment}, capture_output=True, text=True)


def test_setup_names_its_interpreter(tmp_path):
    missing = run_setup("--print-python", XDG_CACHE_HOME=str(tmp_path), MOHD_PYTHON="")
    assert missing.returncode == 1 and missing.stdout == "" and "run scripts/setup first" in missing.stderr
    named = run_setup("--print-python", MOHD_PYTHON=sys.executable)
    assert (named.returncode, named.stdout) == (0, sys.executable + "\n")
    assert run_setup("--no-such-option").returncode == 2


def test_setup_is_quick_when_nothing_is_to_do():
    start = time.monotonic()
    done = run_setup(MOHD_PYTHON=sys.executable)
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert time.monotonic() - start < 1


@pytest.fixture
def machine(tmp_path):
    """A machine of stand-ins: a user who is not root, and a dpkg that knows one of the packages and fails for the rest."""
    log = tmp_path / "log"
    stubs = {"dpkg-query": "printf 'ii git\\n'; exit 1", "id": "echo 1000", "apt-get": f'echo "apt-get $*" >> {log}',
             "sudo": f'echo sudo >> {log}; exec "$@"'}
    for name, body in stubs.items():
        (tmp_path / name).write_text("#!/bin/sh\n" + body + "\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_setup_installs_what_is_missing_and_nothing_else(machine):
    done = run_setup(MOHD_PYTHON=sys.executable, PATH=f"{machine}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    update, install = [line for line in (machine / "log").read_text().splitlines() if line != "sudo"]
    assert update.startswith("apt-get update") and " install " in install and install.endswith("chromium")
    assert "llvm-22-dev" in install and " git " not in install
    assert "installing Debian packages: llvm-22-dev" in done.stderr


def test_setup_says_what_to_do_without_sudo(machine):
    (machine / "sudo").unlink()
    for name in ("bash", "sed", "tr", "cut", "sha256sum", "dirname", "env"):
        (machine / name).symlink_to(f"/usr/bin/{name}")
    done = run_setup(MOHD_PYTHON=sys.executable, PATH=str(machine))
    assert done.returncode == 1 and "neither root nor sudo; run as root: apt-get install llvm-22-dev" in done.stderr


def test_make_check_installs_ptxas_first():
    """Or tests that need it would be skipped."""
    dry = subprocess.run(["make", "-n", "check"], cwd=SCRIPTS.parent, capture_output=True, text=True, check=True).stdout.splitlines()
    steps = [line for line in dry if line.startswith("scripts/")]
    assert steps.index("scripts/setup --cuda") < next(i for i, line in enumerate(steps) if line.startswith("scripts/check"))
