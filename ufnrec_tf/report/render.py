"""The templates of the pages: each page is one self-contained file, light and dark."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ufnrec_tf.common.text import plain, size
from ufnrec_tf.evaluation.metrics import MAIN
from ufnrec_tf.report import wording
from ufnrec_tf.report.charts import is_empty, svg
from ufnrec_tf.report.colours import COLOURS


def render(template: str, **values: Any) -> str:
    """Returns the page of a template.

    Args:
        template: File name of the template, in templates/.
        **values: The values that the template names.
    """
    return _environment().get_template(template).render(values)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ufnrec_tf.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "decimals": wording.decimals,
        "number": wording.number,
        "p_value": wording.p_value,
        "relative": wording.relative_difference,
        "setting": wording.setting_text,
        "text": wording.value_text,
        "size": size,
        "svg": svg,
    }
    environment.tests["empty"] = is_empty
    environment.tests["known"] = wording.is_number
    environment.globals |= {"MAIN": MAIN, "colours": COLOURS}
    return environment


def _shown_text(value: Any) -> Any:
    """Returns a value for the page; characters of a text that would act are shown as escapes."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
