"""Functions of distributions, by SciPy's names. SciPy is imported at the first call, because the
import takes a tenth of a second, and not every verdict needs one of them.
"""

from collections.abc import Callable
from typing import Any


def _function(name: str) -> Callable[..., Any]:
    def value(*arguments: Any) -> Any:
        from scipy import special

        return getattr(special, name)(*arguments)

    return value


bdtrc = _function("bdtrc")
betaincinv = _function("betaincinv")
chdtrc = _function("chdtrc")
expit = _function("expit")
fdtrc = _function("fdtrc")
logit = _function("logit")
nctdtr = _function("nctdtr")
ndtr = _function("ndtr")
ndtri = _function("ndtri")
stdtr = _function("stdtr")
stdtrit = _function("stdtrit")
