"""Audit the licences and vulnerabilities of what the wheel needs, and the tree for secrets."""

import sys
from pathlib import Path

from tests.audit.licences import read_licences
from tests.audit.secrets import find_secrets, tracked_files
from tests.audit.vulnerabilities import DATABASES, ask_database

ROOT = Path(__file__).parents[2]


def audit_licences() -> bool:
    """Print the exceptions and what is refused; return whether all may be used."""
    licences = read_licences("gemma4-block")
    others = [one for one in licences if not one.is_permissive]
    print(f"Licences: {len(licences)} packages, {len(licences) - len(others)} of them permissive.")
    for one in others:
        verdict = "NOT ALLOWED" if one.exemption is None else one.exemption.reason
        print(f"  {one.package} {one.version}: {one.stated or 'states none'} - {verdict}")
    return all(one.exemption is not None for one in others)


def audit_secrets() -> bool:
    """Print what looks like a secret; return whether nothing does."""
    paths = tracked_files(ROOT)
    found = find_secrets(ROOT, paths)
    print(f"Secrets: {len(found)} in {len(paths)} files.")
    for one in found:
        print(f"  {one.path}:{one.line}: {one.kind}")
    return not found


def audit_vulnerabilities() -> bool:
    """Print what is known of the pinned versions; return whether nothing is, as far as can be asked."""
    for database in DATABASES:
        report = ask_database(database, ROOT / "constraints.txt")
        if report is not None:
            print(
                f"Vulnerabilities: {len(report.found)} in {report.checked} packages, by the database "
                f"{database}; {report.skipped} are unknown to it."
            )
            for one in report.found:
                print(
                    f"  {one.package} {one.version}: {one.name}, fixed in {', '.join(one.fixed_in) or 'none'}"
                )
            return not report.found
    print(f"Vulnerabilities: not checked. No database can be reached ({', '.join(DATABASES)}).")
    return True


# All three, whatever the first says.
sys.exit(not all([audit_licences(), audit_secrets(), audit_vulnerabilities()]))
