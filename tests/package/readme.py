# SPDX-License-Identifier: Apache-2.0
"""readme.py COMPILER SOURCE_DIR WORK_DIR [FLAG]...: the C++ in our Markdown compiles, and programs run.

Every ```cpp block of README.md, CONTRIBUTING.md and include/tightkv/**/*.md counts:
* with `int main` it is a program: compiled, linked and run; it must exit 0;
* anything else is a fragment: its #include lines are hoisted and the rest becomes the body of a function, or stays at
  file scope if it begins with a declaration that only makes sense there (struct, template, namespace, ...).
What a fragment takes for granted is written before it in a comment that readers do not see:

    <!-- given:
    std::vector<tightkv::half> keys(8 * 4096 * 128);
    -->
    ```cpp
    auto const rows = ...;
    ```
Pseudo code is fenced with ```c++ and is not compiled.
"""
import pathlib
import re
import subprocess
import sys

compiler, source, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
BLOCK = re.compile(r"(?:^<!-- given:\n(?P<given>.*?)^-->\s*)?^```cpp\n(?P<code>.*?)^```", re.M | re.S)
FILE_SCOPE = re.compile(r"(template|struct|class|enum|namespace|concept|inline|constexpr|static_assert|int main)\b")
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-I", str(source / "include"), *sys.argv[4:]]


def translation_unit(path, text, match):
    """The block as a file whose #line directives point back into the Markdown."""
    includes, body = ["#include <tightkv/tightkv.hpp>"], []
    for group in ("given", "code"):
        if match[group] is None:
            continue
        first = text.count("\n", 0, match.start(group)) + 1
        body.append(f'#line {first} "{path}"')
        for line in match[group].splitlines():
            is_include = line.startswith("#include")
            (includes if is_include else body).append(line)
            if is_include:
                body.append("")  # keeps the line numbers right
    statements = re.sub(r"^\s*(//.*|#include.*)?\n", "", match["code"], flags=re.M)
    if not FILE_SCOPE.match(statements) and "int main" not in statements:
        body = ["void fragment() {", *body, "}"]
    return "\n".join(includes + body) + "\n"


def check(path):
    text, failures = path.read_text(), 0
    for number, match in enumerate(BLOCK.finditer(text), 1):
        name = f"{path.relative_to(source)} block {number}"
        unit = work / (re.sub(r"\W+", "_", name) + ".cpp")
        unit.write_text(translation_unit(path, text, match))
        program = unit.with_suffix("") if "int main" in match["code"] else None
        steps = [[compiler, *FLAGS, unit, "-o", program], [program]] if program else [[compiler, *FLAGS, "-fsyntax-only", unit]]
        for step in steps:
            result = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, cwd=work)
            if result.returncode != 0:
                print(f"{name}: {step[0]} said\n{result.stdout}")
                failures += 1
                break
        else:
            print(f"{name}: {'ran' if program else 'compiles'}")
    return failures


work.mkdir(parents=True, exist_ok=True)
pages = [source / "README.md", source / "CONTRIBUTING.md", *sorted((source / "include").rglob("*.md"))]
sys.exit(sum(check(page) for page in pages if page.exists()) > 0)
