"""Write the pytest arguments that name the tests that a JUnit file calls skipped, one a line."""

import sys
import xml.etree.ElementTree as ElementTree

for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    if case.find("skipped") is None:
        continue
    # A module that was skipped as a whole has its own name as the test's, and no class.
    module, name = case.attrib["classname"], case.attrib["name"]
    sys.stdout.write(f"{(module or name).replace('.', '/')}.py{'::' + name if module else ''}\n")
