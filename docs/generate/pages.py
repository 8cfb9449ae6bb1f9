"""Writes the reference from the code; mkdocs-gen-files runs it at each build (`mkdocs.yml`)."""

import mkdocs_gen_files

from docs.generate import algorithms, cli, families, http, metrics, runtimes, settings

PAGES = {
    "http.md": http.page,
    "openapi.json": http.document,
    "settings.md": settings.page,
    "metrics.md": metrics.page,
    "cli.md": cli.page,
    "algorithms.md": algorithms.page,
    "model-families.md": families.page,
    "runtimes.md": runtimes.page,
}

for name, page in PAGES.items():
    with mkdocs_gen_files.open(f"reference/{name}", "w") as file:
        file.write(page())
