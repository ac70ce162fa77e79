# SPDX-License-Identifier: Apache-2.0
"""Writes unicode_tables.inc: the ranges of code points that are letters (\\p{L}) and numbers (\\p{N}).

    python3 make_unicode_tables.py > unicode_tables.inc
"""

import sys
import unicodedata


def ranges(kind):
    members = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == kind]
    start = previous = members[0]
    for c in members[1:] + [None]:
        if c != previous + 1:
            yield start, previous
            start = c
        previous = c


def table(name, kind):
    print(f"inline constexpr code_range {name}[] = {{")
    line = "   "
    for first, last in ranges(kind):
        item = f" {{0x{first:x}, 0x{last:x}}},"
        if len(line) + len(item) > 118:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};")


print("// SPDX-License-Identifier: Apache-2.0")
print(f"// Made by make_unicode_tables.py from Unicode {unicodedata.unidata_version}.")
table("letters", "L")
table("numbers", "N")
