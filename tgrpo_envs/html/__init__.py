"""Self-contained HTML pages: one style sheet and one set of templates for the reports of both packages.

A page is a Jinja template that extends `page.html`. Every value is escaped as it enters, except markup that says it is
some (`markupsafe.Markup`): drawings, and scripts of ours.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from tgrpo_envs.extras import needs_extra

with needs_extra("html"):
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

__all__ = ["Markup", "render", "source"]


def render(package: str, template: str, **values: object) -> str:
    """Fill in a template.

    Args:
        package: Package that the template's file lies in, as `__package__`.
        template: The file's name. It may extend and import the templates of this package.
        values: What the template names; each has to be given.
    """
    return _environment(package).get_template(template).render(values)


def source(package: str, name: str) -> Markup:
    """A script or a style sheet of ours, to stand in a page as it is."""
    return Markup(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


@lru_cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(__package__, "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
