"""A comparison as a JUnit XML file: one test case for each gate, as CI systems show them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tfsctl.rollout.comparison.gates import GateResult
from tfsctl.rollout.comparison.result import Comparison

_NOT_XML = {code: "\ufffd" for code in range(32) if code not in (9, 10, 13)}


def junit_xml(comparison: Comparison) -> bytes:
    """The document. A gate that failed or is undecided is a failure; without gates there is one case that passes."""
    failed = sum(gate.outcome != "passed" for gate in comparison.gates)
    name = _clean(f"tfsctl compare {comparison.a.name} {comparison.b.name}")
    suite = ET.Element("testsuite", name=name, tests=str(len(comparison.gates) or 1), failures=str(failed))
    for gate in comparison.gates:
        case = ET.SubElement(suite, "testcase", classname=name, name=_clean(f"--fail-if {gate.gate}"))
        if gate.outcome != "passed":
            ET.SubElement(case, "failure", type=gate.outcome, message=_clean(describe_gate(gate)))
    if not comparison.gates:
        ET.SubElement(suite, "testcase", classname=name, name="compare")
    document: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return document


def describe_gate(gate: GateResult) -> str:
    """The outcome of a gate in one line."""
    if gate.outcome == "undecided":
        return f"undecided: {gate.reason} (fails if {gate.gate})"
    return f"{gate.outcome}: the value is {gate.value:.6g} on {gate.rows:,} rows (fails if {gate.gate})"


def _clean(text: str) -> str:
    """XML 1.0 has no control characters, not even escaped ones."""
    return text.translate(_NOT_XML).encode("utf-8", "replace").decode()
